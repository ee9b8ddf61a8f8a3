"""How many layers return to floating point."""

from hypothesis import given
from hypothesis import strategies as st

from optimize.sensitivity import fewest, ladder


@given(st.integers(0, 500))
def test_steps_grow_and_leave_most_layers_in_int8(layers):
    """Steps rise, each by at least one, and never pass half of the layers."""
    steps = ladder(layers)
    assert list(steps) == sorted(set(steps))
    assert all(0 < step <= layers / 2 for step in steps)


def test_the_first_step_is_one_layer():
    """One layer is tried alone before more are."""
    assert ladder(57) == (1, 2, 3, 5, 8, 13, 21)
    assert ladder(1) == ()


@given(st.integers(2, 500), st.integers(1, 500))
def test_no_layer_more_returns_than_is_needed(layers, needed):
    """Where every number from some on holds, just that number is found, in few trials; or none when no rung holds."""
    rungs, tried = ladder(layers), []

    def holds(count):
        tried.append(count)
        return count >= needed

    assert fewest(rungs, holds) == (needed if needed <= rungs[-1] else None)
    assert len(tried) == len(set(tried)) <= 2 * len(rungs)


@given(st.sets(st.integers(1, 28)))
def test_a_number_that_holds_is_found_though_some_above_do_not(good):
    """Chance may let a larger number fail; what is returned holds, and one less was seen to fail."""
    seen = {}

    def holds(count):
        seen[count] = count in good
        return seen[count]

    found = fewest(ladder(57), holds)
    if found is None:
        assert not good & set(ladder(57))
    else:
        assert seen[found]
        assert found == 1 or seen[found - 1] is False


def test_a_graph_too_small_to_give_layers_back_has_no_rung():
    """Then nothing is tried."""
    assert fewest((), lambda _: True) is None
