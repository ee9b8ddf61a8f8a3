"""What can be asked of a camera, as one value, and which wish fits which kind of source.

A wish that a source cannot fulfil is refused, never passed over: a file has no latency to set, and a stream has the
codec that the camera sends.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from mien.errors import ConfigError

PixelFormat = Literal["auto", "MJPG", "YUYV"]
Decoder = Literal["auto", "gstreamer", "opencv"]
Codec = Literal["auto", "h264", "h265"]
Transport = Literal["tcp", "udp"]
Kind = Literal["v4l2", "csi", "rtsp", "file", "folder", "synthetic"]

_NAMES: dict[Kind, str] = {
    "v4l2": "a Video4Linux camera",
    "csi": "a CSI camera",
    "rtsp": "a network camera",
    "file": "a video file",
    "folder": "a folder of images",
    "synthetic": "a synthetic camera",
}
_ONLY_FOR: dict[str, frozenset[Kind]] = {
    "width": frozenset({"v4l2", "csi", "rtsp"}),
    "height": frozenset({"v4l2", "csi", "rtsp"}),
    "fps": frozenset({"v4l2", "csi"}),
    "pixel_format": frozenset({"v4l2"}),
    "decoder": frozenset({"v4l2", "csi", "rtsp"}),
    "codec": frozenset({"rtsp"}),
    "transport": frozenset({"rtsp"}),
    "latency_ms": frozenset({"rtsp"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """How a source is opened and read.

    Raises:
        ConfigError: width without height, or height without width.
    """

    realtime: bool = False
    """Play files and folders at their own rate; they count as live then."""
    loop: bool = False
    """Start files and folders again at their end."""
    max_fps: float | None = None
    """Skips frames of a file played in real time; live cameras are thinned in the pipeline."""
    width: int | None = None
    """Pixels asked of the camera, or to which a network stream is scaled; ``None``: as it comes."""
    height: int | None = None
    fps: float | None = None
    """Frames a second asked of the camera."""
    pixel_format: PixelFormat = "auto"
    """What a Video4Linux camera sends: compressed pictures, or pixels that need no decoding and more bandwidth."""
    decoder: Decoder = "auto"
    """Who reads it. ``auto``: CSI through GStreamer, Video4Linux through OpenCV, a network stream through GStreamer
    where it can decode in hardware or with FFmpeg's decoders, else through OpenCV."""
    codec: Codec = "auto"
    """What a network camera sends; another codec is refused."""
    transport: Transport = "tcp"
    """How a network camera's packets travel; a packet lost over UDP shows as a torn picture."""
    latency_ms: int | None = None
    """How long a network stream is held back to smooth its arrival; ``None``: 200 with GStreamer, none with OpenCV."""
    read_timeout_s: float = 10.0
    """A live camera that gives nothing for so long is lost, and opened again."""
    give_up_after_s: float | None = None
    """How long a lost live camera is waited for; ``None``: for ever."""
    wait_for_first: bool = False
    """Whether a live camera that is not there at the start is waited for as if it had been lost."""

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise ConfigError(
                "a camera's size needs both numbers",
                found=f"width {self.width}, height {self.height}",
                remedy="set width and height, or neither",
            )

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, when they were asked for."""
        return None if self.width is None or self.height is None else (self.width, self.height)

    def impatient(self) -> CameraOptions:
        """The same, for a look: what is not there now is an error."""
        return replace(self, wait_for_first=False, give_up_after_s=0.0)


def check_fit(kind: Kind, options: CameraOptions) -> None:
    """Refuse wishes that this kind of source cannot fulfil.

    Raises:
        ConfigError: names each of them.
    """
    misfits = [
        field.name
        for field in fields(options)
        if kind not in _ONLY_FOR.get(field.name, frozenset((kind,))) and getattr(options, field.name) != field.default
    ]
    if misfits:
        raise ConfigError(
            f"{_NAMES[kind]} has no {' or '.join(misfits)} to set",
            found=", ".join(f"{name}: {getattr(options, name)}" for name in misfits),
            remedy="leave it out, or name another source",
        )


def check_shape(name: str, given: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Refuse a size that would squeeze the picture: a model sees other faces then.

    Raises:
        ConfigError: the two differ in shape by more than a pixel's rounding; names the nearest size that fits.
    """
    height = round(wanted[0] * given[1] / given[0])
    if abs(height - wanted[1]) > 1:
        raise ConfigError(
            f"{wanted[0]}×{wanted[1]} would distort the picture of {name}",
            found=f"the camera sends {given[0]}×{given[1]}",
            wanted=f"{wanted[0]}×{height}",
            remedy="set width and height to that, or leave both out",
        )


def other_codec(name: str, sent: str, wanted: str) -> ConfigError:
    """The refusal when a camera sends another codec than was said."""
    return ConfigError(
        f"camera {name} does not send {wanted}",
        found=sent or "no video that is known",
        remedy=f"set codec: {sent if sent in {'h264', 'h265'} else 'auto'}, or change the camera's own settings",
    )
