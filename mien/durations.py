"""Durations as people write and read them."""

from __future__ import annotations

import re

from mien.errors import ConfigError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(text: str) -> float:
    """Read ``90s``, ``15m``, ``1h`` or ``7d``.

    Raises:
        ConfigError: another form.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"'{text}' is no duration", wanted="a number with s, m, h or d, such as 15m")
    return float(match[1]) * _UNITS_S[match[2]]


def said(seconds: float) -> str:
    """A duration as people read it: ``45 s``, ``12 min``, ``3.5 h``, ``2 d``."""
    for unit, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
