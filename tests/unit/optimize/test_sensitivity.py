"""How many layers return to floating point."""

from hypothesis import given
from hypothesis import strategies as st

from optimize.sensitivity import ladder


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
