"""Network cameras that are cut, hang, change and refuse, read by both readers from GStreamer's own RTSP server."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge.camera.chooser import open_camera
from edge.camera.gstreamer.binding import load_gst
from edge.camera.gstreamer.source import present_elements
from edge.camera.interface import Camera, CameraError, Frame
from edge.camera.options import CameraOptions
from mien.errors import ConfigError, UnsupportedError
from tests.fakes.network_camera import PASSWORD, NetworkCamera, need_server
from tests.integration.conftest import free_port
from tests.integration.edge.conftest import ROOT

BRIGHT, DARK = (slice(36, 60), slice(36, 60)), (slice(70, 120), slice(70, 120))
_PATIENCE_S = 60

Open = Callable[..., Camera]


@pytest.fixture
def server() -> Iterator[NetworkCamera]:
    """A network camera that is off."""
    need_server()
    made = NetworkCamera(port=free_port())
    yield made
    made.switch_off()


@pytest.fixture(params=["opencv", "gstreamer"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the readers that can be asked for."""
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    if request.param == "gstreamer":
        _need_gstreamer()
    return str(request.param)


@pytest.fixture
def opened(server: NetworkCamera, reader: str) -> Iterator[Open]:
    """Opens the network camera; closes what was opened after the test."""
    cameras: list[Camera] = []

    def opens(url: str = server.url, **options: object) -> Camera:
        given = {"read_timeout_s": 5.0, "decoder": reader, **options}
        cameras.append(open_camera(url, CameraOptions(**given)))  # type: ignore[arg-type]
        return cameras[-1]

    yield opens
    for camera in cameras:
        camera.close()


def _need_gstreamer() -> None:
    try:
        load_gst()
    except UnsupportedError as error:
        pytest.skip(str(error))


def _read(camera: Camera) -> Frame:
    frame = camera.read()
    assert frame is not None
    return frame


def _read_until(camera: Camera, holds: Callable[[Frame], bool]) -> Frame:
    end_s = time.monotonic() + _PATIENCE_S
    while not holds(frame := _read(camera)):
        assert time.monotonic() < end_s
    return frame


def _shows_the_square(frame: Frame) -> bool:
    return float(frame.image[BRIGHT].mean()) > 240 and float(frame.image[DARK].mean()) < 20


def _wait(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("said", ["auto", "as it is"])
def test_both_codecs_are_read(server: NetworkCamera, opened: Open, codec: str, said: str) -> None:
    """The picture is what the server draws, in numbers that rise by one and times that rise and lie in the past."""
    server.switch_on("--codec", codec)
    camera = opened(codec="auto" if said == "auto" else codec)
    frames = [_read(camera) for _ in range(12)]
    assert all(frame.image.shape == (128, 128, 3) and _shows_the_square(frame) for frame in frames)
    assert [frame.sequence for frame in frames] == list(range(1, 13))
    times = [frame.captured_at_s for frame in frames]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic()
    assert "128×128" in camera.description


@pytest.mark.parametrize(("sent", "said"), [("h264", "h265"), ("h265", "h264")])
def test_another_codec_than_was_said_is_refused(server: NetworkCamera, opened: Open, sent: str, said: str) -> None:
    """With the one that the camera sends, which is the valid choice."""
    server.switch_on("--codec", sent)
    with pytest.raises(ConfigError) as caught:
        opened(codec=said)
    assert f"does not send {said}" in caught.value.what
    assert caught.value.found == sent


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_packets_travel_as_was_said(server: NetworkCamera, opened: Open, transport: str) -> None:
    """A server that speaks one transport only is read with it."""
    server.switch_on("--transport", transport)
    assert _shows_the_square(_read_until(opened(transport=transport), _shows_the_square))


@pytest.mark.parametrize(("spoken", "said"), [("tcp", "udp"), ("udp", "tcp")])
def test_no_other_transport_stands_in(server: NetworkCamera, opened: Open, spoken: str, said: str) -> None:
    """A server that does not speak what was said is not read."""
    server.switch_on("--transport", spoken)
    with pytest.raises(CameraError):
        opened(transport=said)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [((PASSWORD, "shut-tight"), "check user and password"), (("/cam", "/attic"), "check the path")],
    ids=["password", "path"],
)
def test_a_refusal_is_told_without_the_password(
    server: NetworkCamera,
    opened: Open,
    change: tuple[str, str],
    remedy: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither in the error, nor in a log, nor in what a library prints."""
    server.switch_on()
    with caplog.at_level(logging.DEBUG), pytest.raises(CameraError) as caught:
        opened(server.url.replace(*change))
    everything = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert remedy in caught.value.remedy
    assert PASSWORD not in everything
    assert "shut-tight" not in everything


def test_a_camera_that_is_cut_and_comes_back_larger_is_read_again(
    server: NetworkCamera, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames go on, in the new size, and no log has the password."""
    server.switch_on()
    with caplog.at_level(logging.DEBUG):
        camera = opened()
        before = _read(camera)
        server.switch_off()
        with ThreadPoolExecutor(1) as pool:
            after = pool.submit(_read_until, camera, lambda frame: frame.image.shape[0] == 192)
            _wait(lambda: camera.is_away)
            server.switch_on("--side", "192")
            frame = after.result(timeout=_PATIENCE_S)
    assert _shows_the_square(frame)
    assert (camera.reconnects, camera.is_away) == (1, False)
    assert frame.sequence > before.sequence
    assert "192×192" in camera.description
    assert PASSWORD not in caplog.text


def test_a_camera_that_hangs_is_noticed_and_read_again(server: NetworkCamera, opened: Open) -> None:
    """Its connections stay open and nothing comes: only the time without a frame tells."""
    server.switch_on()
    camera = opened(read_timeout_s=1.0)
    _read(camera)
    with ThreadPoolExecutor(1) as pool:
        with server.hung():
            after = pool.submit(_read_until, camera, lambda _: camera.reconnects > 0)
            _wait(lambda: camera.is_away)
        assert _shows_the_square(after.result(timeout=_PATIENCE_S))
    assert not camera.is_away


def test_a_hung_camera_can_be_closed(server: NetworkCamera, opened: Open) -> None:
    """The reading thread ends, and leaves nothing that waits."""
    server.switch_on()
    camera = opened(read_timeout_s=1.0)
    _read(camera)
    with server.hung():
        thread = threading.Thread(target=lambda: [None for _ in iter(camera.read, None)])
        thread.start()
        _wait(lambda: camera.is_away)
        camera.close()
        thread.join(timeout=_PATIENCE_S)
        assert not thread.is_alive()
    assert camera.read() is None


def test_a_camera_that_is_off_at_the_start_is_waited_for(server: NetworkCamera, opened: Open) -> None:
    """As after a power cut, when the camera starts more slowly than the device."""
    camera = opened(wait_for_first=True)
    assert camera.is_away
    server.switch_on()
    assert _shows_the_square(_read(camera))


def test_a_stream_is_scaled_to_the_size_asked_for(server: NetworkCamera, opened: Open) -> None:
    """The shape is kept, or it is refused."""
    server.switch_on()
    image = _read(opened(width=64, height=64)).image
    assert image.shape == (64, 64, 3)
    assert float(image[18:30, 18:30].mean()) > 240
    with pytest.raises(ConfigError, match="would distort"):
        opened(width=64, height=48)


@pytest.mark.parametrize("reader", ["gstreamer"], indirect=True)
def test_a_stream_that_changes_its_size_by_itself_is_followed(server: NetworkCamera, opened: Open) -> None:
    """Without a loss: the same connection brings larger pictures."""
    server.switch_on("--then-side", "192")
    camera = opened()
    assert _read(camera).image.shape == (128, 128, 3)
    frame = _read_until(camera, lambda frame: frame.image.shape[0] == 192)
    assert _shows_the_square(frame)
    assert camera.reconnects == 0


@pytest.mark.parametrize("reader", ["gstreamer"], indirect=True)
def test_frames_of_gstreamer_own_their_pixels(server: NetworkCamera, opened: Open) -> None:
    """A frame that is held stays as it was while others come."""
    server.switch_on()
    camera = opened()
    held = [_read(camera) for _ in range(12)]
    copies = [frame.image.copy() for frame in held]
    for frame in held[6:]:
        assert not any(np.shares_memory(frame.image, other.image) for other in held[:6])
    for _ in range(12):
        _read(camera)
    assert all(np.array_equal(frame.image, copy) for frame, copy in zip(held, copies, strict=True))


def test_opening_and_closing_leaves_nothing_behind(server: NetworkCamera, opened: Open) -> None:
    """After years of losses there are no more threads and open files than after the first."""
    server.switch_on()

    def once() -> tuple[int, int]:
        camera = opened()
        _read(camera)
        camera.close()
        return len([*Path("/proc/self/task").iterdir()]), len([*Path("/proc/self/fd").iterdir()])

    for _ in range(2):
        once()
    threads, files = once()
    counts = [once() for _ in range(5)]
    assert min(count[0] for count in counts) <= threads
    assert min(count[1] for count in counts) <= files


def test_a_csi_camera_is_refused_where_its_source_is_not() -> None:
    """Nothing stands in for NVIDIA's source, and the package which brings it is named."""
    _need_gstreamer()
    if "nvarguscamerasrc" in present_elements():
        pytest.skip("this is a Jetson")
    with pytest.raises(UnsupportedError, match="nvarguscamerasrc") as caught:
        open_camera("csi://0", CameraOptions(wait_for_first=True))
    assert "JetPack" in caught.value.remedy


@pytest.mark.parametrize("source", ["synthetic://64x48@50", "/dev/null", "rtsp://127.0.0.1:9/cam"])
def test_pygobject_is_imported_only_by_a_device_that_uses_it(source: str) -> None:
    """Other cameras cost none of its memory, whether they open or not."""
    code = (
        "import sys\n"
        "from edge.camera.chooser import open_camera\n"
        "from edge.camera.options import CameraOptions\n"
        "from mien.errors import MienError\n"
        "options = {} if sys.argv[1].startswith('synthetic') else {'decoder': 'opencv'}\n"
        "try:\n"
        "    open_camera(sys.argv[1], CameraOptions(**options)).read()\n"
        "except MienError as error:\n"
        "    print(error)\n"
        "assert 'gi' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, source], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
