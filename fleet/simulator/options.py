"""What the command line says besides the profile."""

from __future__ import annotations

from fleet.simulator.prepare import Way
from fleet.simulator.profile import SimulationProfile, find_profile
from mien.config import nearest
from mien.errors import ConfigError

_WAYS: tuple[Way, ...] = ("api", "store")


def chosen_profile(given: str, *, fail: str | None, offline: str | None) -> SimulationProfile:
    """A profile with what the command line changes in it.

    Raises:
        ConfigError: no such profile, or a share that is none.
    """
    found = find_profile(given)
    changed = {
        name: share_of(text, f"--{name}") for name, text in (("fail", fail), ("offline", offline)) if text is not None
    }
    return found.model_copy(update=changed)


def share_of(text: str, option: str) -> float:
    """Read ``1%`` or ``0.01``.

    Raises:
        ConfigError: another form, or out of range.
    """
    bare = text.strip()
    try:
        share = float(bare[:-1]) / 100 if bare.endswith("%") else float(bare)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"{option} {text} is no share", wanted="from 0% to 100%, or from 0 to 1")
    return share


def way_of(text: str) -> Way:
    """Read how devices are enrolled.

    Raises:
        ConfigError: there is no such way.
    """
    for way in _WAYS:
        if text == way:
            return way
    like = nearest(text, _WAYS)
    raise ConfigError(f"--enrol {text} is no way to enrol", wanted=" or ".join(like or _WAYS))
