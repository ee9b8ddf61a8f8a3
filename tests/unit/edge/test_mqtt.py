"""The link's thread, beside a broker that is a few lines of sockets: what must not end it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from edge.transport.interface import BrokerAddress
from edge.transport.mqtt import MqttLink
from tests.fakes.fake_device import wait_until

_ACCEPTED = bytes([0x20, 3, 0, 0, 0])


class TinyBroker:
    """Accepts whoever connects, and hangs up when it is told to."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> BrokerAddress:
        """Where it answers."""
        return BrokerAddress(host="127.0.0.1", port=self._listening.getsockname()[1])

    def hang_up(self) -> None:
        """End the newest connection."""
        with suppress(OSError):
            self.connections[-1].shutdown(socket.SHUT_RDWR)
        self.connections[-1].close()

    def close(self) -> None:
        """Accept no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)
        for connection in self.connections:
            connection.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.recv(4096)
                connection.sendall(_ACCEPTED)
                self.connections.append(connection)


class Owner:
    """Counts connections, and fails at the first."""

    def __init__(self) -> None:
        self.times = 0

    def connected(self) -> None:
        self.times += 1
        if self.times == 1:
            raise KeyError("a fault of ours")

    def received(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, ticket: int, *, accepted: bool) -> None: ...

    def refused(self, times: int, reason: str) -> None: ...


@pytest.fixture
def broker() -> Iterator[TinyBroker]:
    """A broker."""
    answering = TinyBroker()
    yield answering
    answering.close()


@pytest.fixture
def events() -> list[tuple[str, str, str]]:
    """What was told."""
    return []


@pytest.fixture
def link(broker: TinyBroker, events: list[tuple[str, str, str]]) -> Iterator[MqttLink]:
    """A link that has not begun."""
    made = MqttLink("camera-1", broker.address, tls=None, will=("t", b""), tell=lambda *event: events.append(event))
    yield made
    made.close()


def test_a_fault_of_the_owner_does_not_end_the_link(
    broker: TinyBroker, link: MqttLink, events: list[tuple[str, str, str]]
) -> None:
    """It fails when it is told of the connection; the next time that the broker is gone, it is connected to again."""
    owner = Owner()
    link.start(owner)
    wait_until(lambda: len(broker.connections) == 1 and owner.times == 1, what="the connection")
    broker.hang_up()
    wait_until(lambda: owner.times == 2 and link.is_connected, what="the next connection")
    assert [(kind, severity) for kind, severity, _ in events] == [("thread_failed", "error")]


def test_an_address_that_is_none_does_not_end_the_link(broker: TinyBroker) -> None:
    """The library raises another error than of the network; with a right address, the link connects."""
    events: list[tuple[str, str, str]] = []
    owner = Owner()
    owner.times = 1
    wrong = BrokerAddress(host="broker..example", port=1883)
    link = MqttLink("camera-1", wrong, tls=None, will=("t", b""), tell=lambda *event: events.append(event))
    link.start(owner)
    wait_until(lambda: bool(events), what="the fault")
    link.readdress(broker.address)
    wait_until(lambda: owner.times == 2 and link.is_connected, what="the connection to the right address")
    link.close()
    assert [kind for kind, _, _ in events] == ["thread_failed"]
