"""Brings TensorRT's type stubs (``requirements/typing.txt``) into ``.venv/typings`` for mypy, and nowhere else.

They are no ordinary requirement. Their wheel depends on ``tensorrt`` itself, which cannot be installed from PyPI alone,
and in ``site-packages`` they would make ``import tensorrt`` succeed with an empty package, so that whoever probes for
TensorRT would believe that it is there. They are generated, and a few signatures are no Python (parameters called
``in``): these are opened to any arguments. And they name a data type ``bool``, which hides Python's own: wherever the
latter is meant, it is said.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements" / "typing.txt"
TYPINGS = ROOT / ".venv" / "typings"
_MOST_FAULTS = 50


def main() -> None:
    """Install the pinned stubs anew, unless they stand already."""
    stamp, wanted = TYPINGS / ".pins", PINS.read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(TYPINGS, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    subprocess.run([*pip, "--target", str(TYPINGS), "-r", str(PINS)], check=True)
    for path in TYPINGS.rglob("*.pyi"):
        path.write_text(mended(path.read_text()))
    stamp.write_text(wanted)


def mended(text: str) -> str:
    """A stub in which every signature parses, and ``bool`` in a signature is Python's."""
    text = re.sub(r"(?<=-> )bool\b|(?<=: )bool\b", "builtins.bool", text)
    lines = text.replace(
        "from __future__ import annotations\n", "from __future__ import annotations\nimport builtins\n"
    ).splitlines()
    for _ in range(_MOST_FAULTS):
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            place = (error.lineno or 0) - 1
            opened = re.sub(r"\(.*\)( -> .+)?:", "(self, *arguments: typing.Any) -> typing.Any:", lines[place])
            if opened == lines[place]:
                raise
            lines[place] = opened
        else:
            return "\n".join(lines) + "\n"
    raise SystemExit(f"more than {_MOST_FAULTS} signatures do not parse; look at the stubs' version")


if __name__ == "__main__":
    main()
