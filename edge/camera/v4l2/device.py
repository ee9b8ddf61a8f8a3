"""Asks the kernel what a Video4Linux device is and what it offers. Reads only: no setting is changed."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.camera.interface import CameraError
from edge.camera.v4l2.formats import (
    CAPABILITY,
    FORMAT,
    INTERVAL,
    SIZE,
    Capability,
    Offer,
    Rates,
    Sizes,
    fourcc_text,
    is_single,
    parse_capability,
    parse_format,
    parse_rates,
    parse_sizes,
)

Ioctl = Callable[[int, bytearray], object]
"""Makes one call: the request and a structure, which is written over with the answer. Raises ``OSError``."""

_READ, _READ_WRITE = 2, 3
_CAPTURE, _CAPTURE_PLANES = 1, 9
_MOST = 256
"""A driver that lists without end is not believed."""
_REMEDIES = {
    errno.EACCES: "let this user read it: add it to the group 'video'",
    errno.EPERM: "let this user read it: add it to the group 'video'",
    errno.EBUSY: "end the program that holds it",
}


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = _request(_READ, 0, CAPABILITY)
ENUM_FMT = _request(_READ_WRITE, 2, FORMAT)
ENUM_FRAMESIZES = _request(_READ_WRITE, 74, SIZE)
ENUM_FRAMEINTERVALS = _request(_READ_WRITE, 75, INTERVAL)


def examine_device(device: Path, at: tuple[int, int] | None = None) -> tuple[Capability, tuple[Offer, ...]]:
    """What a device is and offers.

    Args:
        device: its node.
        at: the size whose rates matter where a driver offers a range of sizes; the largest otherwise.

    Raises:
        CameraError: it cannot be opened, or takes no pictures.
    """
    try:
        handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check that it is connected, or name another source")
        raise CameraError(f"could not open the camera {device}", found=error.strerror or "", remedy=remedy) from error
    try:
        return _examined(device, lambda request, data: fcntl.ioctl(handle, request, data, True), at)
    finally:
        os.close(handle)


def _examined(device: Path, ioctl: Ioctl, at: tuple[int, int] | None) -> tuple[Capability, tuple[Offer, ...]]:
    data = bytearray(CAPABILITY)
    try:
        ioctl(QUERYCAP, data)
    except OSError as error:
        raise CameraError(
            f"{device} is no Video4Linux device",
            found=error.strerror or "",
            remedy="name a camera, such as /dev/video0",
        ) from error
    capability = parse_capability(bytes(data))
    if not capability.captures:
        raise CameraError(
            f"{device} takes no pictures",
            found=f"{capability.card} ({capability.driver}), another part of a device",
            remedy="name the node beside it: many cameras have two, and the first gives the pictures",
        )
    return capability, tuple(read_offers(ioctl, at))


def read_offers(ioctl: Ioctl, at: tuple[int, int] | None = None) -> Iterator[Offer]:
    """Pixel formats, sizes and rates, as the driver lists them; nothing where it lists none."""
    for kind in (_CAPTURE, _CAPTURE_PLANES):
        for data in _listed(ioctl, ENUM_FMT, struct.pack("II", 0, kind), FORMAT):
            code = parse_format(data)
            for size in _sizes(ioctl, code):
                width, height = at if at is not None and at in size else size.most
                yield Offer(pixel_format=fourcc_text(code), sizes=size, rates=_rates(ioctl, code, width, height))


def _sizes(ioctl: Ioctl, code: int) -> Iterator[Sizes]:
    for data in _listed(ioctl, ENUM_FRAMESIZES, struct.pack("II", 0, code), SIZE):
        yield parse_sizes(data)
        if not is_single(data):
            return


def _rates(ioctl: Ioctl, code: int, width: int, height: int) -> tuple[Rates, ...]:
    found: list[Rates] = []
    for data in _listed(ioctl, ENUM_FRAMEINTERVALS, struct.pack("IIII", 0, code, width, height), INTERVAL):
        rates = parse_rates(data)
        if rates is not None:
            found.append(rates)
        if not is_single(data):
            break
    return tuple(found)


def _listed(ioctl: Ioctl, request: int, key: bytes, size: int) -> Iterator[bytes]:
    """The answers for index 0, 1, 2 …, until the driver says that there is no more."""
    for index in range(_MOST):
        data = bytearray(size)
        data[: len(key)] = key
        struct.pack_into("I", data, 0, index)
        try:
            ioctl(request, data)
        except OSError:
            return
        yield bytes(data)
