"""Reads the kernel's small files; a file that is absent, unreadable or no number is ``None`` and costs nobody else."""

from __future__ import annotations

import re
from pathlib import Path

SYS = Path("/sys")
_NUMBER = re.compile(r"-?\d+")


def text_of(path: Path) -> str | None:
    """The file's text without surrounding space.

    Unbuffered on purpose: a sensor of a block that is switched off answers "try again", which a buffered reader turns
    into a ``TypeError``.
    """
    try:
        with path.open("rb", buffering=0) as file:
            content = file.read()
    except OSError:
        return None
    return None if content is None else content.decode(errors="replace").strip().rstrip("\0")


def integer_of(path: Path | None) -> int | None:
    """The file's number; a unit after it is passed over."""
    text = text_of(path) if path is not None else None
    found = _NUMBER.match(text) if text else None
    return int(found[0]) if found else None


def hwmon_folders(sys: Path, *names: str) -> list[Path]:
    """Folders of the hardware monitors whose driver has one of these names; their numbers change between boots."""
    return [folder for folder in sorted(sys.glob("class/hwmon/hwmon*")) if text_of(folder / "name") in names]
