"""Cameras on files made by the test."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.chooser import open_camera
from edge.camera.file import VideoFile
from edge.camera.images import ImageFolder
from edge.camera.interface import Camera, CameraError
from edge.camera.options import CameraOptions, check_fit, check_shape
from edge.camera.pool import FramePool
from edge.camera.readable import check_readable
from edge.camera.rtsp import cleaned, open_rtsp, without_password
from edge.camera.synthetic import SyntheticCamera
from edge.config import CameraSettings
from mien.errors import ConfigError, UnsupportedError


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
    assert _levels(open_camera(str(video), CameraOptions(loop=True)), most=15) == [*range(12), 0, 1, 2]


def test_a_realtime_video_is_live_and_thinned(video: Path) -> None:
    """At 20 of 60 frames a second every third frame is shown, so that time passes as in the film."""
    camera = VideoFile(video, realtime=True, max_fps=20)
    assert camera.live
    assert _levels(camera) == [2, 5, 8, 11]


def test_sequences_rise_by_one(video: Path) -> None:
    """Frames carry their number."""
    camera = open_camera(str(video), CameraOptions(loop=True))
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


def test_a_broken_image_alone_is_named(memory_path: Path) -> None:
    """A source of which nothing can be read is an error with the file in it."""
    (memory_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(CameraError, match=r"broken\.jpg"):
        open_camera(str(memory_path)).read()


def _folder_with_broken_images(folder: Path) -> None:
    """Images 1, 4 and 6, one of zero bytes, one that is text, and a JPEG of which only the beginning is there."""
    for number in (1, 4, 6):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((10, 10, 3), number * 20, np.uint8))
    (folder / "2.jpg").write_bytes(b"")
    (folder / "3.jpg").write_bytes(b"no image")
    whole = cv2.imencode(".jpg", np.full((10, 10, 3), 100, np.uint8))[1].tobytes()
    (folder / "5.jpg").write_bytes(whole[:30])


@pytest.mark.parametrize("realtime", [False, True], ids=["lossless", "live"])
def test_broken_images_among_others_are_skipped_counted_and_told_once(
    memory_path: Path, caplog: pytest.LogCaptureFixture, realtime: bool
) -> None:
    """They leave gaps in the numbers, and end no run."""
    _folder_with_broken_images(memory_path)
    camera = open_camera(str(memory_path), CameraOptions(realtime=realtime, max_fps=1000))
    frames = [camera.read() for _ in range(3)]
    assert [frame.sequence for frame in frames if frame] == [1, 4, 6]
    assert camera.read() is None
    assert camera.bad_frames == 3
    assert len([record for record in caplog.records if "cannot be read as an image" in record.message]) == 1


def test_a_live_folder_without_one_good_image_is_away_until_there_is_one(memory_path: Path) -> None:
    """A device that plays a folder outlives its damage."""
    path = memory_path / "1.png"
    path.write_bytes(b"")
    camera = ImageFolder(memory_path, realtime=True, loop=True, max_fps=1000)
    reader = ThreadPoolExecutor(1)
    frame = reader.submit(camera.read)
    while not camera.is_away:
        time.sleep(0.001)
    (memory_path / "made").write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    (memory_path / "made").rename(path)
    assert frame.result(timeout=30) is not None
    assert (camera.is_away, camera.reconnects) == (False, 1)
    reader.shutdown()


def _damaged(video: Path, *numbers: int) -> Path:
    """A copy of a Motion-JPEG film in which these frames are rubbish."""
    data = bytearray(video.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", bytes(data))]
    for number in numbers:
        end = data.index(b"\xff\xd9", starts[number]) + 2
        data[starts[number] : end] = bytes(end - starts[number])
    path = video.with_name("damaged.avi")
    path.write_bytes(data)
    return path


def test_a_film_does_not_end_at_a_frame_that_cannot_be_decoded(video: Path) -> None:
    """OpenCV answers such a frame as it answers the end; what follows is read all the same."""
    camera = open_camera(str(_damaged(video, 3, 4, 8)))
    assert _levels(camera) == [0, 1, 2, 5, 6, 7, 9, 10, 11]
    assert camera.bad_frames == 3


def test_a_damaged_film_is_looped_whole(video: Path) -> None:
    """The second round holds what the first did."""
    levels = _levels(open_camera(str(_damaged(video, 5)), CameraOptions(loop=True)), most=22)
    assert levels == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11] * 2


@pytest.fixture
def shut_out() -> Iterator[Callable[[Path], None]]:
    """Takes the right to read a file from whoever runs the test, root too."""

    def shut(path: Path) -> None:
        path.chmod(0)
        if os.geteuid() == 0:
            os.seteuid(65534)

    yield shut
    if os.getuid() == 0:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["film.mp4", "face.png"])
def test_a_file_that_this_user_may_not_read_is_not_called_damaged(
    name: str, memory_path: Path, shut_out: Callable[[Path], None]
) -> None:
    """It says so, and how the right is given."""
    path = memory_path / name
    path.write_bytes(b"whatever")
    shut_out(path)
    with pytest.raises(CameraError) as caught:
        check_readable(path, "video")
    assert caught.value.found == "Permission denied"
    assert f"chmod a+r {path}" in caught.value.remedy


@pytest.mark.parametrize("name", ["film.mp4", "face.png"])
def test_an_empty_file_is_called_empty(name: str, memory_path: Path) -> None:
    """Nothing in it could be converted or mended."""
    (memory_path / name).write_bytes(b"")
    with pytest.raises(CameraError, match="is empty"):
        open_camera(str(memory_path / name)).read()


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


@pytest.mark.parametrize("address", ["rtsp://", "rtsp:///cam", "rtsp://eye:@/cam", "rtsp://eye:open/sesame@host/cam"])
def test_a_network_camera_without_a_host_is_refused_as_a_form(address: str) -> None:
    """Nothing is tried, and what may be a password is not repeated."""
    with pytest.raises(ConfigError, match="no host") as caught:
        open_camera(address)
    assert "rtsp://HOST/PATH" in caught.value.wanted
    assert "sesame" not in str(caught.value)


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


@pytest.mark.parametrize("secret", ["pass", "p%40ss", "p@ss"])
def test_a_password_is_taken_out_of_others_words(secret: str) -> None:
    """Whether they repeat the address, or the password as it was written or as it is meant."""
    url = f"rtsp://user:{secret.replace('@', '%40')}@host/stream"
    said = cleaned(f"could not open {url}: user:{secret} refused", url=url)
    assert secret not in said
    assert "host/stream" in said


@pytest.mark.parametrize("source", ["ftp://user:open-sesame@host/film", "http://user:open-sesame@host"])
def test_an_address_that_names_no_camera_is_refused_without_its_password(source: str) -> None:
    """Errors are logged and shown."""
    with pytest.raises(ConfigError) as caught:
        open_camera(source)
    assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "options", "named"),
    [
        ("film.avi", CameraOptions(codec="h264"), "codec"),
        ("film.avi", CameraOptions(width=64, height=48), "width or height"),
        ("rtsp://127.0.0.1:9/x", CameraOptions(pixel_format="MJPG", fps=10), "fps or pixel_format"),
        ("csi://0", CameraOptions(transport="udp"), "transport"),
        ("synthetic://64x48@10", CameraOptions(decoder="gstreamer"), "decoder"),
        ("/dev/video97", CameraOptions(latency_ms=100), "latency_ms"),
    ],
)
def test_a_wish_that_a_source_cannot_fulfil_is_refused(
    memory_path: Path, source: str, options: CameraOptions, named: str
) -> None:
    """It is named; nothing is passed over silently."""
    path = memory_path / source
    if source.endswith(".avi"):
        path.touch()
        source = str(path)
    with pytest.raises(ConfigError, match=f"has no {named} to set"):
        open_camera(source, options)


def test_general_options_fit_every_source() -> None:
    """One configuration's limits serve whatever its source is."""
    options = CameraOptions(
        realtime=True, loop=True, max_fps=5, read_timeout_s=3, give_up_after_s=9, wait_for_first=True
    )
    for kind in ("v4l2", "csi", "rtsp", "file", "folder", "synthetic"):
        check_fit(kind, options)  # type: ignore[arg-type]


def test_half_a_size_is_refused() -> None:
    """Width and height belong together."""
    with pytest.raises(ConfigError, match="both numbers"):
        CameraOptions(width=640)


@given(st.integers(16, 4096), st.integers(16, 4096), st.integers(2, 8))
def test_a_size_that_keeps_the_shape_fits(width: int, height: int, parts: int) -> None:
    """Also where a pixel is rounded."""
    check_shape("cam", (width * parts, height * parts), (width, height))
    check_shape("cam", (width, height), (max(width // parts, 1), max(round(height * (width // parts) / width), 1)))


def test_a_size_of_another_shape_is_refused_with_the_nearest_that_fits() -> None:
    """Faces that are squeezed are not those that the model was trained on."""
    with pytest.raises(ConfigError) as caught:
        check_shape("cam", (1920, 1080), (640, 640))
    assert caught.value.wanted == "640×360"


def test_a_latency_that_ffmpeg_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TCP it holds nothing back."""
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    with pytest.raises(UnsupportedError, match="no latency to set"):
        open_rtsp("rtsp://127.0.0.1:9/cam", CameraOptions(decoder="opencv", latency_ms=50))


def test_network_cameras_that_opencv_would_read_alike_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second transport would be passed over silently."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|fflags;nobuffer")
    with pytest.raises(ConfigError, match="alike"):
        open_rtsp("rtsp://127.0.0.1:9/cam", CameraOptions(decoder="opencv", transport="udp"))


@given(st.lists(st.tuples(st.sampled_from([(4, 6), (8, 2)]), st.integers(0, 3)), max_size=60))
def test_no_two_frames_that_are_held_share_memory(steps: list[tuple[tuple[int, int], int]]) -> None:
    """Whatever is taken and let go, in whatever order, also through a view alone."""
    pool, held = FramePool(most=3), []
    for number, ((width, height), let_go) in enumerate(steps):
        array = pool.take(width, height)
        array[:] = number
        assert array.shape == (height, width, 3)
        held.append((number, array[1:]))
        del array
        for _ in range(min(let_go, len(held) - 1)):
            held.pop(0)
        assert all(np.all(view == kept) for kept, view in held)


def test_every_option_can_be_set_in_the_settings_file_and_stands_in_the_default_one() -> None:
    """What the settings hold beyond the options is the camera's name and source."""
    names = {field.name for field in fields(CameraOptions)}
    assert set(CameraSettings.model_fields) == names | {"name", "source"}
    default = yaml.safe_load((Path(__file__).parents[3] / "configs" / "edge" / "default.yaml").read_text())
    assert set(default["camera"]) == set(CameraSettings.model_fields)


def test_settings_become_options() -> None:
    """Value by value; half a size is a fault of the file."""
    options = CameraSettings(width=640, height=480, pixel_format="YUYV", read_timeout_s=2, give_up_after_s=60).options()
    assert (options.size, options.pixel_format, options.read_timeout_s) == ((640, 480), "YUYV", 2)
    assert (options.wait_for_first, options.impatient().wait_for_first) == (True, False)
    with pytest.raises(ValueError, match="needs both numbers"):
        CameraSettings(width=640)
