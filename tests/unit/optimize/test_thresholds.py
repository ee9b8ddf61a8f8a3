"""Where a tensor's INT8 range ends."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optimize.calibration.histograms import EMPTY
from optimize.calibration.thresholds import LEVELS, METHODS, threshold

BELL = np.abs(np.random.default_rng(0).normal(size=200_000)).astype(np.float32)


def histogram(*batches):
    made = EMPTY
    for values in batches:
        made = made.with_values(np.asarray(values, np.float32))
    return made


def error(values, limit):
    """Mean squared error of rounding and clipping at a threshold, worked out on the values themselves."""
    step = limit / LEVELS
    return float(((values - np.clip(np.round(values / step), -LEVELS, LEVELS) * step) ** 2).mean())


@given(st.sampled_from(sorted(METHODS)), st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=50))
def test_a_threshold_is_positive_and_no_larger_than_the_largest(method, values):
    """Whatever came, the scale is a usable number and wastes no range."""
    found = threshold(histogram(values), method)
    assert 0 < found <= max(*values, 1e-6)


def test_max_clips_nothing():
    """The largest size is the threshold."""
    assert threshold(histogram(BELL), "max") == float(BELL.max())


def test_percentile_leaves_one_in_ten_thousand_out():
    """About 0.01 % of the values lie beyond."""
    beyond = (threshold(histogram(BELL), "percentile") < BELL).mean()
    assert 0.5e-4 <= beyond <= 1.5e-4


def test_mse_has_the_least_squared_error():
    """No other method, and no neighbour, has a smaller error on the values themselves."""
    best = threshold(histogram(BELL), "mse")
    others = [threshold(histogram(BELL), method) for method in METHODS] + [best * 0.95, best * 1.05]
    assert all(error(BELL, best) <= error(BELL, other) * 1.001 for other in others)


def test_outliers_are_clipped_by_all_but_max():
    """A few values a hundred times as large do not cost the others their resolution."""
    made = histogram(BELL, [400.0] * 3)
    assert all(threshold(made, method) < 40 for method in ("percentile", "entropy"))
    assert threshold(made, "max") == 400
