"""Statistics against scipy's, against values computed by hand, and by what must hold of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.statistics.distributions import binned_delta, chance_of_index, chi_squared_above, stability_index
from fleet.statistics.many import holm
from fleet.statistics.ranks import chance_of, compare, delta_of, effective_size, mann_whitney, middle

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30)
COARSE = st.lists(st.integers(0, 6).map(float), min_size=3, max_size=30)


def plain(values):
    return [(value, 1.0) for value in values]


@given(st.lists(st.floats(-100, 100), min_size=8, max_size=24, unique=True), st.integers(3, 5))
def test_the_exact_test_is_scipys(values, size):
    """Without ties, in small groups: every arrangement counted."""
    stats = pytest.importorskip("scipy.stats")
    lower, higher = values[:size], values[size:]
    theirs = stats.mannwhitneyu(lower, higher, alternative="less", method="exact").pvalue
    assert mann_whitney(lower, higher) == pytest.approx(theirs)


@given(COARSE, COARSE)
def test_the_test_with_ties_is_scipys(lower, higher):
    """With ties: the normal approximation, corrected for them and for continuity."""
    stats = pytest.importorskip("scipy.stats")
    if len({*lower, *higher}) == 1 or len({*lower, *higher}) == len(lower) + len(higher):
        return
    theirs = stats.mannwhitneyu(lower, higher, alternative="less", method="asymptotic").pvalue
    assert mann_whitney(lower, higher) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("degrees", [1, 3, 7, 19])
@pytest.mark.parametrize("value", [0.5, 2.0, 8.0, 20.0, 40.0])
def test_the_chi_squared_tail_is_near_scipys(value, degrees):
    """Wilson and Hilferty's cube root is good to a hundredth."""
    stats = pytest.importorskip("scipy.stats")
    assert chi_squared_above(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), abs=0.012)


@given(VALUES, VALUES)
def test_cliffs_delta_counts_pairs(first, second):
    """How much likelier a value of the first is the larger one than the smaller one."""
    by_hand = sum((a > b) - (a < b) for a in first for b in second) / (len(first) * len(second))
    assert compare(plain(first), plain(second)).delta == pytest.approx(by_hand, abs=1e-9)


@given(VALUES, VALUES, st.floats(0.5, 20))
def test_equal_weights_are_no_weights(first, second, weight):
    """Only what differs between windows may matter."""
    light, heavy = compare(plain(first), plain(second)), compare([(v, weight) for v in first], plain(second))
    assert heavy.u == pytest.approx(light.u)
    assert heavy.variance == pytest.approx(light.variance)


def test_one_mean_of_many_windows_is_no_crowd():
    """It moves the median as much as they would, and is evidence as one observation is."""
    assert middle([(1.0, 1.0), (2.0, 1.0), (9.0, 6.0)]) == 9.0
    assert effective_size([(9.0, 6.0)]) == 1.0
    crowd = chance_of([compare(plain([1.0] * 6), plain(range(2, 10)))])
    single = chance_of([compare([(1.0, 6.0)], plain(range(2, 10)))])
    assert single > crowd


def test_a_difference_between_kinds_is_none_between_groups():
    """The new group is mostly of the slow kind: pooled it looks slower, kind by kind it does not."""
    slow, fast = [10.0, 11, 12, 13, 14, 15], [30.0, 31, 32, 33, 34, 35]
    new = [(slow, slow[:2]), (fast[:2], fast)]
    pooled = mann_whitney([*new[0][0], *new[1][0]], [*new[0][1], *new[1][1]])
    apart = [compare(plain(mine), plain(theirs)) for mine, theirs in new]
    assert pooled < 0.1
    assert chance_of(apart) > 0.4
    assert abs(delta_of(apart)) < 0.7


def test_kinds_together_show_what_none_shows_alone():
    """Van Elteren's sum: three small kinds that agree are evidence."""
    parts = [compare(plain([1.0, 2.0, 4.0]), plain([3.0, 5.0, 6.0])) for _ in range(4)]
    assert all(chance_of([part]) > 0.05 for part in parts)
    assert chance_of(parts) < 0.01
    assert delta_of(parts) == pytest.approx(parts[0].delta)


def test_holm_by_hand():
    """0.01 three times, 0.03 twice, 0.04 not below the one before it."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_one_test_and_bonferroni(chances):
    """Never below what a test said, never above as many times that; the order is kept."""
    adjusted = holm(chances)
    for before, after in zip(chances, adjusted, strict=True):
        assert before <= after <= min(1.0, len(chances) * before) + 1e-12 or after == max(adjusted)
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


def test_a_large_index_of_few_detections_may_be_chance():
    """The same shares in ten times as many are none."""
    few, many = ([6, 2, 2], [2, 3, 5]), ([60, 20, 20], [20, 30, 50])
    assert stability_index(*few) > 0.25
    assert chance_of_index(stability_index(*few), *few) > 0.05
    assert chance_of_index(stability_index(*many), *many) < 1e-4


def test_a_histogram_that_moved_down_has_a_negative_delta():
    """All below is -1, the mirror image +1, the same 0."""
    assert binned_delta([5, 0, 0], [0, 0, 9]) == -1
    assert binned_delta([0, 0, 9], [5, 0, 0]) == 1
    assert math.isclose(binned_delta([1, 2, 3], [2, 4, 6]), 0.0, abs_tol=1e-12)
