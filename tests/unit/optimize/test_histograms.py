"""Sizes of a tensor's values, gathered frame by frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien.errors import DataError, ModelError
from optimize.calibration.histograms import BINS, EMPTY, read_histograms, write_histograms

BATCHES = st.lists(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=6
)


def gathered(batches):
    histogram = EMPTY
    for values in batches:
        histogram = histogram.with_values(values)
    return histogram


@given(BATCHES)
def test_every_value_is_counted_once(batches):
    """Counts add up however often the range doubles, and the largest size is exact."""
    histogram = gathered(batches)
    assert histogram.counts.sum() == sum(values.size for values in batches)
    assert histogram.largest == max(float(np.abs(values).max()) for values in batches)
    assert histogram.largest <= histogram.reach or histogram.largest == 0


@given(BATCHES)
def test_half_of_the_values_lie_where_they_lie(batches):
    """The share below any edge is the values' own share, to the width of a bin."""
    histogram = gathered(batches)
    sizes = np.abs(np.concatenate(batches))
    for edge in (BINS // 4, BINS // 2):
        width = histogram.reach / BINS
        counted = histogram.counts[:edge].sum()
        assert (sizes < (edge - 1) * width).sum() <= counted <= (sizes <= (edge + 1) * width).sum() or width == 0


def test_a_larger_value_widens_the_range():
    """A value beyond the range doubles it until it fits."""
    histogram = EMPTY.with_values(np.float32([1.0, 0.5])).with_values(np.float32([5.0]))
    assert histogram.reach == 8.0
    assert histogram.counts.sum() == 3


def test_zeros_have_no_reach():
    """A tensor of zeros is counted and reaches nowhere."""
    histogram = EMPTY.with_values(np.zeros(7, np.float32))
    assert (histogram.counts[0], histogram.reach, histogram.largest) == (7, 0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    """A graph that overflows cannot be calibrated."""
    with pytest.raises(ModelError, match="not finite"):
        EMPTY.with_values(np.float32([1.0, value]))


def test_what_is_written_is_read(tmp_path):
    """A calibration on disk comes back number for number."""
    histograms = {"a": gathered([np.float32([1, 2])]), "b": EMPTY}
    write_histograms(tmp_path / "c.npz", histograms, model_sha256="0" * 64, frames=2)
    read = read_histograms(tmp_path / "c.npz", model_sha256="0" * 64)
    assert {name: (one.reach, one.largest, one.counts.tolist()) for name, one in read.items()} == {
        name: (one.reach, one.largest, one.counts.tolist()) for name, one in histograms.items()
    }


def test_calibration_of_another_graph_is_refused(tmp_path):
    """Scales of one graph mean nothing in another."""
    write_histograms(tmp_path / "c.npz", {"a": EMPTY}, model_sha256="0" * 64, frames=2)
    with pytest.raises(DataError, match="another graph") as caught:
        read_histograms(tmp_path / "c.npz", model_sha256="1" * 64)
    assert "mien optimize calibrate" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_other_files_hold_no_calibration(tmp_path, content):
    """A file that is no archive is told as such."""
    (tmp_path / "c.npz").write_bytes(content)
    with pytest.raises(DataError, match="holds no calibration"):
        read_histograms(tmp_path / "c.npz", model_sha256="0" * 64)
