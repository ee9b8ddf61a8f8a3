"""MQTT topic names under ``mien/v1/{device_id}/``, modelled on thin-edge.io: one subtree a device.

A device may publish ``status``, ``twin``, ``m``, ``e``, ``update`` and its answers under ``cmd``; the fleet publishes
``desired`` and requests under ``cmd``. Files go in blocks over ``stream``: the device asks on ``get``, the fleet
answers on ``data`` (:mod:`mien.streams`). The certificate's CN is the device id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mien.errors import ConfigError

ROOT = "mien/v1"
STATUS = "status"
TWIN = "twin"
WINDOW = "m"
EVENT = "e"
UPDATE = "update"
DESIRED = "desired"
COMMAND = "cmd"
STREAM, GET, DATA = "stream", "get", "data"
STREAM_GET, STREAM_DATA = f"{STREAM}/{GET}", f"{STREAM}/{DATA}"

FROM_DEVICE = (STATUS, TWIN, WINDOW, EVENT, UPDATE)

_DEVICE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Which device a topic belongs to and which channel it is; ``rest`` holds what follows (``cmd``)."""

    device_id: str
    channel: str
    rest: tuple[str, ...] = ()


def valid_device_id(device_id: str) -> bool:
    """Whether a text may name a device: lower-case letters, digits and hyphens, 63 at most."""
    return _DEVICE_ID.fullmatch(device_id) is not None


def topic(device_id: str, channel: str, *rest: str) -> str:
    """The full topic of a device's channel.

    Raises:
        ConfigError: the device id has characters which topics and certificates do not share.
    """
    if not valid_device_id(device_id):
        raise ConfigError(
            f"'{device_id}' cannot name a device", wanted="lower-case letters, digits and hyphens, at most 63"
        )
    return "/".join((ROOT, device_id, channel, *rest))


def all_devices(channel: str) -> str:
    """The subscription to one channel of every device."""
    return f"{ROOT}/+/{channel}"


def parse(name: str) -> Address | None:
    """Which device and channel a topic names; ``None`` when it is not one of ours."""
    if not name.startswith(f"{ROOT}/"):
        return None
    device_id, _, channel = name[len(ROOT) + 1 :].partition("/")
    first, *rest = channel.split("/")
    if not valid_device_id(device_id) or not first:
        return None
    return Address(device_id=device_id, channel=first, rest=tuple(rest))
