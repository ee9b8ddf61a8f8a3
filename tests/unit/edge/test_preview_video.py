"""The video that a run writes: whose it is, and what of a face is in it."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.interface import Frame
from edge.pipeline.model import Result
from edge.preview_video import PreviewVideo, check_name
from edge.vision.detections import Detections
from mien.errors import ConfigError, UnavailableError
from tests.fakes.fake_engine import FakeEngine, fake_model

BOX = (60.0, 40.0, 120.0, 110.0)
MODEL = fake_model(FakeEngine())


def _result(*boxes: tuple[float, ...]) -> Result:
    """A frame with a bright stroke where a face may be."""
    image = np.full((160, 240, 3), 128, np.uint8)
    image[60:90, 80:100] = 255
    count = len(boxes)
    return Result(
        source="camera",
        frame=Frame(image=image, sequence=1, captured_at_s=0),
        model=MODEL,
        detections=Detections(
            boxes=np.array(boxes, np.float32).reshape(count, 4),
            scores=np.full(count, 0.5, np.float32),
            classes=np.zeros(count, np.int32),
        ),
        faces=None,
        stages_ms=(0, 0, 0, 0, 0),
        luma=0,
    )


def _strokes(path: Path) -> list[int]:
    """How bright the stroke is in each frame of a video."""
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append(int(read[1][65:85, 85:95].mean()))
    return found


def test_faces_are_covered_and_stay_so_while_the_model_misses_them(tmp_path: Path) -> None:
    """For two seconds of the video; then the place is shown again."""
    video = PreviewVideo(tmp_path / "run.mp4", fps=4)
    for result in (_result(BOX), *[_result()] * 12):
        video.accept(result)
    video.close()
    strokes = _strokes(tmp_path / "run.mp4")
    assert len(strokes) == 13
    assert max(strokes[:9]) < 235
    assert min(strokes[10:]) > 235


def test_faces_are_shown_where_it_was_asked_for(tmp_path: Path) -> None:
    """Then the video holds what the camera saw."""
    video = PreviewVideo(tmp_path / "run.mp4", fps=4, show_faces=True)
    video.accept(_result(BOX))
    video.close()
    assert min(_strokes(tmp_path / "run.mp4")) > 235


def test_nobody_else_can_read_it_at_any_moment(tmp_path: Path) -> None:
    """Neither while it is written nor afterwards, even in place of a file that all could read; one file is left."""
    path = tmp_path / "run.mp4"
    path.write_bytes(b"old")
    path.chmod(0o644)
    video = PreviewVideo(path, fps=4)
    video.accept(_result(BOX))
    parts = [found for found in tmp_path.iterdir() if found != path]
    assert [stat.S_IMODE(found.stat().st_mode) for found in parts] == [0o600]
    assert path.read_bytes() == b"old"
    video.close()
    assert [found.name for found in tmp_path.iterdir()] == ["run.mp4"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_that_is_no_video_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    """At the first frame, with what is wanted."""
    with pytest.raises(UnavailableError, match=r"\.mp4"):
        PreviewVideo(tmp_path / "run.nonsense", fps=4).accept(_result(BOX))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file of this process can grow beyond 16 KiB: to a writer, a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("short_files")
def test_a_video_that_the_disk_does_not_take_is_told_and_removed(tmp_path: Path) -> None:
    """The writer tells nothing by itself: the file's own count does."""
    video = PreviewVideo(tmp_path / "run.mp4", fps=4)
    for seed in range(40):
        result = _result()
        result.frame.image[:] = np.random.default_rng(seed).integers(0, 255, result.frame.image.shape)
        video.accept(result)
    with pytest.raises(UnavailableError, match="could not write the video") as caught:
        video.close()
    assert "of 40 frames were kept" in caught.value.found
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_nearly_full_ends_a_video_in_time(tmp_path: Path) -> None:
    """Told with the frame, and nothing is left when the run is taken down."""
    video = PreviewVideo(tmp_path / "run.mp4", fps=4, least_room=1 << 60)
    with pytest.raises(UnavailableError, match="no room"):
        video.accept(_result(BOX))
    with pytest.raises(UnavailableError):
        video.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.xyz", "run", "folder.mp4"])
def test_a_name_that_no_video_could_have_is_refused_before_a_run(name: str, tmp_path: Path) -> None:
    """With what is wanted and what to do; nothing is left behind."""
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ConfigError) as caught:
        check_name(tmp_path / name)
    assert ".mp4" in caught.value.wanted
    assert caught.value.remedy
    assert [found.name for found in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_place_where_nothing_can_be_written_is_refused_before_a_run(tmp_path: Path) -> None:
    """A file stands where a folder would have to be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="could not write"):
        check_name(tmp_path / "file" / "run.mp4")
    check_name(tmp_path / "run.mp4")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
