"""Opens the kinds of cameras that GStreamer reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge.camera.gstreamer.pipelines import csi_plan, rtsp_plan, v4l2_plan
from edge.camera.gstreamer.source import GStreamerSource, present_elements
from edge.camera.options import CameraOptions, other_codec
from edge.camera.v4l2.formats import Mode, Offer
from mien.errors import MienError


def csi_source(sensor: int, options: CameraOptions) -> GStreamerSource:
    """A Jetson's CSI camera.

    Raises:
        UnsupportedError: this is no Jetson with NVIDIA's elements.
        CameraError: the camera gives no frames.
    """
    return GStreamerSource(
        csi_plan(present_elements(), sensor, options),
        name=f"csi://{sensor}",
        properties={},
        read_timeout_s=options.read_timeout_s,
    )


def rtsp_source(url: str, name: str, options: CameraOptions, clean: Callable[[str], str]) -> GStreamerSource:
    """A network camera.

    Raises:
        UnsupportedError: an element is missing.
        ConfigError: the camera sends another codec than was said, or another shape.
        CameraError: the stream does not answer.
    """
    return GStreamerSource(
        rtsp_plan(present_elements(), options),
        name=name,
        properties={"location": url},
        read_timeout_s=options.read_timeout_s,
        scale_to=options.size,
        watch=lambda source: _pick_video(source, name, options.codec),
        clean=clean,
    )


def v4l2_source(device: Path, options: CameraOptions, asked: Mode, offers: Sequence[Offer]) -> GStreamerSource:  # noqa: ARG001 - one shape for both readers
    """A Video4Linux camera.

    Raises:
        UnsupportedError: an element is missing.
        CameraError: the camera gives no frames in the mode that was asked for.
    """
    return GStreamerSource(
        v4l2_plan(present_elements(), asked.pixel_format, options),
        name=str(device),
        properties={"device": str(device)},
        read_timeout_s=options.read_timeout_s,
    )


def _pick_video(source: Any, name: str, codec: str) -> Callable[[], MienError | None]:  # noqa: ANN401 - no types
    """Let the source take the first video stream and nothing else; tells afterwards when that had another codec."""
    seen: list[str] = []

    def picks(_source: Any, _number: int, caps: Any) -> bool:  # noqa: ANN401 - no types
        stream = caps.get_structure(0)
        if stream.get_string("media") != "video" or seen:
            return False
        seen.append((stream.get_string("encoding-name") or "").lower())
        return codec in {"auto", seen[0]}

    def wrong() -> MienError | None:
        return other_codec(name, seen[0], codec) if seen and codec not in {"auto", seen[0]} else None

    source.connect("select-stream", picks)
    return wrong
