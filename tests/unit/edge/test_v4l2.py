"""Video4Linux: what the kernel says, what is asked, what is given. The kernel is played by a table; nodes are real."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.chooser import open_camera
from edge.camera.interface import CameraError
from edge.camera.options import CameraOptions
from edge.camera.v4l2.camera import negotiate, share_wait
from edge.camera.v4l2.device import (
    ENUM_FMT,
    ENUM_FRAMEINTERVALS,
    ENUM_FRAMESIZES,
    QUERYCAP,
    examine_device,
    read_offers,
)
from edge.camera.v4l2.formats import (
    Mode,
    Offer,
    Rates,
    Sizes,
    choose_mode,
    fourcc_text,
    parse_capability,
    parse_rates,
    parse_sizes,
)
from mien.errors import ConfigError

MJPG, YUYV, H264 = (cv2.VideoWriter.fourcc(*name) for name in ("MJPG", "YUYV", "H264"))


def _webcam() -> tuple[Offer, ...]:
    """What a common USB camera offers: raw pixels slowly at full size, compressed ones fast."""
    small, large = Sizes(least=(640, 480), most=(640, 480)), Sizes(least=(1280, 720), most=(1280, 720))
    thirty, ten = Rates(least=30, most=30), Rates(least=10, most=10)
    return (
        Offer(pixel_format="MJPG", sizes=large, rates=(thirty,)),
        Offer(pixel_format="MJPG", sizes=small, rates=(thirty,)),
        Offer(pixel_format="YUYV", sizes=large, rates=(ten,)),
        Offer(pixel_format="YUYV", sizes=small, rates=(thirty,)),
        Offer(pixel_format="H264", sizes=large, rates=(thirty,)),
    )


class Kernel:
    """Answers the enumerations as a driver does, by index, and with EINVAL after the last."""

    def __init__(self) -> None:
        self.formats = {1: [MJPG, YUYV], 9: []}
        self.sizes = {
            MJPG: [struct.pack("I2I", 1, 1280, 720), struct.pack("I2I", 1, 640, 480)],
            YUYV: [struct.pack("I6I", 3, 32, 1920, 2, 32, 1080, 2)],
        }
        self.rates = {
            (MJPG, 1280, 720): [struct.pack("I2I", 1, 1, 30), struct.pack("I2I", 1, 1, 15)],
            (MJPG, 640, 480): [struct.pack("I2I", 1, 1001, 60000)],
            (YUYV, 1920, 1080): [struct.pack("I6I", 2, 1, 5, 1, 1, 0, 0)],
            (YUYV, 640, 480): [struct.pack("I6I", 3, 1, 30, 1, 5, 1, 1)],
        }

    def __call__(self, request: int, data: bytearray) -> None:
        index, first, width, height = struct.unpack_from("4I", data)
        if request == ENUM_FMT:
            self._put(data, 44, [struct.pack("I", code) for code in self.formats[first]], index)
        elif request == ENUM_FRAMESIZES:
            self._put(data, 8, self.sizes.get(first, []), index)
        elif request == ENUM_FRAMEINTERVALS:
            self._put(data, 16, self.rates.get((first, width, height), []), index)

    @staticmethod
    def _put(data: bytearray, at: int, answers: list[bytes], index: int) -> None:
        if index >= len(answers):
            raise OSError(errno.EINVAL, "no more")
        data[at : at + len(answers[index])] = answers[index]


def test_requests_have_the_kernels_numbers() -> None:
    """The numbers of VIDIOC_QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES and ENUM_FRAMEINTERVALS on Linux."""
    assert [QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS] == [
        0x80685600,
        0xC0405602,
        0xC02C564A,
        0xC034564B,
    ]


def test_offers_are_read_from_the_kernel() -> None:
    """Single sizes and rates, ranges of both, and what the kernel states as seconds a frame."""
    assert [str(offer) for offer in read_offers(Kernel(), (640, 480))] == [
        "MJPG 1280×720 at 30, 15 fps",
        "MJPG 640×480 at 59.94 fps",
        "YUYV 32×32 to 1920×1080 at 5 to 30 fps",
    ]


def test_a_driver_that_lists_nothing_or_no_end_is_survived() -> None:
    """Old drivers know no enumeration; a broken one repeats itself for ever."""
    kernel = Kernel()
    kernel.formats = {1: [], 9: []}
    assert list(read_offers(kernel)) == []
    kernel.formats = {1: [MJPG] * 10_000, 9: []}
    assert len(list(read_offers(kernel))) < 1000


@pytest.mark.parametrize(
    ("whole", "node", "captures"),
    [(0x8520_0001, 0x0420_0001, True), (0x8520_0001, 0x04A0_0000, False), (0x0400_0001, 0, True), (0x2, 0, False)],
    ids=["pictures", "metadata-node-of-a-camera", "old-driver", "output-only"],
)
def test_a_nodes_own_abilities_count(whole: int, node: int, captures: bool) -> None:
    """A camera's second node carries metadata and gives no pictures, whatever the whole device can do."""
    data = struct.pack("16s32s32sIII12x", b"uvcvideo", b"Desk Cam: Desk Cam", b"usb-1", 0x60000, whole, node)
    capability = parse_capability(data)
    assert (capability.card, capability.driver, capability.captures) == ("Desk Cam: Desk Cam", "uvcvideo", captures)


@given(st.integers(1, 1000), st.integers(1, 240_000))
def test_rates_are_the_inverse_of_intervals(seconds: int, frames: int) -> None:
    """Whatever fraction a driver states."""
    rates = parse_rates(struct.pack("16xI2I24x", 1, seconds, frames))
    assert rates is not None
    assert rates.least == rates.most == pytest.approx(frames / seconds)


def test_nonsense_of_a_driver_is_no_rate() -> None:
    """No seconds, or no frames."""
    assert parse_rates(struct.pack("16xI2I24x", 1, 0, 30)) is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_sizes_in_steps_hold_what_lies_on_a_step(across: int, down: int) -> None:
    """A range holds its steps and nothing between or beyond."""
    sizes = parse_sizes(struct.pack("8xI6I8x", 3, 64, 640, 16, 48, 480, 12))
    assert ((64 + 16 * across, 48 + 12 * down) in sizes) == (across <= 36 and down <= 36)
    assert (65 + 16 * across, 48) not in sizes


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        (CameraOptions(), ""),
        (CameraOptions(width=1280, height=720, fps=30), "MJPG 1280×720 at 30 fps"),
        (CameraOptions(width=1280, height=720, fps=10), "YUYV 1280×720 at 10 fps"),
        (CameraOptions(width=1280, height=720), "MJPG 1280×720"),
        (CameraOptions(width=640, height=480), "YUYV 640×480"),
        (CameraOptions(pixel_format="MJPG"), "MJPG"),
        (CameraOptions(width=640, height=480, fps=29.97, pixel_format="MJPG"), "MJPG 640×480 at 29.97 fps"),
    ],
    ids=["nothing", "fast", "slow", "large", "small", "format-alone", "ntsc"],
)
def test_what_needs_no_decoding_is_preferred_where_it_is_as_fast(options: CameraOptions, mode: str) -> None:
    """And nothing is asked of a camera when nothing was wished."""
    assert str(choose_mode(_webcam(), options)) == mode


@pytest.mark.parametrize(
    "options",
    [
        CameraOptions(width=1920, height=1080),
        CameraOptions(fps=120),
        CameraOptions(width=1280, height=720, fps=30, pixel_format="YUYV"),
    ],
    ids=["size", "rate", "raw-and-fast"],
)
def test_what_a_camera_does_not_offer_is_refused_with_what_it_offers(options: CameraOptions) -> None:
    """Every mode that could be chosen is in the error."""
    with pytest.raises(ConfigError) as caught:
        choose_mode(_webcam(), options)
    assert "MJPG 1280×720 at 30 fps; " in caught.value.wanted
    assert "YUYV 640×480 at 30 fps" in caught.value.wanted


@given(
    st.lists(st.sampled_from(_webcam()), max_size=5),
    st.sampled_from([None, (640, 480), (1280, 720), (320, 240)]),
    st.sampled_from([None, 10.0, 30.0]),
    st.sampled_from(["auto", "MJPG", "YUYV"]),
)
def test_a_choice_never_differs_from_the_wish(
    offers: list[Offer], size: tuple[int, int] | None, fps: float | None, pixel_format: str
) -> None:
    """A mode that comes out holds every wish; what cannot be held is refused."""
    width, height = size or (None, None)
    options = CameraOptions(width=width, height=height, fps=fps, pixel_format=pixel_format)  # type: ignore[arg-type]
    try:
        mode = choose_mode(offers, options)
    except ConfigError:
        assert offers
        return
    assert (mode.size, mode.fps) == (size, fps)
    assert pixel_format in {"auto", mode.pixel_format}


class Driver:
    """A capture whose driver takes what it has and keeps to its own for the rest."""

    def __init__(self, **fixed: float) -> None:
        self.values = {
            cv2.CAP_PROP_FOURCC: float(YUYV),
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
        }
        self._fixed = {getattr(cv2, f"CAP_PROP_{name}"): value for name, value in fixed.items()}

    def set(self, key: int, value: float) -> bool:
        self.values[key] = self._fixed.get(key, float(value))
        return True

    def get(self, key: int) -> float:
        return self._fixed.get(key, self.values.get(key, 0.0))


WISH = Mode(pixel_format="MJPG", size=(1280, 720), fps=30)


@pytest.mark.parametrize(
    ("fixed", "given_mode"),
    [({}, "MJPG 1280×720 at 30 fps"), ({"FPS": 29.97}, "MJPG 1280×720 at 29.97 fps")],
    ids=["as-asked", "nearly"],
)
def test_what_the_driver_gave_is_read_back(fixed: dict[str, float], given_mode: str) -> None:
    """The report says what came, not what was asked."""
    assert str(negotiate(Driver(**fixed), "cam", WISH, _webcam())) == given_mode


@pytest.mark.parametrize(
    "fixed", [{"FOURCC": float(YUYV)}, {"FRAME_HEIGHT": 960.0}, {"FPS": 15.0}, {"FPS": -1.0}], ids=str
)
def test_a_driver_that_gives_something_else_is_refused(fixed: dict[str, float]) -> None:
    """With what it gave and what it offers."""
    with pytest.raises(ConfigError, match="did not take MJPG 1280×720 at 30 fps") as caught:
        negotiate(Driver(**fixed), "cam", WISH, _webcam())
    assert caught.value.found
    assert "MJPG 640×480 at 30 fps" in caught.value.wanted


def test_a_driver_is_left_as_it_is_when_nothing_was_asked() -> None:
    """Whatever it gives is right then."""
    assert str(negotiate(Driver(FPS=7.5), "cam", Mode(), ())) == "YUYV 640×480 at 7.5 fps"


def test_a_pixel_format_reads_as_its_four_characters() -> None:
    """Shorter names are filled with spaces by the kernel."""
    assert [fourcc_text(code) for code in (MJPG, H264, 0x20303159)] == ["MJPG", "H264", "Y10"]


@pytest.mark.parametrize("node", ["/dev/null", "/dev/zero", "/dev/tty0"])
def test_a_node_that_is_no_camera_is_told_apart(node: str) -> None:
    """The kernel itself says so, or does not let it be opened."""
    if not Path(node).exists():
        pytest.skip(f"{node} is not here")
    with pytest.raises(CameraError, match=r"is no Video4Linux device|could not open the camera"):
        examine_device(Path(node))


def test_a_node_can_be_named_as_a_camera_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any character device is taken for a camera, and found to be none."""
    monkeypatch.delenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", raising=False)
    with pytest.raises(CameraError, match="/dev/null is no Video4Linux device"):
        open_camera("/dev/null")


def test_a_device_without_its_camera_starts_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is plugged in later is read then."""
    monkeypatch.delenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", raising=False)
    camera = open_camera("/dev/video97", CameraOptions(wait_for_first=True))
    assert camera.is_away
    camera.close()
    assert camera.read() is None


def test_cameras_that_would_wait_differently_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV has one time for all, so a second one would be passed over silently."""
    monkeypatch.delenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", raising=False)
    share_wait(4.0)
    share_wait(3.2)
    with pytest.raises(ConfigError, match="equally long"):
        share_wait(10.0)
