"""Brings an S3 server for tests (``requirements/s3-server.txt``) into ``.venv/s3-server``, and nowhere else.

Its client library wants an older python-dateutil than the rest is pinned to. It only ever runs as a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements" / "s3-server.txt"
FOLDER = ROOT / ".venv" / "s3-server"


def main() -> None:
    """Install it anew, unless it stands already."""
    stamp, wanted = FOLDER / ".pins", PINS.read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "--target", str(FOLDER), "-r", str(PINS)], check=True)
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
