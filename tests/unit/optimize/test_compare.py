"""How a variant differs from FP32, and which frames make a reference."""

import numpy as np
import pytest

from edge.vision.detections import Detections
from optimize.evaluate.compare import above, compare
from optimize.reference import choose_frames


def found(*rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(boxes=table[:, :4], scores=table[:, 4], classes=table[:, 5].astype(np.int32))


ONE = (0, 0, 10, 10, 0.8, 0)


def test_same_findings_do_not_differ():
    """Nothing moved, nothing changed."""
    difference = compare([found(ONE)], [found(ONE)])
    assert (difference.confidence_shift, difference.changed_images) == (0.0, 0)


def test_shift_is_signed():
    """A variant that is surer has a positive shift."""
    surer = found((0, 0, 10, 10, 0.9, 0))
    assert compare([found(ONE)], [surer]).confidence_shift == pytest.approx(0.1)


def test_lost_and_gained_detections_change_an_image():
    """An image counts once, whether a detection was lost or gained."""
    assert compare([found(ONE), found()], [found(), found(ONE)]).changed_images == 2


def test_nothing_shared_has_no_shift():
    """Without a shared detection there is no shift, which is not the same as zero."""
    assert compare([found(ONE)], [found()]).confidence_shift is None


def test_above_is_strict():
    """A score on the threshold is not above it."""
    assert len(above(found((0, 0, 1, 1, 0.5, 0)), 0.5)) == 0


def test_reference_prefers_clear_frames():
    """Frames with clear detections come before empty ones and such with scores near the threshold."""
    empty, near, clear = found((0, 0, 1, 1, 0.01, 0)), found((0, 0, 9, 9, 0.26, 0)), found(ONE)
    assert choose_frames([empty, near, clear, clear], 0.25, 3) == [1, 2, 3]


def test_reference_takes_all_there_are():
    """Fewer images than wanted give a smaller reference."""
    assert choose_frames([found(ONE)], 0.25, 12) == [0]
