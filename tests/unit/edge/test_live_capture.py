"""A live source that goes away and comes back, and frames that are none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge.camera.capture import LiveCapture
from edge.camera.interface import CameraError, LiveSource, Picture
from edge.camera.opencv import OpenCvSource
from edge.camera.options import CameraOptions
from mien.errors import ConfigError

GOOD = np.full((4, 4, 3), 9, np.uint8)
FOREVER = CameraOptions()
SOON = CameraOptions(give_up_after_s=0.02)


class FakeSource:
    """Gives what was put in: a picture, ``None`` for one that cannot be decoded, an error; then nothing."""

    description = "fake"

    def __init__(self, *given: np.ndarray | Exception | None) -> None:
        self._given = list(given)
        self.closed = False

    def next(self) -> Picture | None:
        if not self._given:
            return None
        one = self._given.pop(0)
        if isinstance(one, Exception):
            raise one
        return Picture(image=one, taken_at_s=5.0)

    def close(self) -> None:
        self.closed = True


class FakeCapture:
    """As much of OpenCV's capture as is used, as a driver behaves: each step grabs what was put in."""

    def __init__(self, *given: np.ndarray | bytes | None) -> None:
        self._given = list(given)
        self._held: np.ndarray | bytes | None = None
        self.released = False

    def grab(self) -> bool:
        if not self._given:
            return False
        self._held = self._given.pop(0)
        return True

    def retrieve(self, into: np.ndarray | None = None) -> tuple[bool, np.ndarray | None]:
        if self._held is None:
            return False, None
        if isinstance(self._held, bytes):
            image = cv2.imdecode(np.frombuffer(self._held, np.uint8), cv2.IMREAD_COLOR)  # raises on zero bytes
            return image is not None, image
        if into is None or into.shape != self._held.shape:
            return True, self._held.copy()
        into[:] = self._held
        return True, into

    def release(self) -> None:
        self.released = True


def _capture(*sources: LiveSource | Exception, options: CameraOptions = FOREVER) -> LiveCapture:
    given = iter(sources)

    def opener() -> LiveSource:
        source = next(given, CameraError("not there"))
        if isinstance(source, Exception):
            raise source
        return source

    return LiveCapture("cam", opener, options, first_pause_s=0.001)


def test_a_lost_source_is_opened_again() -> None:
    """Frames go on with the next number, the lost source is given back, and the return is counted."""
    first = FakeSource(GOOD, GOOD)
    camera = _capture(first, CameraError("busy"), FakeSource(GOOD, GOOD))
    frames = [camera.read() for _ in range(4)]
    assert [frame.sequence for frame in frames if frame] == [1, 2, 3, 4]
    assert (camera.reconnects, camera.is_away, first.closed) == (1, False, True)


def test_a_source_that_breaks_is_opened_again() -> None:
    """An error while reading is a loss like any other."""
    camera = _capture(FakeSource(GOOD, CameraError("unplugged")), FakeSource(GOOD))
    assert [frame.sequence for frame in (camera.read(), camera.read()) if frame] == [1, 2]


def test_a_lost_source_is_waited_for_through_many_failures() -> None:
    """Without a limit no number of failures ends the waiting."""
    camera = _capture(FakeSource(GOOD), *(CameraError("off") for _ in range(6)), FakeSource(GOOD))
    assert camera.read() is not None
    assert camera.read() is not None
    assert camera.reconnects == 1


def test_a_source_that_stays_away_ends_in_an_error() -> None:
    """After the time allowed, reading raises, and says why the source cannot be opened."""
    camera = _capture(FakeSource(GOOD), options=SOON)
    assert camera.read() is not None
    with pytest.raises(CameraError, match=r"went away.*not there"):
        camera.read()


def test_a_source_that_opens_and_stays_dark_is_still_away() -> None:
    """A camera that can be opened and gives no picture does not reset the patience."""
    camera = _capture(FakeSource(GOOD), *(FakeSource() for _ in range(1000)), options=SOON)
    assert camera.read() is not None
    with pytest.raises(CameraError, match="went away"):
        camera.read()
    assert (camera.is_away, camera.reconnects) == (True, 0)


def test_a_source_that_is_not_there_is_refused() -> None:
    """The first opening must succeed when nothing else was said."""
    with pytest.raises(CameraError, match="not there"):
        _capture()


def test_a_source_that_is_not_there_yet_is_waited_for() -> None:
    """A device that starts before its camera counts it as away, then reads it."""
    camera = _capture(CameraError("off"), FakeSource(GOOD), options=CameraOptions(wait_for_first=True))
    assert camera.is_away
    assert "off" in camera.away_because
    assert camera.read() is not None
    assert not camera.is_away
    assert camera.away_because == ""


def test_a_wrong_setting_is_not_waited_for() -> None:
    """Waiting mends no setting, so the first opening tells it at once."""
    with pytest.raises(ConfigError):
        _capture(ConfigError("no such mode"), options=CameraOptions(wait_for_first=True))


def test_a_camera_that_returns_otherwise_is_waited_for() -> None:
    """A setting that the camera does not fulfil any more after a loss ends no device."""
    camera = _capture(FakeSource(GOOD), ConfigError("another codec"), FakeSource(GOOD))
    assert camera.read() is not None
    assert camera.read() is not None


def test_frames_that_cannot_be_decoded_are_skipped_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """They leave a gap in the numbers and no other trace."""
    camera = _capture(FakeSource(GOOD, None, None, GOOD, None, GOOD))
    with caplog.at_level(logging.WARNING):
        frames = [camera.read() for _ in range(3)]
    assert [frame.sequence for frame in frames if frame] == [1, 4, 6]
    assert camera.bad_frames == 3
    assert len([record for record in caplog.records if "cannot be decoded" in record.message]) == 1


def test_a_source_of_bad_frames_only_is_lost() -> None:
    """What sends nothing else for the time allowed is opened again."""
    rubbish = FakeSource(*[None] * 10_000_000)
    camera = _capture(rubbish, FakeSource(GOOD), options=CameraOptions(read_timeout_s=0.01))
    assert camera.read() is not None
    assert rubbish.closed
    assert camera.reconnects == 1


def test_reasons_are_told_when_they_change(caplog: pytest.LogCaptureFixture) -> None:
    """A year of the same failure is one line."""
    failures = [CameraError("off"), CameraError("off"), CameraError("off"), CameraError("busy")]
    camera = _capture(FakeSource(GOOD), *failures, FakeSource(GOOD))
    with caplog.at_level(logging.WARNING):
        assert camera.read() is not None
        assert camera.read() is not None
    assert [record.args[1].what for record in caplog.records if "cannot be opened" in record.message] == ["off", "busy"]


def test_closing_ends_reading_and_gives_the_source_back() -> None:
    """A closed camera gives no more frames."""
    source = FakeSource(GOOD)
    camera = _capture(source)
    camera.close()
    assert camera.read() is None
    assert source.closed


def test_closing_ends_the_wait_for_a_lost_source() -> None:
    """A thread that waits for a camera's return ends."""
    camera = _capture(FakeSource(), options=CameraOptions())
    reader = threading.Thread(target=camera.read)
    reader.start()
    camera.close()
    reader.join(timeout=30)
    assert not reader.is_alive()


def _opencv(capture: FakeCapture, **more: object) -> OpenCvSource:
    return OpenCvSource(capture, name="cam", description="", **more)  # type: ignore[arg-type]


def _jpeg() -> bytes:
    return cv2.imencode(".jpg", GOOD)[1].tobytes()


@pytest.mark.parametrize(
    "rubbish", [b"", b"\xff\xd8\xff\xdb no picture", _jpeg()[:20], None], ids=("empty", "rubbish", "cut", "nothing")
)
def test_opencv_frames_that_are_no_picture_are_told_apart_from_a_loss(rubbish: bytes | None) -> None:
    """Zero bytes, which OpenCV refuses with an exception, a broken JPEG and nothing at all: the next frame counts."""
    source = _opencv(FakeCapture(rubbish, GOOD))
    first, second = source.next(), source.next()
    assert first is not None
    assert first.image is None
    assert second is not None
    assert np.array_equal(second.image, GOOD)
    assert source.next() is None


def test_an_unplugged_camera_comes_back() -> None:
    """The driver's capture ends, the node cannot be opened for a while, then frames go on."""
    captures = [FakeCapture(GOOD, b"", GOOD), FakeCapture(GOOD)]
    camera = _capture(_opencv(captures[0]), CameraError("no such device"), _opencv(captures[1]))
    assert [frame.sequence for frame in (camera.read(), camera.read(), camera.read()) if frame] == [1, 3, 4]
    assert captures[0].released
    assert (camera.bad_frames, camera.reconnects) == (1, 1)


def test_a_size_that_changes_is_followed() -> None:
    """The next picture has the size that it was sent with."""
    wide = np.full((4, 8, 3), 7, np.uint8)
    source = _opencv(FakeCapture(GOOD, GOOD, wide, wide, GOOD))
    pictures = [source.next() for _ in range(5)]
    assert [picture.image.shape[1] for picture in pictures if picture and picture.image is not None] == [4, 4, 8, 8, 4]


def test_memory_is_used_again_only_when_nobody_holds_the_frame() -> None:
    """A frame keeps its pixels while it is held; memory of a frame that was let go serves again."""
    grey = [np.full((4, 4, 3), level, np.uint8) for level in range(40)]
    source = _opencv(FakeCapture(*grey))
    held = [source.next().image for _ in range(20)]  # type: ignore[union-attr]
    assert [int(image[0, 0, 0]) for image in held if image is not None] == list(range(20))
    held.clear()
    places = {picture.image.ctypes.data for picture in iter(source.next, None) if picture.image is not None}
    assert len(places) == 2  # the one that is still held, and the one that is written


@pytest.mark.parametrize(("stamp", "taken"), [(lambda now: now - 0.25, -0.25), (lambda now: 12.0, 0.0)])
def test_a_drivers_own_time_counts_where_it_can_be_true(
    monkeypatch: pytest.MonkeyPatch, stamp: Callable[[float], float], taken: float
) -> None:
    """Monotonic seconds are taken over; a clock from elsewhere is not."""
    monkeypatch.setattr("edge.camera.opencv.time.monotonic", lambda: 1000.0)
    picture = _opencv(FakeCapture(GOOD), stamp=lambda: stamp(1000.0)).next()
    assert picture is not None
    assert picture.taken_at_s == 1000.0 + taken


def test_a_picture_is_scaled_to_the_size_asked_for() -> None:
    """One that has it already is left alone."""
    halved = [_opencv(FakeCapture(GOOD, GOOD), scale_to=size).next() for size in ((2, 2), (4, 4))]
    assert [picture.image.shape for picture in halved if picture and picture.image is not None] == [
        (2, 2, 3),
        (4, 4, 3),
    ]
