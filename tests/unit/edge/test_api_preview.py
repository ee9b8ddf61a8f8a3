"""Pictures for the live page: none unasked, and no face in them."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from edge.api.covering import COVERED_S, RecentBoxes, cover
from edge.api.interface import Face
from edge.api.preview import Preview, PreviewLimits, faces_of
from edge.camera.interface import Frame
from edge.faces.interface import Faces
from edge.pipeline.model import Result
from edge.vision.detections import Detections
from tests.fakes.fake_engine import FakeEngine, fake_model

BOX = (60.0, 40.0, 120.0, 110.0)
MODEL = fake_model(FakeEngine())


class Clock:
    """Time set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class CountedImage(np.ndarray):
    """A picture that knows how often it was copied."""

    copies = 0

    def copy(self, order="C"):
        CountedImage.copies += 1
        return np.asarray(self).copy(order)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def _noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (160, 240, 3), np.uint8)


def _result(image: np.ndarray, boxes: tuple[tuple[float, ...], ...] = (BOX,), faces: Faces | None = None) -> Result:
    count = len(boxes)
    return Result(
        source="door",
        frame=Frame(image=image, sequence=1, captured_at_s=0),
        model=MODEL,
        detections=Detections(
            boxes=np.array(boxes, np.float32).reshape(count, 4),
            scores=np.full(count, 0.5, np.float32),
            classes=np.zeros(count, np.int32),
        ),
        faces=faces,
        stages_ms=(0, 0, 0, 0, 0),
        luma=0,
    )


def _watched(preview: Preview, clock: Clock) -> None:
    """Somebody has looked for as long as boxes must be kept before a picture is given."""
    assert preview.picture("door", timeout_s=0) is None
    clock.now_s += COVERED_S


def _asked(preview: Preview, result: Result, *, after: int = 0) -> np.ndarray:
    """The picture that somebody gets who asks while this result comes."""
    threading.Timer(0.05, preview.accept, (result,)).start()
    picture = preview.picture("door", after=after, timeout_s=10)
    assert picture is not None
    return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_nothing_is_copied_while_nobody_looks(clock: Clock) -> None:
    """Not before the first look, and no more some seconds after the last."""
    preview = Preview(PreviewLimits(), clock=clock)
    image = _noise().view(CountedImage)
    CountedImage.copies = 0
    preview.accept(_result(image))
    assert CountedImage.copies == 0
    _watched(preview, clock)
    _asked(preview, _result(image))
    assert CountedImage.copies == 1
    clock.now_s += 10
    preview.accept(_result(image))
    assert CountedImage.copies == 1


def test_the_rate_is_bounded_however_many_frames_come(clock: Clock) -> None:
    """Five a second are taken of a hundred."""
    preview = Preview(PreviewLimits(fps=5), clock=clock)
    image = _noise().view(CountedImage)
    _watched(preview, clock)
    _asked(preview, _result(image))
    CountedImage.copies = 0
    for _ in range(100):
        clock.now_s += 0.01
        preview.accept(_result(image))
    assert 4 <= CountedImage.copies <= 5


def test_size_and_quality_are_bounded(clock: Clock) -> None:
    """A large picture becomes as wide as the limit says; a worse quality is smaller."""
    image = cv2.resize(_noise(), (1920, 1080))
    sizes = []
    for quality in (30, 90):
        preview = Preview(PreviewLimits(width=320, quality=quality), clock=clock)
        _watched(preview, clock)
        assert _asked(preview, _result(image)).shape == (180, 320, 3)
        picture = preview.picture("door")
        assert picture is not None
        sizes.append(len(picture.jpeg))
    assert sizes[0] < sizes[1]


def test_a_picture_is_encoded_once_for_all_who_look(clock: Clock) -> None:
    """The second gets the very bytes of the first, and waits for a newer one in vain."""
    preview = Preview(PreviewLimits(), clock=clock)
    _watched(preview, clock)
    _asked(preview, _result(_noise()))
    first, second = preview.picture("door"), preview.picture("door")
    assert first is not None
    assert first is second
    assert preview.picture("door", after=first.number, timeout_s=0.01) is None


def test_nothing_of_yesterday_is_shown(clock: Clock) -> None:
    """Who comes after a while gets a new picture or none."""
    preview = Preview(PreviewLimits(), clock=clock)
    _watched(preview, clock)
    _asked(preview, _result(_noise()))
    clock.now_s += 60
    assert preview.picture("door", timeout_s=0.01) is None


def test_a_covered_face_cannot_be_told_from_another() -> None:
    """Two faces that differ in every pixel and agree in the mean of sixteen tiles look the same afterwards."""
    one, other = _noise(1), _noise(2)
    for image in (one, other):
        image[:] = image // 32 + 100  # fine differences around one colour
    assert not np.array_equal(one, other)
    cover(one, [BOX])
    cover(other, [BOX])
    inside = np.s_[16:134, 39:141]
    assert np.array_equal(one[inside], other[inside])


def test_little_is_left_of_a_covered_face() -> None:
    """Sixteen tiles of rounded colours, and a third of the box beyond each side."""
    image = _noise()
    before = image.copy()
    cover(image, [BOX])
    region = image[16:134, 39:141].reshape(-1, 3)
    assert len(np.unique(region, axis=0)) <= 16
    assert set(np.unique(region)) <= set(range(16, 256, 32))
    changed = np.argwhere((image != before).any(axis=2))
    assert changed.min(axis=0).tolist() <= [16, 40]
    assert changed.max(axis=0).tolist() >= [133, 139]
    assert np.array_equal(image[:, 160:], before[:, 160:])


@pytest.mark.parametrize(
    "box",
    [(-50.0, -50.0, 10.0, 10.0), (230.0, 150.0, 400.0, 300.0), (500.0, 500.0, 600.0, 600.0), (5.0, 5.0, 5.0, 5.0)],
)
def test_a_box_at_the_edge_is_covered_as_far_as_it_is_seen(box: tuple[float, float, float, float]) -> None:
    """Beyond the picture there is nothing to cover, and nothing fails."""
    image = _noise()
    cover(image, [box])
    assert image.shape == (160, 240, 3)


def test_a_face_that_is_missed_for_a_moment_stays_covered(clock: Clock) -> None:
    """Where it was, for two seconds; then the place is shown again."""
    preview = Preview(PreviewLimits(quality=90), clock=clock)
    image = np.full((160, 240, 3), 128, np.uint8)
    image[60:90, 80:100] = 255  # a stroke which only an uncovered picture shows
    _watched(preview, clock)
    _asked(preview, _result(image))
    clock.now_s += 0.5
    missed = _asked(preview, _result(image, boxes=()), after=1)
    assert missed[62:88, 82:98].max() < 235
    clock.now_s += 2.5
    again = _asked(preview, _result(image, boxes=()), after=2)
    assert again[65:85, 85:95].min() > 240


def test_a_face_between_two_pictures_is_covered_in_the_next(clock: Clock) -> None:
    """Its frame was not shown: of a hundred frames a second, five are; the place counts all the same."""
    preview = Preview(PreviewLimits(fps=5, quality=90), clock=clock)
    image = np.full((160, 240, 3), 128, np.uint8)
    image[60:90, 80:100] = 255
    _watched(preview, clock)
    _asked(preview, _result(image, boxes=()))
    clock.now_s += 0.1
    preview.accept(_result(image))
    clock.now_s += 0.15
    assert _asked(preview, _result(image, boxes=()), after=1)[62:88, 82:98].max() < 235


def test_a_face_from_before_the_first_picture_is_covered_in_it(clock: Clock) -> None:
    """No picture is given in the first two seconds of looking; what was found in them is covered."""
    preview = Preview(PreviewLimits(quality=90), clock=clock)
    image = np.full((160, 240, 3), 128, np.uint8)
    image[60:90, 80:100] = 255
    assert preview.picture("door", timeout_s=0) is None
    clock.now_s += 0.1
    preview.accept(_result(image))
    assert preview.picture("door", timeout_s=0) is None
    clock.now_s += COVERED_S - 0.1
    assert _asked(preview, _result(image, boxes=()))[62:88, 82:98].max() < 235


def test_who_comes_back_waits_again(clock: Clock) -> None:
    """While nobody looked, no boxes were kept: a picture comes after two more seconds."""
    preview = Preview(PreviewLimits(), clock=clock)
    _watched(preview, clock)
    _asked(preview, _result(_noise()))
    clock.now_s += 60
    assert preview.picture("door", timeout_s=0) is None
    preview.accept(_result(_noise()))
    assert preview.picture("door", timeout_s=0) is None
    clock.now_s += COVERED_S
    _asked(preview, _result(_noise()))


def test_no_face_of_a_crowd_is_left_out() -> None:
    """Sixty frames of thirty faces each: every box lies within a place, and a face that keeps still counts once."""
    rng = np.random.default_rng(0)
    recent, frames = RecentBoxes(), []
    for number in range(60):
        corners = rng.uniform(0, 1000, (30, 2))
        boxes = np.hstack([corners, corners + rng.uniform(20, 80, (30, 2))]).astype(np.float32)
        recent.note(number / 30, boxes)
        frames.append(boxes)
    places = np.array(recent.places())
    for box in np.concatenate(frames):
        inside = (places[:, :2] <= box[:2]).all(axis=1) & (places[:, 2:] >= box[2:]).all(axis=1)
        assert inside.any()
    still = RecentBoxes()
    for number in range(60):
        still.note(number / 30, np.array([BOX], np.float32))
    assert len(still.places()) == 1


def test_faces_are_shown_where_the_site_allows_it(clock: Clock) -> None:
    """Then the picture is what the camera saw, with boxes."""
    preview = Preview(PreviewLimits(quality=90), show_faces=True, clock=clock)
    image = np.full((160, 240, 3), 128, np.uint8)
    image[60:90, 80:100] = 255
    assert _asked(preview, _result(image))[65:85, 85:95].min() > 240


def test_a_double_is_covered_and_not_drawn(clock: Clock) -> None:
    """The tracker's second box of a face: its pixels are covered all the same."""
    boxes = (BOX, (150.0, 40.0, 200.0, 110.0))
    faces = Faces(
        at_s=0,
        numbers=np.array([7, 7]),
        classes=np.array([1, 1], np.int32),
        scores=np.array([0.8, 0.8], np.float32),
        doubles=np.array([False, True]),
    )
    result = _result(_noise(), boxes=boxes, faces=faces)
    assert faces_of(result) == (Face(box=BOX, label="sad", score=pytest.approx(0.8), track=7),)
    preview = Preview(PreviewLimits(quality=90), clock=clock)
    _watched(preview, clock)
    shown = _asked(preview, result)
    assert shown[50:60, 160:165].std(axis=(0, 1)).max() < 12


def test_the_pipelines_frame_is_left_alone(clock: Clock) -> None:
    """Covering and drawing happen on a copy."""
    image = _noise()
    before = image.copy()
    preview = Preview(PreviewLimits(), clock=clock)
    _watched(preview, clock)
    _asked(preview, _result(image))
    assert np.array_equal(image, before)


def test_whoever_waits_is_let_go_at_the_end(clock: Clock) -> None:
    """Closing ends the wait for a picture."""
    preview = Preview(PreviewLimits(), clock=clock)
    threading.Timer(0.05, preview.close).start()
    assert preview.picture("door", timeout_s=60) is None
