"""What the doctor says about one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    wanted: str = ""
    remedy: str = ""
    """The command that mends it, or what to do where no command can."""

    def as_dict(self) -> dict[str, object]:
        """For JSON; ``ok`` is false for what is wrong only."""
        return {**asdict(self), "ok": self.state != "wrong"}


def ok(what: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding(what=what, state="ok", found=found)


def warning(what: str, found: str, *, wanted: str = "", remedy: str = "") -> Finding:
    """The device runs, though not as well as it could, or not for ever."""
    return Finding(what=what, state="warning", found=found, wanted=wanted, remedy=remedy)


def wrong(what: str, found: str, *, wanted: str = "", remedy: str = "") -> Finding:
    """The device does not run like this."""
    return Finding(what=what, state="wrong", found=found, wanted=wanted, remedy=remedy)


def skipped(what: str, why: str) -> Finding:
    """It does not apply here."""
    return Finding(what=what, state="skipped", found=why)
