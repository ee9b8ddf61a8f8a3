"""A live source that goes away and comes back."""

from __future__ import annotations

import numpy as np
import pytest

from edge.camera.capture import LiveCapture
from edge.camera.interface import CameraError


class FakeCapture:
    """As much of OpenCV's capture as is used: gives some frames, then none."""

    def __init__(self, frames: int, *, opened: bool = True) -> None:
        self.left = frames
        self.opened = opened
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_lost_source_is_opened_again() -> None:
    """Frames go on with the next number, and the lost capture is given back."""
    captures = [FakeCapture(2), FakeCapture(0, opened=False), FakeCapture(2)]
    given = iter(captures)
    camera = LiveCapture("cam", lambda: next(given), give_up_after_s=60, first_pause_s=0.001)
    frames = [camera.read() for _ in range(4)]
    assert [frame.sequence for frame in frames if frame] == [1, 2, 3, 4]
    assert camera.reconnects == 1
    assert captures[0].released


def test_a_source_that_stays_away_ends_in_an_error() -> None:
    """After the time allowed, reading raises."""
    given = iter([FakeCapture(1), *(FakeCapture(0, opened=False) for _ in range(1000))])
    camera = LiveCapture("cam", lambda: next(given), give_up_after_s=0.02, first_pause_s=0.001)
    assert camera.read() is not None
    with pytest.raises(CameraError, match="went away"):
        camera.read()


def test_a_source_that_is_not_there_is_refused() -> None:
    """The first opening must succeed."""
    with pytest.raises(CameraError, match="could not open"):
        LiveCapture("cam", lambda: FakeCapture(0, opened=False), give_up_after_s=1)


def test_closing_ends_reading() -> None:
    """A closed source gives no more frames."""
    camera = LiveCapture("cam", lambda: FakeCapture(100), give_up_after_s=1)
    camera.close()
    assert camera.read() is None


def test_a_source_that_opens_and_stays_dark_is_still_away() -> None:
    """A camera that can be opened and gives no picture does not reset the patience."""
    given = iter([FakeCapture(1), *(FakeCapture(0) for _ in range(1000))])
    camera = LiveCapture("cam", lambda: next(given), give_up_after_s=0.02, first_pause_s=0.001)
    assert camera.read() is not None
    with pytest.raises(CameraError, match="went away"):
        camera.read()
    assert (camera.is_away, camera.reconnects) == (True, 0)
