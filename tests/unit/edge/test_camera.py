"""Cameras on files made by the test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.chooser import open_camera
from edge.camera.csi import gstreamer_pipeline, has_gstreamer
from edge.camera.file import VideoFile
from edge.camera.images import ImageFolder
from edge.camera.interface import Camera, CameraError
from edge.camera.rtsp import without_password
from edge.camera.synthetic import SyntheticCamera
from mien.errors import ConfigError


@pytest.fixture
def video(memory_path: Path) -> Path:
    """Twelve frames at 60 a second, each brighter than the one before."""
    path = memory_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 60, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), number * 20, np.uint8))
    writer.release()
    return path


def _levels(camera: Camera, most: int = 100) -> list[int]:
    levels = []
    for _ in range(most):
        frame = camera.read()
        if frame is None:
            break
        levels.append(round(float(frame.image.mean()) / 20))
    camera.close()
    return levels


def test_a_video_is_read_whole(video: Path) -> None:
    """A stored file is not live and loses no frame."""
    camera = open_camera(str(video))
    assert not camera.live
    assert _levels(camera) == list(range(12))


def test_a_looped_video_starts_again(video: Path) -> None:
    """After the last frame comes the first."""
    assert _levels(open_camera(str(video), loop=True), most=15) == [*range(12), 0, 1, 2]


def test_a_realtime_video_is_live_and_thinned(video: Path) -> None:
    """At 20 of 60 frames a second every third frame is shown, so that time passes as in the film."""
    camera = VideoFile(video, realtime=True, max_fps=20)
    assert camera.live
    assert _levels(camera) == [2, 5, 8, 11]


def test_sequences_rise_by_one(video: Path) -> None:
    """Frames carry their number."""
    camera = open_camera(str(video), loop=True)
    frames = [camera.read() for _ in range(20)]
    camera.close()
    assert [frame.sequence for frame in frames if frame] == list(range(1, 21))


def test_images_come_in_the_order_of_their_names(memory_path: Path) -> None:
    """A folder is a source; other files in it are passed over."""
    for number in (3, 1, 2):
        cv2.imwrite(str(memory_path / f"{number}.png"), np.full((10, 10, 3), number * 20, np.uint8))
    (memory_path / "notes.txt").write_text("no image")
    assert _levels(open_camera(str(memory_path))) == [1, 2, 3]


def test_an_empty_folder_is_refused(memory_path: Path) -> None:
    """The error names what would count as an image."""
    with pytest.raises(CameraError, match="no images"):
        ImageFolder(memory_path)


def test_a_broken_image_is_named(memory_path: Path) -> None:
    """The file that cannot be read is in the message."""
    (memory_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(CameraError, match=r"broken\.jpg"):
        open_camera(str(memory_path)).read()


def test_a_file_that_is_no_video_is_refused(memory_path: Path) -> None:
    """Text under a video's name is told apart."""
    path = memory_path / "film.mp4"
    path.write_text("no film")
    with pytest.raises(CameraError, match="could not read the video"):
        open_camera(str(path))


@pytest.mark.parametrize(
    "source", ["http://host/film", "synthetic://640", "csi://front", "synthetic://64x48@0", "no/such"]
)
def test_what_names_no_camera_is_refused_with_the_forms(source: str) -> None:
    """The valid forms are in the error."""
    with pytest.raises(ConfigError) as caught:
        open_camera(source)
    assert "rtsp://" in caught.value.wanted


def test_a_missing_device_is_told() -> None:
    """A video device that is not there is no configuration fault."""
    with pytest.raises(CameraError, match="no camera /dev/video97"):
        open_camera("/dev/video97")


def test_the_synthetic_camera_repeats_itself() -> None:
    """The same number is the same picture, the next one is another."""
    camera = SyntheticCamera(64, 48, 200, frames=3)
    first, second = camera.read(), camera.read()
    assert first is not None
    assert second is not None
    assert np.array_equal(first.image, camera.draw(1))
    assert not np.array_equal(first.image, second.image)
    assert camera.read() is not None
    assert camera.read() is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:pass@host:554/stream", "rtsp://***@host:554/stream"),
        ("rtsp://host/stream?at=1@2", "rtsp://host/stream?at=1@2"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """Names of network cameras carry no credentials."""
    assert without_password(url) == shown


def test_gstreamer_is_found_in_the_build_information() -> None:
    """OpenCV's own words decide."""
    assert has_gstreamer("  Video I/O:\n    GStreamer:                   YES (1.20.3)\n")
    assert not has_gstreamer("    GStreamer:                   NO\n")


def test_the_csi_pipeline_keeps_the_newest_frame() -> None:
    """Latest wins already inside GStreamer."""
    pipeline = gstreamer_pipeline(1)
    assert "sensor-id=1" in pipeline
    assert pipeline.endswith("appsink max-buffers=1 drop=true sync=false")
