"""paho's client without the habits that cost it most of its speed.

paho asks the socket for each part of a packet, three calls and a ``select`` a message, and makes a dozen objects of it;
here the socket is emptied at once, and a plain PUBLISH of QoS 1 is read where it lies. It writes one acknowledgement at
a time; here those of a batch are one write. Everything else, and every packet with something unusual in it, stays
paho's.
What this leans on has no promise of paho's, so tests hold it against the installed version.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

_READ_BYTES = 256 * 1024
_PUBACK = 0x40
_TYPE_AND_QOS, _PUBLISH_QOS_1 = 0xF6, 0x32
_LONGEST_SIZE_SHIFT = 21
"""A packet's size has four bytes at most, of seven bits each."""
_MORE = 0x80


class QuickClient(Client):
    """A client for many messages.

    Args:
        quick: called with topic, payload and packet identifier of a message of QoS 1 without properties, instead of
            ``on_message``, which gets all others.
        given: everything else goes to paho.
    """

    def __init__(self, *args: Any, quick: Callable[[str, bytes, int], None], **given: Any) -> None:  # noqa: ANN401 - paho's
        super().__init__(*args, **given)
        self._quick = quick
        self._held = b""
        self._at = 0

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle all packets that have been read, rather than one."""
        while True:
            result = super().loop_read(max_packets)
            if not result and not self._in_packet["command"]:
                self._take_plain()
            if result or self._at >= len(self._held):
                return result

    def acknowledge(self, packets: Sequence[int]) -> None:
        """Send PUBACK for messages of QoS 1, in order, by their packet identifiers."""
        body = b"".join([struct.pack("!BBH", _PUBACK, 2, packet) for packet in packets])
        self._packet_queue(_PUBACK, body, packets[-1], 1)

    def _take_plain(self) -> None:
        """Hand over plain messages as long as whole ones follow each other."""
        while (found := plain_message(self._held, self._at)) is not None:
            self._at, topic, packet, payload = found
            self._quick(topic, payload, packet)

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._held):
            self._held, self._at = super()._sock_recv(_READ_BYTES), 0
        part = self._held[self._at : self._at + bufsize]
        self._at += len(part)
        return part

    def _sock_close(self) -> None:
        self._held, self._at = b"", 0
        super()._sock_close()


def plain_message(held: bytes, at: int) -> tuple[int, str, int, bytes] | None:
    """A whole PUBLISH of QoS 1 without properties: where it ends, topic, packet identifier and payload.

    Args:
        held: what was read.
        at: where a packet begins.

    Returns:
        ``None`` for anything else, also for what is not whole or breaks the rules of MQTT.
    """
    end = len(held)
    if at >= end or held[at] & _TYPE_AND_QOS != _PUBLISH_QOS_1:
        return None
    size = shift = 0
    byte, place = _MORE, at + 1
    while byte & _MORE:
        if place >= end or shift > _LONGEST_SIZE_SHIFT:
            return None
        byte = held[place]
        size |= (byte & 0x7F) << shift
        shift += 7
        place += 1
    last = place + size
    name = place + 2
    rest = name + int.from_bytes(held[place:name], "big")
    if last > end or rest + 2 >= last or held[rest + 2]:
        return None
    try:
        topic = held[name:rest].decode()
    except UnicodeDecodeError:
        return None
    return last, topic, int.from_bytes(held[rest : rest + 2], "big"), held[rest + 3 : last]
