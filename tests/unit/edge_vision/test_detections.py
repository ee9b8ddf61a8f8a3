"""Overlaps, suppression, agreement, decoding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.engine.interface import RawOutput
from edge.vision.decode import decode
from edge.vision.detections import Detections, agreement, matches, pairwise_iou
from edge.vision.letterbox import Geometry
from edge.vision.nms import non_max_suppression
from mien.release import OutputSpec


def detections(*rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(boxes=table[:, :4], scores=table[:, 4], classes=table[:, 5].astype(np.int32))


def suppress(*rows, score=0.25, iou=0.5, most=300):
    given_rows = detections(*rows)
    return non_max_suppression(
        given_rows.boxes, given_rows.scores, given_rows.classes, score_threshold=score, iou_threshold=iou, most=most
    )


@st.composite
def candidates(draw):
    seed = draw(st.integers(0, 2**31))
    dice = np.random.default_rng(seed)
    count = draw(st.integers(0, 40))
    corner, side = dice.uniform(0, 60, (count, 2)), dice.uniform(4, 40, (count, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    return boxes, dice.random(count, np.float32), dice.integers(0, 3, count).astype(np.int32)


def test_overlap_of_known_boxes():
    """Half-covered squares share a third of their union; apart ones nothing."""
    first = np.array([[0, 0, 10, 10]], np.float32)
    second = np.array([[0, 5, 10, 15], [20, 20, 30, 30], [0, 0, 10, 10]], np.float32)
    assert np.allclose(pairwise_iou(first, second), [[1 / 3, 0, 1]])


def test_empty_box_overlaps_nothing():
    """A box without area has overlap zero, not a division by zero."""
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert pairwise_iou(point, point).tolist() == [[0]]


def test_weaker_double_goes():
    """Of two boxes on one object the stronger stays."""
    assert suppress((0, 0, 10, 10, 0.6, 0), (0, 1, 10, 11, 0.9, 0)).scores.tolist() == [np.float32(0.9)]


def test_other_class_stays():
    """Boxes of different classes do not suppress each other."""
    assert len(suppress((0, 0, 10, 10, 0.6, 0), (0, 0, 10, 10, 0.9, 1))) == 2


def test_threshold_itself_is_too_weak():
    """A score must lie above the threshold, not on it."""
    assert len(suppress((0, 0, 10, 10, 0.25, 0), score=0.25)) == 0


def test_at_most_so_many():
    """The strongest remain when there are too many."""
    rows = [(20 * n, 0, 20 * n + 10, 10, 0.3 + n / 100, 0) for n in range(9)]
    assert np.allclose(suppress(*rows, most=3).scores, [0.38, 0.37, 0.36])


@given(candidates())
def test_survivors_do_not_overlap(given_boxes):
    """No two survivors of one class overlap beyond the threshold, and they come best first."""
    boxes, scores, classes = given_boxes
    found = non_max_suppression(boxes, scores, classes, score_threshold=0.1, iou_threshold=0.5)
    assert (np.diff(found.scores) <= 0).all()
    overlap = np.triu(pairwise_iou(found.boxes, found.boxes), 1)
    same = found.classes[:, None] == found.classes[None, :]
    assert not (overlap[same] > 0.501).any()


@given(candidates())
def test_everything_suppressed_had_a_stronger_neighbour(given_boxes):
    """A strong box goes only because a survivor of its class covers it."""
    boxes, scores, classes = given_boxes
    found = non_max_suppression(boxes, scores, classes, score_threshold=0.1, iou_threshold=0.5)
    for box, score, name in zip(boxes, scores, classes, strict=True):
        if score > 0.1:
            near = pairwise_iou(box[None], found.boxes)[0][(found.classes == name) & (found.scores >= score)]
            assert near.size
            assert near.max() > 0.499


def test_agreement_counts_each_detection_once():
    """Two boxes on one reference object reproduce one detection, not two."""
    reference = detections((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 1))
    found = detections((0, 0, 10, 10, 0.9, 0), (0, 1, 10, 10, 0.7, 0))
    assert agreement(reference, found) == (1, 2)


def test_agreement_wants_the_class():
    """The right place with the wrong class does not agree."""
    assert agreement(detections((0, 0, 10, 10, 0.9, 0)), detections((0, 0, 10, 10, 0.9, 1))) == (0, 1)


def test_best_overlap_is_paired_first():
    """A reference object is paired with the box that fits it best."""
    reference = detections((0, 0, 10, 10, 0.9, 0))
    found = detections((0, 3, 10, 13, 0.9, 0), (0, 0, 10, 10, 0.3, 0))
    assert matches(reference, found) == [(0, 1)]


def test_agreement_with_nothing():
    """An empty frame agrees with anything and is reproduced by nothing."""
    some = detections((0, 0, 10, 10, 0.9, 0))
    assert agreement(Detections.empty(), some) == (0, 0)
    assert agreement(some, Detections.empty()) == (0, 1)


def test_decode_takes_the_frame_of_the_batch():
    """The second frame's boxes come back in the second frame's pixels."""
    raw = RawOutput(
        boxes=np.array([[[0, 0, 1, 1]], [[16, 40, 32, 56]]], np.float32),
        scores=np.array([[0.1], [0.9]], np.float32),
        classes=np.array([[0], [2]], np.int32),
    )
    geometry = Geometry.between(128, 64, 64, 64)
    found = decode(raw, OutputSpec(top_k=1), geometry, index=1)
    assert found.boxes.tolist() == [[32, 48, 64, 64]]
    assert found.classes.tolist() == [2]
    assert len(decode(raw, OutputSpec(top_k=1), geometry, index=0)) == 0
