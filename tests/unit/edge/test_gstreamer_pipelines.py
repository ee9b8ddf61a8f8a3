"""Which GStreamer pipeline is chosen, whatever a machine has; and where PyGObject is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.gstreamer.binding import folder_for
from edge.camera.gstreamer.pipelines import PACKAGES, csi_plan, decodes_well, rtsp_plan, v4l2_plan
from edge.camera.options import CameraOptions
from mien.errors import UnsupportedError

JETSON = frozenset(PACKAGES)
DEBIAN = frozenset(name for name in PACKAGES if not name.startswith("nv"))
_HARDWARE = {"nvarguscamerasrc", "nvvidconv", "nvv4l2decoder"}
_CORE = {"queue"}

elements = st.frozensets(st.sampled_from(sorted(PACKAGES)))
options = st.builds(
    CameraOptions,
    codec=st.sampled_from(["auto", "h264", "h265"]),
    transport=st.sampled_from(["tcp", "udp"]),
    latency_ms=st.none() | st.integers(0, 5000),
    read_timeout_s=st.floats(0.5, 60),
)
sized = st.builds(
    CameraOptions, width=st.integers(16, 4096), height=st.integers(16, 4096), fps=st.sampled_from([15, 30])
)


def _names(text: str) -> set[str]:
    """The elements of a pipeline's text; parts with a slash are formats."""
    first_words = {part.strip().split()[0] for part in text.split(" ! ")}
    return {word for word in first_words if "/" not in word}


@given(elements, options)
def test_a_network_cameras_pipeline_holds_only_what_is_there(have: frozenset[str], wish: CameraOptions) -> None:
    """Either every element exists, or the refusal names one that does not and the package which brings it."""
    try:
        plan = rtsp_plan(have, wish)
    except UnsupportedError as error:
        missing = {name for name in PACKAGES if re.search(rf"\b{name}\b", error.found)}
        assert missing
        assert not missing & have
        assert all(PACKAGES[name] in error.remedy for name in missing)
        return
    assert _names(plan.text) <= have | _CORE
    assert plan.text.endswith("appsink name=sink max-buffers=1 drop=true sync=false")
    assert f"protocols={wish.transport} latency={200 if wish.latency_ms is None else wish.latency_ms} " in plan.text
    if wish.codec != "auto":
        assert f"{wish.codec}parse" in plan.text


@given(elements, options)
def test_hardware_is_used_where_it_is(have: frozenset[str], wish: CameraOptions) -> None:
    """A Jetson never decodes or converts on its processor, and another machine never names NVIDIA's elements."""
    jetson = rtsp_plan(JETSON, wish)
    assert jetson.hardware
    assert not _names(jetson.text) & {"videoconvert", "videoscale", "avdec_h264", "avdec_h265", "openh264dec"}
    other = rtsp_plan(DEBIAN, wish)
    assert not other.hardware
    assert not _names(other.text) & _HARDWARE


@given(sized)
def test_a_csi_camera_is_asked_for_size_and_rate(wish: CameraOptions) -> None:
    """The image processor gives the size, and the newest frame alone is kept."""
    text = csi_plan(JETSON, 1, wish).text
    assert f"width={wish.width},height={wish.height},framerate={wish.fps:g}/1" in text
    assert "sensor-id=1" in text
    assert text.endswith("max-buffers=1 drop=true sync=false")


@given(elements)
def test_a_csi_camera_needs_a_jetson(have: frozenset[str]) -> None:
    """Without NVIDIA's source there is no pipeline at all: nothing stands in for it."""
    with pytest.raises(UnsupportedError, match="JetPack"):
        csi_plan(have - {"nvarguscamerasrc"}, 0, CameraOptions())


@given(st.sampled_from(["MJPG", "YUYV"]), elements, sized)
def test_a_video4linux_pipeline_holds_every_wish(pixel_format: str, have: frozenset[str], wish: CameraOptions) -> None:
    """Format, size and rate stand before the decoder: a camera that does not have them does not start."""
    try:
        text = v4l2_plan(have, pixel_format, wish).text
    except UnsupportedError:
        assert not have >= {"v4l2src", "jpegdec", "videoconvert", "appsink"}
        return
    kind = "image/jpeg" if pixel_format == "MJPG" else "video/x-raw,format=YUY2"
    assert f"{kind},width={wish.width},height={wish.height},framerate={wish.fps:g}/1 ! " in text
    assert _names(text) <= have


@given(elements, options)
def test_streams_are_left_to_ffmpeg_where_gstreamer_lacks_a_good_decoder(
    have: frozenset[str], wish: CameraOptions
) -> None:
    """Where GStreamer is chosen unasked, its pipeline exists; the decoders that lack profiles never count."""
    if decodes_well(have, wish.codec):
        assert {"nvv4l2decoder", "avdec_h264", "avdec_h265"} & have
        rtsp_plan(have, wish)
    assert not decodes_well(have - {"nvv4l2decoder", "avdec_h264", "avdec_h265"}, wish.codec)


def test_a_fraction_of_a_frame_is_kept() -> None:
    """29.97 frames a second are 30000 in 1001 seconds."""
    assert "framerate=30000/1001" in csi_plan(JETSON, 0, CameraOptions(fps=30000 / 1001)).text


def test_pygobject_is_taken_only_when_it_was_made_for_this_python(tmp_path: Path) -> None:
    """The suffix of its binary part carries version, architecture and system."""
    old, right = tmp_path / "old", tmp_path / "right"
    for folder, suffix in ((old, ".cpython-39-aarch64-linux-gnu.so"), (right, ".cpython-310-aarch64-linux-gnu.so")):
        (folder / "gi").mkdir(parents=True)
        (folder / "gi" / f"_gi{suffix}").touch()
    assert folder_for((old, right), ".cpython-310-aarch64-linux-gnu.so") == right / "gi"
    assert folder_for((old, right), ".cpython-312-aarch64-linux-gnu.so") is None
