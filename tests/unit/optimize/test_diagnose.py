"""Why the gate refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from optimize.diagnose import Evidence, distance, likely_causes

INT8 = {"model.int8.onnx": "map50_95_loss 0.0600, limit 0.0050"}
SAMPLES = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 255))


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (Evidence(refused=INT8, quantised_head=("Concat_1",)), "quantised head: 1 nodes"),
        (Evidence(refused=INT8, brightness_distance=0.8), "unrepresentative calibration"),
        (Evidence(refused=INT8, missing_classes=("fear",)), "no calibration image shows fear"),
        (Evidence(refused={"model.fp32.onnx": "map50"}, swapped_gain=0.3), "preprocessing mismatch"),
        (Evidence(refused={"model.fp32.onnx": "map50"}, swapped_gain=0.0), "train longer"),
        (Evidence(refused=INT8, brightness_distance=0.1), "none of the classic causes"),
    ],
)
def test_each_cause_is_named_with_its_evidence(evidence, word):
    """The first cause is the one that the evidence speaks for."""
    assert word in likely_causes(evidence)[0]


def test_several_causes_are_all_named():
    """A quantised head does not hide dark calibration images."""
    causes = likely_causes(Evidence(refused=INT8, quantised_head=("a",), brightness_distance=0.9))
    assert [cause.partition(":")[0] for cause in causes] == ["quantised head", "unrepresentative calibration"]


def test_weak_weights_are_not_blamed_on_calibration():
    """FP32 has no calibration; a difference in brightness says nothing there."""
    causes = likely_causes(Evidence(refused={"model.fp32.onnx": "map50"}, brightness_distance=0.9))
    assert causes == ("the weights themselves are weak: train longer, or look at the data: mien train data check",)


@given(SAMPLES, SAMPLES)
def test_distance_is_between_nothing_and_one_and_symmetric(one, other):
    """Like a distance."""
    assert 0 <= distance(one, other) == distance(other, one) <= 1
    assert distance(one, one) == 0


def test_day_and_night_are_far_apart():
    """Samples that do not overlap are as far apart as can be."""
    assert distance(np.array([1.0, 2.0]), np.array([200.0, 210.0])) == 1
