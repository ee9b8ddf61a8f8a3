"""Decides whether the device still does its work: what the watchdog is fed by. Reads nothing and tells nobody.

A restart is worth it only where it can help. It helps when frames stand still although the camera is there, and when
the engine does not come back from a call. It does not help while a camera is away (the camera opens itself again),
before the first release, or during an update, which moves frames aside on purpose and is given its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_FRAMES_OF_PATIENCE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What a device says about itself at one moment."""

    frames: int
    """Rises with each frame that goes through the pipeline."""
    engine_busy_s: float = 0.0
    """How long the engine call under way has taken so far; 0 between calls."""
    has_model: bool = True
    """Whether a release is here to run; an engine that could not be opened anew is no excuse."""
    camera_is_away: bool = False
    """Whether the camera is lost and being opened again."""
    is_updating: bool = False
    """Whether the updater works: it may build an engine on the same GPU and take the model away meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each thing may take before a restart is the better choice, in seconds."""

    engine_s: float = 20.0
    """One engine call. The slowest model on the slowest device takes well under a second."""
    frames_s: float = 45.0
    """Frames that stand still, with the camera there: longer than a silent camera is waited for before it is away."""
    update_s: float = 3600.0
    """One update with all it builds, from the last frame on. Frames that keep coming during it start this anew."""

    @classmethod
    def at(cls, max_fps: float | None) -> Patience:
        """The usual patience, stretched where a site wants frames so seldom that they would look like none."""
        usual = cls()
        return cls(frames_s=max(usual.frames_s, _FRAMES_OF_PATIENCE / max_fps)) if max_fps else usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The judgement at one moment."""

    is_alive: bool
    """Whether the watchdog is to be fed."""
    why: str
    """One line for a person."""


class Liveness:
    """Watches a device's vitals.

    Args:
        vitals: what the device says about itself now.
        clock: monotonic seconds.
        patience: how long each thing may take.
    """

    def __init__(
        self, vitals: Callable[[], Vitals], *, clock: Callable[[], float], patience: Patience | None = None
    ) -> None:
        self._vitals, self._clock, self._patience = vitals, clock, patience or Patience()
        self._seen = vitals().frames
        self._moved_at_s = self._excused_at_s = clock()

    def pulse(self) -> Pulse:
        """How the device is; to be asked every few seconds."""
        vitals, now_s = self._vitals(), self._clock()
        if vitals.frames != self._seen:
            self._seen, self._moved_at_s, self._excused_at_s = vitals.frames, now_s, now_s
        elif vitals.is_updating or vitals.camera_is_away or not vitals.has_model:
            self._excused_at_s = now_s
        return judge(vitals, self._patience, still_s=now_s - self._moved_at_s, unexcused_s=now_s - self._excused_at_s)


def judge(vitals: Vitals, patience: Patience, *, still_s: float, unexcused_s: float) -> Pulse:
    """The judgement.

    Args:
        vitals: what the device says now.
        patience: how long each thing may take.
        still_s: for how long no frame has come through.
        unexcused_s: for how long no frame has come through and nothing excused it.
    """
    why = _why_a_restart_helps(vitals, patience, still_s=still_s, unexcused_s=unexcused_s)
    return Pulse(is_alive=why is None, why=why or _what_goes_on(vitals))


def _why_a_restart_helps(vitals: Vitals, patience: Patience, *, still_s: float, unexcused_s: float) -> str | None:
    if vitals.is_updating:
        return f"an update has held up all frames for {still_s:.0f} s" if still_s > patience.update_s else None
    if vitals.engine_busy_s > patience.engine_s:
        return f"the engine has not answered for {vitals.engine_busy_s:.0f} s"
    if unexcused_s > patience.frames_s:
        return f"the camera is there and no frame has come through for {unexcused_s:.0f} s"
    return None


def _what_goes_on(vitals: Vitals) -> str:
    if vitals.is_updating:
        return "an update is under way"
    if not vitals.has_model:
        return "waiting for a release"
    return "the camera is away and is being opened again" if vitals.camera_is_away else "frames flow"
