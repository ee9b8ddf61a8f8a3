"""The serial number of the board, as its device tree says; a claim that a fleet compares with its list."""

from __future__ import annotations

import re
from pathlib import Path

_DEVICE_TREE = Path("/proc/device-tree/serial-number")
_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")


def board_serial_number(path: Path = _DEVICE_TREE) -> str | None:
    """The number, or ``None`` where the board says none that could stand on a list."""
    try:
        text = path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return None
    return text if _FORM.fullmatch(text) else None
