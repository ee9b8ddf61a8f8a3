"""Mean average precision against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.detections import Detections
from optimize.evaluate.coco import RECALLS, Truth, average_precision, match, mean_average_precision


def found(*rows):
    table = np.array(sorted(rows, key=lambda row: -row[4]), np.float32).reshape(-1, 6)
    return Detections(boxes=table[:, :4], scores=table[:, 4], classes=table[:, 5].astype(np.int32))


def truth(*rows):
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Truth(boxes=table[:, :4], classes=table[:, 4].astype(np.int32))


SQUARE = (0, 0, 10, 10)
APART = (50, 50, 60, 60)


def test_perfect_detections_score_one():
    """Every object found exactly, nothing else: 1.0 at every overlap."""
    result = mean_average_precision([found((*SQUARE, 0.9, 0))], [truth((*SQUARE, 0))], 1)
    assert (result.map50, result.map50_95) == pytest.approx((1.0, 1.0))


def test_nothing_found_scores_zero():
    """Objects without detections count."""
    assert mean_average_precision([found()], [truth((*SQUARE, 0))], 1).map50 == 0


def test_loose_box_counts_up_to_its_overlap():
    """A box that overlaps by 0.82 is right at 0.50 … 0.80: seven of ten thresholds."""
    result = mean_average_precision([found((0, 0, 10, 8.2, 0.9, 0))], [truth((*SQUARE, 0))], 1)
    assert result.map50 == pytest.approx(1.0)
    assert result.map50_95 == pytest.approx(0.7)


def test_false_alarm_above_halves_precision():
    """A false alarm stronger than the one hit makes precision one half at every recall."""
    result = mean_average_precision([found((*APART, 0.9, 0), (*SQUARE, 0.8, 0))], [truth((*SQUARE, 0))], 1)
    assert result.map50 == pytest.approx(0.5)


def test_false_alarm_below_costs_nothing():
    """A false alarm weaker than every hit does not lower interpolated precision."""
    result = mean_average_precision([found((*APART, 0.1, 0), (*SQUARE, 0.8, 0))], [truth((*SQUARE, 0))], 1)
    assert result.map50 == pytest.approx(1.0)


def test_double_is_a_false_alarm():
    """An object is found once; a second box on it, ranked before another hit, is an error."""
    detections = found((*SQUARE, 0.9, 0), (0, 0, 10, 9.9, 0.8, 0), (*APART, 0.7, 0))
    result = mean_average_precision([detections], [truth((*SQUARE, 0), (*APART, 0))], 1)
    recall_half = (RECALLS <= 0.5).sum()
    assert result.map50 == pytest.approx((recall_half + (101 - recall_half) * 2 / 3) / 101)


def test_half_of_the_objects():
    """One of two objects found: precision 1 up to recall 0.5, which is 51 of 101 points."""
    result = mean_average_precision([found((*SQUARE, 0.9, 0))], [truth((*SQUARE, 0), (*APART, 0))], 1)
    assert result.map50 == pytest.approx(51 / 101)


def test_other_class_does_not_count():
    """The right box with the wrong class finds nothing."""
    result = mean_average_precision([found((*SQUARE, 0.9, 1))], [truth((*SQUARE, 0))], 2)
    assert result.per_class == {0: 0.0}


def test_class_without_objects_is_left_out():
    """False alarms of a class without objects do not enter the mean."""
    result = mean_average_precision([found((*SQUARE, 0.9, 0), (*APART, 0.9, 1))], [truth((*SQUARE, 0))], 2)
    assert result.map50 == pytest.approx(1.0)
    assert result.objects == {0: 1}


def test_images_are_ranked_together():
    """A strong false alarm in one image costs precision for a weaker hit in another."""
    result = mean_average_precision(
        [found((*APART, 0.9, 0)), found((*SQUARE, 0.5, 0))], [truth(), truth((*SQUARE, 0))], 1
    )
    assert result.map50 == pytest.approx(0.5)


def test_detection_takes_the_object_it_fits_best():
    """With two objects in reach, a detection takes the nearer and leaves the other free."""
    boxes = np.array([[0, 0, 10, 10], [0, 2, 10, 12]], np.float32)
    objects = np.array([[0, 2, 10, 12], [0, 0, 10, 10]], np.float32)
    assert match(boxes, objects).all()


def test_no_labelled_data_is_zero_not_an_error():
    """Without any object there is nothing to be right about."""
    assert mean_average_precision([found((*SQUARE, 0.9, 0))], [truth()], 1).map50_95 == 0


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 20))
def test_area_stays_between_zero_and_recall(hits, missed):
    """Interpolated area lies between 0 and the recall that was reached (plus the point at zero)."""
    row = np.array([hits])
    objects = int(row.sum()) + missed
    if objects:
        area = average_precision(row, objects)[0]
        assert 0 <= area <= row.sum() / objects + 1 / 101 + 1e-9
