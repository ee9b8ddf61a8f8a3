"""What a Video4Linux device offers, read from the kernel's structures, and which of it to ask for.

Takes bytes and returns values; the calls to the kernel are made by :mod:`edge.camera.v4l2.device`. Layouts and numbers
are those of ``linux/videodev2.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge.camera.options import CameraOptions
from mien.errors import ConfigError

CAPABILITY, FORMAT, SIZE, INTERVAL = 104, 64, 44, 52
"""Bytes of ``v4l2_capability``, ``v4l2_fmtdesc``, ``v4l2_frmsizeenum`` and ``v4l2_frmivalenum``."""

_CAPTURES = 0x0000_0001 | 0x0000_1000  # single-planar and multi-planar capture
_OF_THIS_NODE = 0x8000_0000  # the node's own abilities are stated beside the whole device's
_DISCRETE = 1
_FPS_SLACK = 0.5
"""A camera asked for 30 frames a second may say 29.97."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What kind of device it is."""

    card: str
    driver: str
    captures: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes in steps from the least to the most; a single size has both alike."""

    least: tuple[int, int]
    most: tuple[int, int]
    step: tuple[int, int] = (1, 1)

    def __contains__(self, size: tuple[int, int]) -> bool:
        return all(
            least <= value <= most and (value - least) % max(step, 1) == 0
            for value, least, most, step in zip(size, self.least, self.most, self.step, strict=True)
        )

    def __str__(self) -> str:
        """``1280×720``, or ``32×32 to 1920×1080``."""
        ends = [f"{width}×{height}" for width, height in dict.fromkeys((self.least, self.most))]
        return " to ".join(ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Frames a second from the least to the most; a single rate has both alike."""

    least: float
    most: float

    def __contains__(self, fps: float) -> bool:
        return self.least - _FPS_SLACK <= fps <= self.most + _FPS_SLACK

    def __str__(self) -> str:
        """``30``, or ``5 to 30``."""
        return " to ".join(dict.fromkeys(f"{fps:.4g}" for fps in (self.least, self.most)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One pixel format at one size or range of sizes, and its rates; none where the driver does not list them."""

    pixel_format: str
    sizes: Sizes
    rates: tuple[Rates, ...] = ()

    def __str__(self) -> str:
        """``MJPG 1280×720 at 30, 15 fps``."""
        rates = f" at {', '.join(str(rate) for rate in self.rates)} fps" if self.rates else ""
        return f"{self.pixel_format} {self.sizes}{rates}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A pixel format, size and rate, asked or given; ``None``: whatever the driver has."""

    pixel_format: str | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None

    def __str__(self) -> str:
        """``MJPG 1280×720 at 30 fps``."""
        size = f"{self.size[0]}×{self.size[1]}" if self.size else ""
        fps = f"at {self.fps:.4g} fps" if self.fps else ""
        return " ".join(part for part in (self.pixel_format or "", size, fps) if part)


def fourcc_text(code: int) -> str:
    """A pixel format's four characters, without the spaces that fill it up."""
    return code.to_bytes(4, "little").decode("ascii", "replace").rstrip(" \0")


def parse_capability(data: bytes) -> Capability:
    """Read ``v4l2_capability``."""
    driver, card, _, _, whole, node = struct.unpack_from("16s32s32sIII", data)
    abilities = node if whole & _OF_THIS_NODE else whole
    return Capability(card=_text(card), driver=_text(driver), captures=bool(abilities & _CAPTURES))


def parse_format(data: bytes) -> int:
    """Read the pixel format's code from ``v4l2_fmtdesc``."""
    return int(struct.unpack_from("I", data, 44)[0])


def parse_sizes(data: bytes) -> Sizes:
    """Read ``v4l2_frmsizeenum``."""
    kind, *numbers = struct.unpack_from("I6I", data, 8)
    if kind == _DISCRETE:
        return Sizes(least=(numbers[0], numbers[1]), most=(numbers[0], numbers[1]))
    least_w, most_w, step_w, least_h, most_h, step_h = numbers
    return Sizes(least=(least_w, least_h), most=(most_w, most_h), step=(step_w, step_h))


def parse_rates(data: bytes) -> Rates | None:
    """Read ``v4l2_frmivalenum``; the kernel states seconds a frame. ``None`` where it states nonsense."""
    kind, shortest, per_shortest, longest, per_longest = struct.unpack_from("I4I", data, 16)
    if kind == _DISCRETE:
        longest, per_longest = shortest, per_shortest
    if not (shortest and longest):
        return None
    return Rates(least=per_longest / longest, most=per_shortest / shortest)


def is_single(data: bytes) -> bool:
    """Whether a ``v4l2_frmsizeenum`` or ``v4l2_frmivalenum`` holds one of several values, and not a range."""
    return bool(struct.unpack_from("I", data, 8 if len(data) == SIZE else 16)[0] == _DISCRETE)


def listing(offers: Iterable[Offer]) -> str:
    """All offers in words."""
    return "; ".join(str(offer) for offer in offers)


def choose_mode(offers: Sequence[Offer], options: CameraOptions) -> Mode:
    """What to ask of a camera. Between formats that serve alike, the one which needs no decoding.

    Raises:
        ConfigError: the camera offers nothing like it; lists what it offers.
    """
    asked = Mode(
        pixel_format=None if options.pixel_format == "auto" else options.pixel_format,
        size=options.size,
        fps=options.fps,
    )
    if not offers or asked == Mode():
        return asked
    fitting = [offer for offer in offers if _fits(offer, asked)]
    if not fitting:
        raise ConfigError(
            f"the camera does not offer {asked}", wanted=listing(offers), remedy="set the camera to one of these"
        )
    if asked.pixel_format is not None:
        return asked
    best = max(fitting, key=lambda offer: (0 if asked.fps else _fastest(offer), offer.pixel_format == "YUYV"))
    return Mode(pixel_format=best.pixel_format, size=asked.size, fps=asked.fps)


def check_given(name: str, asked: Mode, given: Mode, offers: Sequence[Offer]) -> None:
    """Refuse a camera that came up otherwise than asked.

    Raises:
        ConfigError: names what was asked, what came, and what the camera offers.
    """
    same = (
        asked.pixel_format in {None, given.pixel_format}
        and asked.size in {None, given.size}
        and (asked.fps is None or (given.fps is not None and abs(asked.fps - given.fps) <= _FPS_SLACK))
    )
    if not same:
        raise ConfigError(
            f"camera {name} did not take {asked}",
            found=str(given),
            wanted=listing(offers) or "a mode of this camera; its driver lists none",
            remedy="set the camera to one of these",
        )


def _fits(offer: Offer, asked: Mode) -> bool:
    formats = (asked.pixel_format,) if asked.pixel_format else ("MJPG", "YUYV")
    return (
        offer.pixel_format in formats
        and (asked.size is None or asked.size in offer.sizes)
        and (asked.fps is None or not offer.rates or any(asked.fps in rates for rates in offer.rates))
    )


def _fastest(offer: Offer) -> float:
    return max((rates.most for rates in offer.rates), default=0.0)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
