"""Looks at the board's health, does what the policy says, and tells of it.

It has no thread of its own: the device's main loop calls it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from edge.config import LimitsSettings
from edge.limits.interface import Actuator, Health, Told
from edge.limits.policy import WORDS, Action, LimitsState, Reason, Step, decide, ladder
from mien.errors import MienError

_log = logging.getLogger(__name__)

_SEVERITY = {"limits_stepped_down": "warning", "limits_stepped_up": "info", "limits_exhausted": "error"}


class LimitsKeeper:
    """Keeps the device within its limits.

    Args:
        settings: the limits.
        actuator: what makes the device do less.
        health: the newest reading; ``None`` when there is none.
        tell: takes the events.
    """

    def __init__(
        self, settings: LimitsSettings, actuator: Actuator, *, health: Callable[[], Health | None], tell: Told
    ) -> None:
        self._settings = settings
        self._actuator = actuator
        self._health = health
        self._tell = tell
        self._state = LimitsState()
        self._reasons: tuple[Reason, ...] = ()

    @property
    def step(self) -> Step:
        """How much the device does now."""
        return ladder(self._settings, lighter_at_hand=True)[self._state.level]

    @property
    def level(self) -> int:
        """How many steps the device stands below everything."""
        return self._state.level

    @property
    def standing(self) -> str:
        """How much the device does now, and below everything also why it last stepped down."""
        why = " and ".join(WORDS[reason] for reason in self._reasons) if self.level else ""
        return f"{self.step} ({why})" if why else str(self.step)

    def look(self, now_s: float) -> Action | None:
        """Look once, about every second; takes as long as opening a variant when that is the step to take.

        Args:
            now_s: monotonic seconds.

        Returns:
            What was done and told, if anything.
        """
        if not self._settings.enabled:
            return None
        health = self._health()
        state, action = decide(self._state, health, self._settings, now_s)
        if action is not None and action.before.lighter != action.after.lighter and not self._use(action.after):
            if action.before.lighter:
                self._state = replace(self._state, looked_at_s=now_s, well_since_s=now_s)
                return None
            self._state = replace(self._state, lighter_at_hand=False)
            state, action = decide(self._state, health, self._settings, now_s)
        self._state = state
        if action is None:
            return None
        if action.kind != "limits_stepped_up":
            self._reasons = action.reasons
        if action.before.rate != action.after.rate:
            self._actuator.set_rate(action.after.rate)
        self._tell(action.kind, _SEVERITY[action.kind], message_of(action), details_of(action, health))
        return action

    def model_changed(self) -> None:
        """Say that another release runs, in its own variant: it is brought to the step that the device stands on."""
        self._state = replace(self._state, lighter_at_hand=True)
        if self.step.lighter and not self._use(self.step):
            self._state = replace(self._state, lighter_at_hand=False, level=len(self._settings.rates) - 1)
            self._actuator.set_rate(self.step.rate)

    def _use(self, step: Step) -> bool:
        try:
            done = self._actuator.use_lighter(step.lighter)
        except MienError as error:
            _log.warning("the %s variant could not be opened: %s", "lighter" if step.lighter else "own", error)
            return False
        if not done:
            _log.info("the %s variant is not at hand", "lighter" if step.lighter else "own")
        return done


def message_of(action: Action) -> str:
    """A sentence for a person."""
    why = " and ".join(WORDS[reason] for reason in action.reasons)
    if action.kind == "limits_exhausted":
        return f"still {why}, and there is no step below {action.after}"
    if action.kind == "limits_stepped_down":
        return f"{why}: down from {action.before} to {action.after}"
    return f"no longer {_any(action.reasons)}: up from {action.before} to {action.after}"


def _any(reasons: tuple[Reason, ...]) -> str:
    return " or ".join(WORDS[reason] for reason in reasons)


def details_of(action: Action, health: Health | None) -> tuple[tuple[str, str], ...]:
    """The figures behind it; what is not known is absent."""
    figures = [
        ("reasons", ",".join(action.reasons)),
        ("rate_before", f"{action.before.rate:g}"),
        ("rate", f"{action.after.rate:g}"),
        ("lighter", str(action.after.lighter).lower()),
        ("next_up_after_s", f"{action.next_up_after_s:g}"),
    ]
    if health is None:
        return tuple(figures)
    if health.hottest_c is not None:
        figures.append(("hottest_c", f"{health.hottest_c:.1f}"))
    if health.memory_free is not None:
        figures.append(("memory_free", f"{health.memory_free:.3f}"))
    if health.total_w is not None:
        figures.append(("total_w", f"{health.total_w:.2f}"))
    return tuple(figures)
