"""What must hold of any bytes that arrive: the rule that fuzzers try to break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fleet.ingest.decoding import MODELS, Arrived, Bad, read
from fleet.ingest.interface import Incoming
from mien.messages import MAX_PAYLOAD_BYTES

CHANNELS = tuple(MODELS)


def check(data: bytes) -> None:
    """Read bytes as ingest does.

    Raises:
        AssertionError: the rule is broken.
    """
    if not data:
        return
    channel, payload = CHANNELS[data[0] % len(CHANNELS)], data[1:]
    found = read(Incoming(topic=f"mien/v1/cam-1/{channel}", payload=payload))
    if isinstance(found, Arrived):
        _check_arrived(found, payload)
    elif isinstance(found, Bad):
        assert found.device_id == "cam-1"
        assert len(found.reason) < 2000, "a reason must not fill the log"
    else:
        assert payload == b""


def _check_arrived(found: Arrived, payload: bytes) -> None:
    """What is let through can be stored as it was sent and read by any other reader, who sees the same."""
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert found.body.encode() == payload
    plain = json.loads(found.body, parse_constant=_no_constant)
    assert type(found.message).model_validate(plain) == found.message, "another reader sees another message"
    json.dumps(found.message.model_dump(mode="json"), allow_nan=False)
    assert not any("\0" in text for text in _texts(plain)), "PostgreSQL takes no NUL"


def _no_constant(name: str) -> float:
    raise AssertionError(f"{name} was let through")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
