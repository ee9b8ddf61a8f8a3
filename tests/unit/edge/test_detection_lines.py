"""The lines that a run writes of what it found, on a disk that takes none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.bundle_run import DetectionLines
from edge.camera.interface import Frame
from edge.pipeline.model import Result
from edge.vision.detections import Detections
from mien.errors import UnavailableError
from tests.fakes.fake_engine import FakeEngine, fake_model

RESULT = Result(
    source="camera",
    frame=Frame(image=np.zeros((16, 16, 3), np.uint8), sequence=1, captured_at_s=0),
    model=fake_model(FakeEngine()),
    detections=Detections(
        boxes=np.zeros((9, 4), np.float32), scores=np.full(9, 0.5, np.float32), classes=np.zeros(9, np.int32)
    ),
    faces=None,
    stages_ms=(0, 0, 0, 0, 0),
    luma=0,
)


def test_a_full_disk_is_told_when_a_line_is_written() -> None:
    """With what to do, and not as a fault of mien."""
    lines = DetectionLines(Path("/dev/full"))
    with pytest.raises(UnavailableError, match="could not write /dev/full") as caught:
        for _ in range(100):
            lines.accept(RESULT)
    assert "No space left" in caught.value.found
    assert "free some disk space" in caught.value.remedy


def test_a_full_disk_is_told_when_the_last_lines_are_written() -> None:
    """A short run meets the disk at its end only."""
    lines = DetectionLines(Path("/dev/full"))
    lines.accept(RESULT)
    with pytest.raises(UnavailableError, match="could not write /dev/full"):
        lines.close()
