"""The device's connection to the broker with its streams beside everything else: one connection, one name.

Blocks go to the desk, and all else to the owner of the link, who need not know of streams.
"""

from __future__ import annotations

from edge.transport.interface import BrokerAddress, LinkEvents, MessageLink
from edge.transport.stream_desk import StreamDesk
from mien import topics


class StreamingLink:
    """A link whose ``stream/data`` goes to a desk.

    Args:
        link: the connection.
        device_id: whose streams.
        desk: where blocks arrive; it asks through this link from now on.
    """

    def __init__(self, link: MessageLink, device_id: str, desk: StreamDesk) -> None:
        self._link, self._desk = link, desk
        self._asks, self.topic = (topics.topic(device_id, name) for name in (topics.STREAM_GET, topics.STREAM_DATA))
        desk.send = self._send

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._link.is_connected

    def start(self, events: LinkEvents) -> None:
        """Begin connecting, and keep connected."""
        self._link.start(_Split(events, self, self._desk))

    def subscribe(self, topic: str) -> None:
        """Ask for a topic, QoS 1."""
        self._link.subscribe(topic)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send a message with QoS 1; its ticket comes back through ``acknowledged``."""
        return self._link.publish(topic, payload, retain=retain)

    def send(self, topic: str, payload: bytes) -> None:
        """Send a message with QoS 0: nothing answers, and what is lost is lost."""
        self._link.send(topic, payload)

    def readdress(self, address: BrokerAddress) -> None:
        """Use another address or password, and a certificate that was renewed, from the next connection on."""
        self._link.readdress(address)

    def close(self) -> None:
        """Disconnect and end the link's thread."""
        self._link.close()

    def _send(self, request: bytes) -> bool:
        if not self._link.is_connected:
            return False
        self._link.send(self._asks, request)
        return True


class _Split:
    """Takes what is for the desk, and hands on the rest."""

    def __init__(self, events: LinkEvents, link: StreamingLink, desk: StreamDesk) -> None:
        self._events, self._link, self._desk = events, link, desk

    def connected(self) -> None:
        """The broker accepted the connection."""
        self._link.subscribe(self._link.topic)
        self._events.connected()

    def received(self, topic: str, payload: bytes) -> None:
        """A message arrived."""
        if topic == self._link.topic:
            self._desk.received(payload)
        else:
            self._events.received(topic, payload)

    def acknowledged(self, ticket: int, *, accepted: bool) -> None:
        """The broker answered a publication."""
        self._events.acknowledged(ticket, accepted=accepted)

    def refused(self, times: int, reason: str) -> None:
        """The broker refused the connection."""
        self._events.refused(times, reason)
