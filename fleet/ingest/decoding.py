"""From bytes on a topic to a message of a device, or a reason why not. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """Something that is no message, and why; ``device_id`` is ``None`` when not even the topic says who sent it."""

    device_id: str | None
    reason: str


def read(incoming: Incoming) -> Arrived | Bad | None:
    """Read one message; ``None`` for an empty payload, which only clears a retained one."""
    address = topics.parse(incoming.topic)
    model = MODELS.get(address.channel) if address and not address.rest else None
    if address is None or model is None:
        return Bad(device_id=address.device_id if address else None, reason=f"unknown topic {incoming.topic[:120]!r}")
    if not incoming.payload:
        return None
    try:
        message = decode(model, incoming.payload, source=f"{address.device_id}/{address.channel}")
    except DataError as error:
        return Bad(device_id=address.device_id, reason=str(error))
    return Arrived(device_id=address.device_id, message=message)
