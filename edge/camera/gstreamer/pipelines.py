"""Which GStreamer pipeline reads a camera, given the elements that a machine has.

Takes names and returns text; nothing is opened. NVIDIA's elements decode and convert in hardware and are taken where
they are; the others are GStreamer's own. Every pipeline ends in a sink that keeps the newest frame only, as BGRx: the
one format that NVIDIA's converter and GStreamer's fast paths share and whose rows are never padded. Addresses are set
as a property later, so that no password is ever part of the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from edge.camera.options import CameraOptions
from mien.errors import ConfigError, UnsupportedError

Elements = frozenset[str]

HARDWARE = "nvidia-l4t-gstreamer, of JetPack"
PACKAGES: dict[str, str] = {
    **dict.fromkeys(("nvarguscamerasrc", "nvvidconv", "nvv4l2decoder"), HARDWARE),
    **dict.fromkeys(("appsink", "decodebin", "videoconvert", "videoscale"), "gstreamer1.0-plugins-base"),
    **dict.fromkeys(("rtspsrc", "rtph264depay", "rtph265depay", "jpegdec", "v4l2src"), "gstreamer1.0-plugins-good"),
    **dict.fromkeys(("h264parse", "h265parse", "openh264dec", "libde265dec"), "gstreamer1.0-plugins-bad"),
    **dict.fromkeys(("avdec_h264", "avdec_h265"), "gstreamer1.0-libav"),
}
"""Every element that a pipeline may hold, beyond GStreamer's core, and the package which brings it."""

_SINK = "appsink name=sink max-buffers=1 drop=true sync=false"
_DECODERS = {
    "h264": ("nvv4l2decoder", "avdec_h264", "openh264dec"),
    "h265": ("nvv4l2decoder", "avdec_h265", "libde265dec"),
}
"""Best first; the last ones lack some profiles."""
_CSI = CameraOptions(width=1280, height=720, fps=30.0)
_LATENCY_MS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline."""

    text: str
    hardware: bool
    """Whether NVIDIA's elements do the work."""


def csi_plan(elements: Elements, sensor: int, options: CameraOptions) -> Plan:
    """The pipeline of a Jetson's CSI camera, which its image processor brings to the size that is asked for.

    Raises:
        UnsupportedError: this is no Jetson with NVIDIA's elements.
    """
    _require(elements, "a CSI camera", "nvarguscamerasrc", "nvvidconv", "appsink")
    width, height = options.size or _CSI.size or (0, 0)
    rate = _fraction(options.fps or _CSI.fps or 0)
    text = (
        f"nvarguscamerasrc name=source sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),format=NV12,width={width},height={height},framerate={rate} ! "
        f"nvvidconv name=scale ! video/x-raw,format=BGRx ! {_SINK}"
    )
    return Plan(text=text, hardware=True)


def rtsp_plan(elements: Elements, options: CameraOptions) -> Plan:
    """The pipeline of a network camera.

    Raises:
        UnsupportedError: an element is missing; names the package which brings it.
    """
    _require(elements, "a network camera", "rtspsrc", "appsink")
    wait_us = round(options.read_timeout_s * 1e6)
    latency_ms = _LATENCY_MS if options.latency_ms is None else options.latency_ms
    source = (
        f"rtspsrc name=source protocols={options.transport} latency={latency_ms} drop-on-latency=true "
        f"timeout={wait_us} tcp-timeout={wait_us} ! application/x-rtp,media=video"
    )
    decoding, hardware = _decoding(elements, options.codec)
    return Plan(text=f"{source} ! {decoding} ! {_conversion(elements, options.size)} ! {_SINK}", hardware=hardware)


def v4l2_plan(elements: Elements, pixel_format: str | None, options: CameraOptions) -> Plan:
    """The pipeline of a Video4Linux camera; one that does not take what is asked fails to start.

    Raises:
        UnsupportedError: an element is missing; names the package which brings it.
        ConfigError: a size or rate was asked for, and the driver does not say in which format it has them.
    """
    _require(elements, "a Video4Linux camera", "v4l2src", "appsink")
    conversion = f"{_conversion(elements, None)} ! {_SINK}"
    if pixel_format is None:
        if options.size or options.fps:
            raise ConfigError("this camera needs a pixel format", wanted="pixel_format: MJPG or YUYV")
        _require(elements, "a Video4Linux camera", "decodebin")
        return Plan(text=f"v4l2src name=source ! decodebin ! {conversion}", hardware="nvvidconv" in elements)
    size = f",width={options.size[0]},height={options.size[1]}" if options.size else ""
    rate = f",framerate={_fraction(options.fps)}" if options.fps else ""
    if pixel_format == "YUYV":
        text = f"v4l2src name=source ! video/x-raw,format=YUY2{size}{rate} ! {conversion}"
        return Plan(text=text, hardware="nvvidconv" in elements)
    decoder = "nvv4l2decoder mjpeg=1" if _has_hardware(elements) else "jpegdec"
    _require(elements, "a Video4Linux camera", decoder.split(" ", 1)[0])
    return Plan(
        text=f"v4l2src name=source ! image/jpeg{size}{rate} ! {decoder} ! {conversion}",
        hardware=_has_hardware(elements),
    )


def decodes_well(elements: Elements, codec: str) -> bool:
    """Whether a network stream is best read here: in hardware, or by FFmpeg's decoders, which know every profile."""
    codecs = ("h264", "h265") if codec == "auto" else (codec,)
    decoders = all({"nvv4l2decoder", f"avdec_{one}"} & elements for one in codecs)
    others = ("rtspsrc", "decodebin", *(f"rtp{one}depay" for one in codecs), *(f"{one}parse" for one in codecs))
    return decoders and elements.issuperset((*others, "appsink")) and bool({"nvvidconv", "videoconvert"} & elements)


def _decoding(elements: Elements, codec: str) -> tuple[str, bool]:
    if codec == "auto":
        if not any(set(decoders) & elements for decoders in _DECODERS.values()):
            _require(elements, "a network camera", "avdec_h264")
        _require(elements, "a network camera", "decodebin")
        return "decodebin", _has_hardware(elements)
    decoder = next((name for name in _DECODERS[codec] if name in elements), f"avdec_{codec}")
    _require(elements, f"an {codec.upper()} stream", f"rtp{codec}depay", f"{codec}parse", decoder)
    return f"rtp{codec}depay ! {codec}parse ! queue ! {decoder}", decoder == "nvv4l2decoder"


def _conversion(elements: Elements, size: tuple[int, int] | None) -> str:
    scaled = f",width={size[0]},height={size[1]},pixel-aspect-ratio=1/1" if size else ""
    if "nvvidconv" in elements:
        return f"nvvidconv name=scale ! video/x-raw,format=BGRx{scaled}"
    _require(elements, "a camera's picture", "videoconvert")
    if not size:
        return "videoconvert name=scale ! video/x-raw,format=BGRx"
    _require(elements, "a camera's picture", "videoscale")
    return f"videoscale name=scale add-borders=false ! videoconvert ! video/x-raw,format=BGRx{scaled}"


def _has_hardware(elements: Elements) -> bool:
    return {"nvv4l2decoder", "nvvidconv"} <= elements


def _fraction(fps: float) -> str:
    exact = Fraction(fps).limit_denominator(1001)
    return f"{exact.numerator}/{exact.denominator}"


def _require(elements: Elements, what: str, *names: str) -> None:
    missing = [name for name in names if name not in elements]
    if missing:
        raise UnsupportedError(
            f"{what} cannot be read through GStreamer here",
            found=f"no element {_and(missing)}",
            remedy=f"install {_and(dict.fromkeys(PACKAGES[name] for name in missing))}",
        )


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
