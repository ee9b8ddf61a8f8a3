"""Decides what to do about an engine that fails or hangs: tell it once, open it anew, and wait longer each time. Pure.

A call that never returns cannot be ended from within a process; the watchdog (:mod:`edge.liveness`) ends that.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.telemetry.alerts import Alert

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSigns:
    """How the engine does at one moment."""

    answers: int
    """Rises with each frame that came through."""
    errors_in_a_row: int
    """Failed calls since the last good one, or since the engine was opened."""
    busy_s: float
    """How long the call under way has taken; 0 between calls."""
    error: str = ""
    """What the last failed call said."""
    is_lost: bool = False
    """Nothing runs, because the engine could not be opened anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """What to do now."""

    alerts: tuple[Alert, ...] = ()
    reopen: bool = False
    """Open the engine anew."""


class EngineCare:
    """Follows an engine's faults.

    Args:
        stalled_after_s: a call that takes longer is told.
        reopen_after_errors: so many failed calls in a row, and the engine is opened anew.
    """

    def __init__(self, *, stalled_after_s: float, reopen_after_errors: int) -> None:
        self._stalled_after_s = stalled_after_s
        self._reopen_after_errors = reopen_after_errors
        self._answers = 0
        self._is_stalled = self._is_failing = False
        self._pause_s = _FIRST_PAUSE_S
        self._not_before_s = float("-inf")

    def look(self, signs: EngineSigns, now_s: float) -> Care:
        """Judge the engine as it is now.

        Args:
            signs: how it does.
            now_s: monotonic seconds; never falls.
        """
        alerts = [*self._recovery(signs.answers), *self._stall(signs.busy_s)]
        fails = signs.is_lost or signs.errors_in_a_row >= self._reopen_after_errors
        if fails and not self._is_failing:
            self._is_failing = True
            what = f"failed {signs.errors_in_a_row} times in a row" if signs.errors_in_a_row else "could not be opened"
            message = f"the engine {what} and is opened anew: {signs.error or 'see the event before'}"
            alerts.append(Alert(kind="engine_failing", severity="error", message=message[:500]))
        reopen = fails and not self._is_stalled and now_s >= self._not_before_s
        if reopen:
            self._not_before_s = now_s + self._pause_s
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return Care(alerts=tuple(alerts), reopen=reopen)

    def _recovery(self, answers: int) -> list[Alert]:
        answered, self._answers = answers > self._answers, answers
        if not (answered and self._is_failing):
            return []
        self._is_failing, self._pause_s = False, _FIRST_PAUSE_S
        return [Alert(kind="engine_back", severity="info", message="the engine answers again")]

    def _stall(self, busy_s: float) -> list[Alert]:
        was, self._is_stalled = self._is_stalled, busy_s >= self._stalled_after_s
        if self._is_stalled and not was:
            message = f"a call of the engine has taken {busy_s:.0f} s so far"
            return [Alert(kind="engine_stalled", severity="error", message=message)]
        if was and not self._is_stalled:
            return [Alert(kind="engine_back", severity="info", message="the engine's long call has ended")]
        return []
