"""What is done about an engine that fails or hangs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.engine_care import Care, EngineCare, EngineSigns


def care() -> EngineCare:
    return EngineCare(stalled_after_s=5, reopen_after_errors=3)


def kinds(found: Care) -> list[str]:
    return [alert.kind for alert in found.alerts]


def signs(*, answers: int = 0, errors: int = 0, busy_s: float = 0.0, is_lost: bool = False) -> EngineSigns:
    return EngineSigns(answers=answers, errors_in_a_row=errors, busy_s=busy_s, error="out of memory", is_lost=is_lost)


def test_a_single_failure_is_no_reason() -> None:
    """Two failures of three: nothing is told and nothing opened."""
    assert care().look(signs(errors=2), 0) == Care()


def test_failures_in_a_row_open_the_engine_anew_and_are_told_once() -> None:
    """Told when it begins, with what was said; opened again after a pause that doubles; told when it is over."""
    keeper = care()
    first = keeper.look(signs(errors=3), 0)
    assert (kinds(first), first.reopen) == (["engine_failing"], True)
    assert "out of memory" in first.alerts[0].message
    assert keeper.look(signs(errors=3), 1) == Care()
    assert keeper.look(signs(errors=3), 5) == Care(reopen=True)
    assert keeper.look(signs(errors=3), 14) == Care()
    assert keeper.look(signs(errors=3), 15) == Care(reopen=True)
    assert kinds(keeper.look(signs(answers=1), 16)) == ["engine_back"]
    assert keeper.look(signs(answers=2), 17) == Care()


def test_an_engine_that_could_not_be_opened_is_tried_again() -> None:
    """No call fails any more since nothing runs: it is opened again all the same, with the pauses of a failing one."""
    keeper = care()
    keeper.look(signs(errors=3), 0)
    tried = [second for second in range(1, 40) if keeper.look(signs(is_lost=True), second).reopen]
    assert tried == [5, 15, 35]
    assert kinds(keeper.look(signs(answers=1), 41)) == ["engine_back"]


def test_a_hang_is_told_once_and_its_end_too() -> None:
    """A call of thirty seconds: one event at the limit, one at its end, and the engine is not opened meanwhile."""
    keeper = care()
    told = [kind for second in range(30) for kind in kinds(keeper.look(signs(errors=9, busy_s=second), second + 100))]
    assert told == ["engine_failing", "engine_stalled"]
    assert not keeper.look(signs(errors=9, busy_s=30), 1000).reopen
    assert kinds(keeper.look(signs(), 1001)) == ["engine_back"]


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 400)), max_size=60))
def test_an_engine_that_never_answers_is_opened_ever_more_seldom(looks: list[tuple[int, float]]) -> None:
    """Between two openings at least the first pause passes, and the pauses never shrink while no answer comes."""
    keeper, now_s, opened = care(), 0.0, []
    for errors, later_s in looks:
        now_s += later_s
        if keeper.look(signs(errors=errors), now_s).reopen:
            opened.append(now_s)
    for index, (before, after) in enumerate(pairwise(opened)):
        assert after - before >= min(5 * 2**index, 300)
