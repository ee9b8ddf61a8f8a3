"""When to do less and when to do more again, as one pure function.

The steps are a ladder: the release's own variant at falling frame rates, then its lighter variant at rates from there
on down, so no step down ever asks for more work than the one before. One step is taken at a time.

- Down, after a limit was exceeded for ``down_after_s`` without a break: too hot, throttled, over-current, or short of
  memory. At the last step this is said once and nothing more is done.
- Up, after everything was well for the wait: ``up_after_s``, doubled with each relapse up to ``most_up_after_s``. A
  relapse is a step down that follows a step up. Relapses are forgotten after ``most_up_after_s`` at full rate.
- Between (not exceeded, not well) and for what is not known, nothing changes and both clocks start anew. A step up also
  needs to know what made the device step down: a sensor that fell silent is no sign of health.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from edge.config import LimitsSettings
from edge.limits.interface import Health

STALE_AFTER_S = 90.0
"""A reading older than this says nothing; so does a time in which nobody looked. Power is read each minute at least."""

Reason = Literal["heat", "throttled", "over_current", "memory"]
Kind = Literal["limits_stepped_down", "limits_stepped_up", "limits_exhausted"]

WORDS: Mapping[Reason, str] = MappingProxyType(
    {
        "heat": "too hot",
        "throttled": "clocks throttled",
        "over_current": "over-current",
        "memory": "short of memory",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How much the device does."""

    rate: float
    """Fraction of the frames that would be taken otherwise."""
    lighter: bool
    """Whether the lighter variant runs."""

    def __str__(self) -> str:
        return f"{'lighter variant' if self.lighter else 'own variant'} at {self.rate:.0%} of the frames"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsState:
    """Where the policy stands; the initial one is full rate and all well."""

    level: int = 0
    """Index into :func:`ladder`."""
    lighter_at_hand: bool = True
    looked_at_s: float | None = None
    exceeded_since_s: float | None = None
    well_since_s: float | None = None
    causes: frozenset[Reason] = frozenset()
    """What made the device leave full rate."""
    rose_at_s: float | None = None
    """When the last step was taken, if that was one up."""
    relapses: int = 0
    is_exhausted: bool = False
    """Whether it was said that there is no further step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is to be done and told."""

    kind: Kind
    before: Step
    after: Step
    reasons: tuple[Reason, ...]
    """The limits that are exceeded; of a step up, those that were."""
    next_up_after_s: float
    """How long all must be well before the next step up."""


def ladder(settings: LimitsSettings, *, lighter_at_hand: bool) -> tuple[Step, ...]:
    """All steps, full rate first."""
    own = tuple(Step(rate=rate, lighter=False) for rate in settings.rates)
    return own + tuple(Step(rate=rate, lighter=True) for rate in settings.lighter_rates if lighter_at_hand)


def decide(
    state: LimitsState, health: Health | None, limits: LimitsSettings, now_s: float
) -> tuple[LimitsState, Action | None]:
    """The state that follows, and what is to be done.

    Args:
        state: as it was.
        health: the newest reading; ``None`` when there is none.
        limits: what the site chose.
        now_s: monotonic seconds, as in the reading.
    """
    if state.looked_at_s is not None and now_s - state.looked_at_s >= STALE_AFTER_S:
        state = replace(state, exceeded_since_s=None, well_since_s=None)
    state = _forget(replace(state, looked_at_s=now_s), limits, now_s)
    if health is not None and now_s - health.at_s >= STALE_AFTER_S:
        health = None
    reasons = exceeded(health, limits) if health is not None else ()
    if reasons:
        return _exceeded(state, reasons, limits, now_s)
    if health is not None and is_well(health, limits, state.causes):
        return _well(state, limits, now_s)
    return replace(state, exceeded_since_s=None, well_since_s=None), None


def exceeded(health: Health, limits: LimitsSettings) -> tuple[Reason, ...]:
    """The limits that are exceeded; what is not known is not."""
    found: list[Reason] = []
    if health.hottest_c is not None and health.hottest_c >= limits.hot_c:
        found.append("heat")
    if health.throttled:
        found.append("throttled")
    if health.over_current:
        found.append("over_current")
    if health.memory_free is not None and health.memory_free < limits.memory_low:
        found.append("memory")
    return tuple(found)


def is_well(health: Health, limits: LimitsSettings, causes: frozenset[Reason]) -> bool:
    """Whether everything known is well, and everything is known that was a cause.

    Flags are not known, whatever they say, when the reading has neither temperature nor power: no source gave it.
    """
    flags_known = health.hottest_c is not None or health.total_w is not None
    well: dict[Reason, bool | None] = {
        "heat": None if health.hottest_c is None else health.hottest_c <= limits.cool_c,
        "throttled": not health.throttled if health.throttled is not None and flags_known else None,
        "over_current": not health.over_current if health.over_current is not None and flags_known else None,
        "memory": None if health.memory_free is None else health.memory_free >= limits.memory_enough,
    }
    known = {reason for reason, value in well.items() if value is not None}
    return bool(known) and causes <= known and all(well[reason] for reason in known)


def wait_s(relapses: int, limits: LimitsSettings) -> float:
    """How long all must be well before a step up."""
    return min(limits.up_after_s * 2.0 ** min(relapses, 64), limits.most_up_after_s)


def _forget(state: LimitsState, limits: LimitsSettings, now_s: float) -> LimitsState:
    """The state without its relapses, when it has been at full rate for long."""
    if state.level or state.rose_at_s is None or now_s - state.rose_at_s < limits.most_up_after_s:
        return state
    return replace(state, relapses=0, rose_at_s=None)


def _exceeded(
    state: LimitsState, reasons: tuple[Reason, ...], limits: LimitsSettings, now_s: float
) -> tuple[LimitsState, Action | None]:
    since_s = now_s if state.exceeded_since_s is None else state.exceeded_since_s
    state = replace(state, exceeded_since_s=since_s, well_since_s=None, causes=state.causes | set(reasons))
    if now_s - since_s < limits.down_after_s:
        return state, None
    steps = ladder(limits, lighter_at_hand=state.lighter_at_hand)
    if state.level + 1 < len(steps):
        relapses = state.relapses + (state.rose_at_s is not None)
        after = replace(state, level=state.level + 1, exceeded_since_s=now_s, rose_at_s=None, relapses=relapses)
        return after, _action("limits_stepped_down", state, after, reasons, limits)
    if state.is_exhausted:
        return state, None
    after = replace(state, is_exhausted=True)
    return after, _action("limits_exhausted", state, after, reasons, limits)


def _well(state: LimitsState, limits: LimitsSettings, now_s: float) -> tuple[LimitsState, Action | None]:
    since_s = now_s if state.well_since_s is None else state.well_since_s
    state = replace(state, exceeded_since_s=None, well_since_s=since_s)
    if state.level == 0:
        return replace(state, causes=frozenset()), None
    if now_s - since_s < wait_s(state.relapses, limits):
        return state, None
    after = replace(state, level=state.level - 1, well_since_s=now_s, rose_at_s=now_s, is_exhausted=False)
    return after, _action("limits_stepped_up", state, after, tuple(sorted(state.causes)), limits)


def _action(
    kind: Kind, before: LimitsState, after: LimitsState, reasons: tuple[Reason, ...], limits: LimitsSettings
) -> Action:
    steps = ladder(limits, lighter_at_hand=before.lighter_at_hand)
    return Action(
        kind=kind,
        before=steps[before.level],
        after=steps[after.level],
        reasons=reasons,
        next_up_after_s=wait_s(after.relapses, limits),
    )
