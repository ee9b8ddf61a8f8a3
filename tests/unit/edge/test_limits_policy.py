"""When the device steps down, and when back up."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import LimitsSettings
from edge.limits.policy import STALE_AFTER_S, Action, LimitsState, Step, decide, ladder, wait_s
from edge.power.interface import Health

LIMITS = LimitsSettings()
QUICK = LimitsSettings(down_after_s=3, up_after_s=5, most_up_after_s=40)
DEGREES = st.none() | st.floats(20, 110)


def _run(
    degrees: list[float | None], limits: LimitsSettings = QUICK, state: LimitsState | None = None, from_s: float = 0.0
) -> tuple[list[LimitsState], list[tuple[float, Action]]]:
    """A look each second at these temperatures."""
    state, states, actions = state or LimitsState(), [], []
    for second, hottest_c in enumerate(degrees):
        now_s = from_s + second
        state, action = decide(state, Health(at_s=now_s, hottest_c=hottest_c), limits, now_s)
        states.append(state)
        if action is not None:
            actions.append((now_s, action))
    return states, actions


def test_the_ladder_goes_down() -> None:
    """Rates first, then the lighter variant from the last rate on; without one, rates alone."""
    assert [str(step) for step in ladder(LIMITS, lighter_at_hand=True)] == [
        "own variant at 100% of the frames",
        "own variant at 50% of the frames",
        "own variant at 25% of the frames",
        "lighter variant at 25% of the frames",
        "lighter variant at 12% of the frames",
    ]
    assert ladder(LIMITS, lighter_at_hand=False)[-1] == Step(rate=0.25, lighter=False)


def test_heat_steps_down_one_at_a_time() -> None:
    """After the time it must last, each time; the reason is told."""
    _, actions = _run([90.0] * 8)
    assert [(at_s, action.kind, action.after.rate) for at_s, action in actions] == [
        (3.0, "limits_stepped_down", 0.5),
        (6.0, "limits_stepped_down", 0.25),
    ]
    assert actions[0][1].reasons == ("heat",)


def test_a_short_peak_changes_nothing() -> None:
    """Heat must last without a break."""
    assert _run([90.0, 90.0, 90.0, 80.0] * 20)[1] == []


@pytest.mark.parametrize(
    ("health", "reasons"),
    [
        (Health(at_s=0, throttled=True), ("throttled",)),
        (Health(at_s=0, over_current=True, hottest_c=40.0), ("over_current",)),
        (Health(at_s=0, memory_free=0.01), ("memory",)),
        (Health(at_s=0, hottest_c=85.0, throttled=True), ("heat", "throttled")),
    ],
)
def test_each_limit_steps_down(health: Health, reasons: tuple[str, ...]) -> None:
    """Alone or together, and each is named."""
    state, action = LimitsState(), None
    for second in range(4):
        state, action = decide(state, replace(health, at_s=second), QUICK, second)
    assert action is not None
    assert (action.kind, action.reasons, state.level) == ("limits_stepped_down", reasons, 1)


@given(degrees=st.floats(75.01, 84.99), level=st.integers(0, 4), seconds=st.integers(1, 200))
def test_between_cool_and_hot_nothing_changes(degrees: float, level: int, seconds: int) -> None:
    """From any step, for however long."""
    states, actions = _run([degrees] * seconds, state=LimitsState(level=level))
    assert actions == []
    assert {state.level for state in states} == {level}


@given(degrees=st.lists(DEGREES, max_size=300), lighter=st.booleans())
def test_the_device_stays_on_the_ladder(degrees: list[float | None], lighter: bool) -> None:
    """Never above full, never below the floor, one step at a time, and every step is told."""
    start = LimitsState(lighter_at_hand=lighter)
    limits = LimitsSettings(down_after_s=1, up_after_s=1, most_up_after_s=4)
    states, actions = _run(degrees, limits, start)
    steps = ladder(limits, lighter_at_hand=lighter)
    levels = [start.level, *(state.level for state in states)]
    assert all(0 <= level < len(steps) for level in levels)
    moves = [later - earlier for earlier, later in itertools.pairwise(levels) if later != earlier]
    assert set(moves) <= {1, -1}
    told = {"limits_stepped_down": 1, "limits_stepped_up": -1}
    assert moves == [told[action.kind] for _, action in actions if action.kind in told]


@pytest.mark.parametrize(
    ("rising", "first", "never"),
    [(True, "limits_stepped_down", "limits_stepped_up"), (False, "limits_stepped_up", "limits_stepped_down")],
)
@given(degrees=st.lists(st.floats(20, 110), min_size=1, max_size=200), level=st.integers(0, 4))
def test_heat_that_goes_one_way_never_turns_the_steps_around(
    rising: bool, first: str, never: str, degrees: list[float], level: int
) -> None:
    """Rising heat never steps up after it stepped down, falling heat never down after it stepped up."""
    _, actions = _run(sorted(degrees, reverse=not rising), state=LimitsState(level=level))
    kinds = [action.kind for _, action in actions]
    assert first not in kinds or never not in kinds[kinds.index(first) :]


@given(level=st.integers(0, 4), seconds=st.integers(1, 300), causes=st.sets(st.sampled_from(["heat", "memory"])))
def test_what_is_not_known_changes_nothing(level: int, seconds: int, causes: set[str]) -> None:
    """No reading, or a reading without figures: no step, up or down."""
    state = start = LimitsState(level=level, causes=frozenset(causes))  # type: ignore[arg-type]
    for second in range(seconds):
        health = Health(at_s=second) if second % 3 else None
        state, action = decide(state, health, QUICK, second)
        assert action is None
    assert state.level == start.level


def test_a_sensor_that_falls_silent_is_no_sign_of_health() -> None:
    """Heat was the cause; memory is well and the temperature unknown: the device stays down until it is known."""
    state = LimitsState(level=1, causes=frozenset({"heat"}))
    for second in range(60):
        state, action = decide(state, Health(at_s=second, memory_free=0.9, total_w=7.0), QUICK, second)
        assert action is None
    _, actions = _run([60.0] * 6, state=state, from_s=60)
    assert [action.kind for _, action in actions] == ["limits_stepped_up"]


def test_every_cause_must_be_known_to_be_over() -> None:
    """Heat, then memory as well; memory recovers and the temperature is unknown: the device stays down."""
    states, _ = _run([95.0] * 5)
    state = states[-1]
    for second in range(5, 10):
        state, _ = decide(
            state, Health(at_s=second, hottest_c=95.0 if second < 6 else None, memory_free=0.0), QUICK, second
        )
    down = state.level
    for second in range(10, 60):
        state, _ = decide(state, Health(at_s=second, memory_free=0.9), QUICK, second)
    assert state.level == down > 0


def test_causes_end_at_full_rate() -> None:
    """Heat long ago does not hold back a device that now steps down for memory and has lost its sensor."""
    states, _ = _run([95.0] * 4 + [60.0] * 8)
    state = states[-1]
    assert state.level == 0
    for second in range(12, 16):
        state, _ = decide(state, Health(at_s=second, memory_free=0.0), QUICK, second)
    assert state.level == 1
    for second in range(16, 16 + 12):
        state, _ = decide(state, Health(at_s=second, memory_free=0.9), QUICK, second)
    assert state.level == 0


def test_flags_without_a_source_are_not_known() -> None:
    """Throttling was the cause and the reading comes from no source: that it says false means nothing."""
    state = LimitsState(level=1, causes=frozenset({"throttled"}))
    for second in range(60):
        state, _ = decide(state, Health(at_s=second, memory_free=0.9), QUICK, second)
    assert state.level == 1
    for second in range(60, 66):
        state, _ = decide(state, Health(at_s=second, memory_free=0.9, total_w=7.0), QUICK, second)
    assert state.level == 0


def test_an_old_reading_says_nothing() -> None:
    """A source that repeats one hot reading for ever steps down no further once that is old."""
    hot, state, levels = Health(at_s=0, hottest_c=95.0), LimitsState(), []
    limits = LimitsSettings(down_after_s=60)
    for second in range(300):
        state, _ = decide(state, hot, limits, second)
        levels.append(state.level)
    assert levels[int(STALE_AFTER_S)] == levels[-1] == 1


def test_a_pause_between_looks_does_not_count_as_heat() -> None:
    """Hot before an hour of sleep and hot after it: it did not last, as far as anybody knows."""
    state, _ = decide(LimitsState(), Health(at_s=0, hottest_c=95.0), QUICK, 0)
    state, action = decide(state, Health(at_s=3600, hottest_c=95.0), QUICK, 3600)
    assert (state.level, action) == (0, None)


def test_a_relapse_waits_longer_each_time() -> None:
    """Cool when stepped down, hot when not: the waits double up to the longest."""
    state, hot, ups = LimitsState(), True, []
    last_down_s = 0
    for second in range(400):
        health = Health(at_s=second, hottest_c=90.0 if hot else 60.0)
        state, action = decide(state, health, QUICK, second)
        if action is not None:
            hot = action.kind == "limits_stepped_up"
            if hot:
                ups.append(second - last_down_s - 1)
            last_down_s = second
    assert ups[:6] == [5, 10, 20, 40, 40, 40]


def test_relapses_are_forgotten_after_long_at_full_rate() -> None:
    """Even in the band between cool and hot, where nothing changes."""
    state = LimitsState(level=0, relapses=3, rose_at_s=0.0)
    states, _ = _run([80.0] * 41, state=state)
    assert states[38].relapses == 3
    assert states[40].relapses == 0
    assert wait_s(0, QUICK) == 5
    states, _ = _run([80.0] * 60, state=replace(state, level=1))
    assert states[-1].relapses == 3


def test_two_steps_down_in_a_row_are_one_relapse() -> None:
    """Only a step down that follows a step up counts."""
    states, _ = _run([90.0] * 20, state=LimitsState(level=1, rose_at_s=0.0))
    assert states[-1].level == 4
    assert states[-1].relapses == 1


def test_the_end_of_the_ladder_is_said_once() -> None:
    """It stays hot below the last step: one event, until a step up."""
    states, actions = _run([95.0] * 60)
    assert [action.kind for _, action in actions].count("limits_exhausted") == 1
    assert states[-1].level == 4
    _, actions = _run([60.0] * 6 + [95.0] * 30, state=states[-1], from_s=60)
    assert [action.kind for _, action in actions] == ["limits_stepped_up", "limits_stepped_down", "limits_exhausted"]


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ({"cool_c": 85}, "must be below hot_c"),
        ({"memory_enough": 0.01}, "memory_enough"),
        ({"rates": [0.5, 0.25]}, "begin with 1"),
        ({"rates": [1, 0.5, 0.5]}, "rates must fall"),
        ({"rates": [1, 0]}, "rates must fall"),
        ({"lighter_rates": [1, 0.5]}, "at or below the last of rates"),
        ({"up_after_s": 100, "most_up_after_s": 10}, "most_up_after_s"),
    ],
)
def test_settings_that_would_swing_or_climb_are_refused(chosen: dict[str, object], fault: str) -> None:
    """With the key that is wrong."""
    with pytest.raises(ValueError, match=fault):
        LimitsSettings.model_validate(chosen)
