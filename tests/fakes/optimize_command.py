"""``mien optimize`` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def mien(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it and return how it ended and what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "mien", "optimize", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def answer(*arguments: object) -> Any:
    """Run it with ``--json``, make sure that it succeeded, and return its document."""
    done = mien(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
