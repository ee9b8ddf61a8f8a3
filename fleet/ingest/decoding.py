"""From bytes on a topic to a message of a device, or a reason why not. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from fleet.ingest.interface import Incoming
from mien import topics
from mien.errors import DataError
from mien.messages import Event, Message, Status, Twin, UpdateReport, Window, decode

MODELS: Mapping[str, type[Message]] = MappingProxyType(
    {
        topics.STATUS: Status,
        topics.TWIN: Twin,
        topics.WINDOW: Window,
        topics.EVENT: Event,
        topics.UPDATE: UpdateReport,
    }
)
"""Which message each channel carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message, and who sent it."""

    device_id: str
    message: Message
    body: str
    """Its JSON as it was sent: what :func:`mien.messages.decode` lets through can be kept as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """Something that is no message, and why; ``device_id`` is ``None`` when not even the topic says who sent it."""

    device_id: str | None
    reason: str


def read(incoming: Incoming) -> Arrived | Bad | None:
    """Read one message; ``None`` for an empty payload, which only clears a retained one."""
    device_id, model = _address(incoming.topic)
    if device_id is None or model is None:
        return Bad(device_id=device_id, reason=f"unknown topic {incoming.topic[:120]!r}")
    if not incoming.payload:
        return None
    try:
        message = decode(model, incoming.payload, source=f"{device_id}/{incoming.topic.rpartition('/')[2]}")
    except DataError as error:
        return Bad(device_id=device_id, reason=str(error))
    return Arrived(device_id=device_id, message=message, body=incoming.payload.decode())


@lru_cache(maxsize=1 << 16)
def _address(topic: str) -> tuple[str | None, type[Message] | None]:
    """Which device a topic belongs to, and which message it carries; ``None`` where it is not one of ours."""
    address = topics.parse(topic)
    if address is None:
        return None, None
    return address.device_id, None if address.rest else MODELS.get(address.channel)
