"""The spool on a real SQLite file, and the publisher that empties it into a broker in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.telemetry.publisher import Publisher
from edge.telemetry.spool import Spool
from edge.transport.interface import BrokerAddress, LinkEvents


@pytest.fixture
def path(memory_path: Path) -> Path:
    """Where the spool is."""
    return memory_path / "spool.sqlite"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    """An empty spool for 200 messages."""
    opened = Spool(path, most_rows=200)
    yield opened
    opened.close()


def test_messages_come_back_in_order(spool: Spool) -> None:
    """First in, first out, across channels."""
    for number in range(5):
        spool.put("m" if number % 2 else "e", str(number).encode())
    assert [item.payload for item in spool.waiting(after=0, most=10)] == [b"0", b"1", b"2", b"3", b"4"]


def test_messages_survive_a_restart_until_they_are_done(spool: Spool, path: Path) -> None:
    """What was not acknowledged is there at the next start."""
    spool.put("m", b"one")
    spool.put("m", b"two")
    spool.done(spool.waiting(after=0, most=1)[0].item_id)
    spool.close()
    again = Spool(path, most_rows=200)
    assert [item.payload for item in again.waiting(after=0, most=10)] == [b"two"]
    again.close()


def test_a_full_spool_gives_up_windows_before_events(spool: Spool) -> None:
    """Events are kept although they are older, and the loss is counted."""
    spool.put("e", b"event")
    for number in range(250):
        spool.put("m", str(number).encode())
    kept = spool.waiting(after=0, most=1000)
    assert kept[0].payload == b"event"
    assert kept[-1].payload == b"249"
    assert len(kept) <= 200
    assert len(kept) + spool.lost == 251


def test_counters_rise_over_restarts(spool: Spool, path: Path) -> None:
    """A window's number is never given twice."""
    assert [spool.next_number("window") for _ in range(2)] == [1, 2]
    spool.close()
    again = Spool(path, most_rows=200)
    assert again.next_number("window") == 3
    again.close()


def test_a_damaged_file_is_set_aside(path: Path) -> None:
    """The device starts with an empty spool and keeps the damaged one for a look."""
    path.write_bytes(b"this is no database, but longer than a header of one hundred bytes" * 4)
    opened = Spool(path, most_rows=200)
    assert opened.put("m", b"one")
    assert len(opened) == 1
    opened.close()
    assert list(path.parent.glob("spool.sqlite.damaged-*"))


class FakeLink:
    """A broker connection in memory: acknowledges at once, when it is there and accepts."""

    def __init__(self) -> None:
        self.is_connected = True
        self.accepts = True
        self.answers = True
        self.sent: list[tuple[str, bytes]] = []
        self.publisher: Publisher | None = None
        self.arrived = threading.Condition()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        with self.arrived:
            self.sent.append((topic, payload))
            ticket = len(self.sent)
            self.arrived.notify_all()
        if self.answers and self.publisher is not None:
            self.publisher.acknowledged(ticket, accepted=self.accepts)
        return ticket

    def start(self, events: LinkEvents) -> None: ...

    def subscribe(self, topic: str) -> None: ...

    def readdress(self, address: BrokerAddress) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def link() -> FakeLink:
    """A connected broker."""
    return FakeLink()


@pytest.fixture
def publisher(spool: Spool, link: FakeLink) -> Iterator[Publisher]:
    """A publisher that is not started."""
    made = Publisher(spool, link, lambda channel: f"topic/{channel}", first_pause_s=0.01)
    link.publisher = made
    yield made
    made.close()


def test_the_spool_is_emptied_into_the_broker(spool: Spool, link: FakeLink, publisher: Publisher) -> None:
    """Each message goes once, to its channel's topic, and is then forgotten."""
    for number in range(30):
        spool.put("m", str(number).encode())
    publisher.start()
    assert publisher.flush(5.0)
    assert link.sent == [("topic/m", str(number).encode()) for number in range(30)]


def test_at_most_twenty_are_on_their_way(spool: Spool, link: FakeLink, publisher: Publisher) -> None:
    """Without acknowledgement, the publisher waits."""
    link.answers = False
    for number in range(50):
        spool.put("m", str(number).encode())
    publisher.start()
    publisher.flush(0.3)
    assert len(link.sent) == 20
    assert len(spool) == 50


def test_without_a_broker_nothing_is_lost(spool: Spool, link: FakeLink, publisher: Publisher) -> None:
    """Messages wait in the spool and go when the broker is there."""
    link.is_connected = False
    spool.put("m", b"one")
    publisher.start()
    publisher.wake()
    assert not publisher.flush(0.1)
    link.is_connected = True
    assert publisher.flush(5.0)


def test_a_refused_message_is_sent_again(spool: Spool, link: FakeLink, publisher: Publisher) -> None:
    """A message that the broker would have lost is not forgotten."""
    link.accepts = False
    spool.put("m", b"one")
    publisher.start()
    publisher.wake()
    with link.arrived:
        assert link.arrived.wait_for(lambda: len(link.sent) >= 1, 5)
    link.accepts = True
    assert publisher.flush(5.0)
    assert len(link.sent) >= 2
    assert set(link.sent) == {("topic/m", b"one")}
