"""The publisher: what it sends when, with a broker in memory; with simulated time where time matters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from edge.telemetry.publisher import Publisher
from edge.telemetry.schedule import Allowance, Lane, in_turn
from edge.telemetry.spool import Spool, SpoolLimits
from edge.transport.interface import BrokerAddress, LinkEvents
from mien import topics
from tests.fakes.fake_device import wait_until


class FakeLink:
    """A broker connection in memory: acknowledges at once, when it is there and accepts."""

    def __init__(self) -> None:
        self.is_connected = True
        self.refuses: set[str] = set()
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
            self.publisher.acknowledged(ticket, accepted=topic not in self.refuses)
        return ticket

    def of(self, channel: str) -> list[bytes]:
        """Payloads sent on a channel."""
        return [payload for topic, payload in self.sent if topic == f"topic/{channel}"]

    def start(self, events: LinkEvents) -> None: ...

    def subscribe(self, topic: str) -> None: ...

    def readdress(self, address: BrokerAddress) -> None: ...

    def close(self) -> None: ...


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def spool(memory_path: Path) -> Iterator[Spool]:
    """An empty spool."""
    opened = Spool(memory_path / "spool.sqlite", limits=SpoolLimits())
    yield opened
    opened.close()


@pytest.fixture
def link() -> FakeLink:
    """A connected broker."""
    return FakeLink()


@pytest.fixture
def clock() -> Clock:
    """The publisher's time."""
    return Clock()


@pytest.fixture
def publisher(spool: Spool, link: FakeLink, clock: Clock) -> Iterator[Publisher]:
    """A publisher that is not started, on simulated time."""
    made = Publisher(spool, link, lambda channel: f"topic/{channel}", clock=clock)
    link.publisher = made
    yield made
    made.close()


@pytest.fixture
def running(spool: Spool, link: FakeLink) -> Iterator[Publisher]:
    """A publisher with its thread, on real time."""
    made = Publisher(spool, link, lambda channel: f"topic/{channel}", first_pause_s=0.01, catch_up_per_s=1000)
    link.publisher = made
    yield made
    made.close()


def put(spool: Spool, channel: str, numbers: range) -> list[bytes]:
    """Put messages; their payloads."""
    payloads = [f"{channel}{number}".encode() for number in numbers]
    for payload in payloads:
        spool.put(channel, payload)
    return payloads


def test_the_spool_is_emptied_into_the_broker(spool: Spool, link: FakeLink, running: Publisher) -> None:
    """Each message goes once, in order, to its channel's topic, and is then forgotten."""
    wanted = put(spool, "m", range(30))
    running.start()
    assert running.flush(10.0)
    assert link.of("m") == wanted


def test_few_are_on_their_way(spool: Spool, link: FakeLink, publisher: Publisher) -> None:
    """Without acknowledgement, each lane fills its places and waits."""
    link.answers = False
    for channel in ("m", "e", "update"):
        put(spool, channel, range(50))
    publisher.look()
    put(spool, "m", range(50, 100))
    for _ in range(5):
        publisher.look()
    assert [len(link.of(channel)) for channel in ("m", "e", "update")] == [12, 7, 1]
    assert sum(lane.places for lane in Lane) == 20
    assert len(spool) == 200


def test_an_hour_away_costs_nothing_and_delays_nothing(
    spool: Spool, link: FakeLink, publisher: Publisher, clock: Clock
) -> None:
    """360 windows wait; what is new goes at once while they follow at ten a second, and nothing is lost."""
    link.is_connected = False
    publisher.look()
    backlog = put(spool, "m", range(360))
    link.is_connected = True
    publisher.look()
    live: list[bytes] = []
    for second in range(40):
        clock.now_s += 1.0
        live += put(spool, "m", range(1000 + second, 1001 + second))
        before = len(link.of("m"))
        for _ in range(5):  # as often as answers come
            publisher.look()
        now = link.of("m")[before:]
        assert live[-1] in now[:2]
        assert len(now) <= 1 + 10
    assert [payload for payload in link.of("m") if payload in backlog] == backlog
    assert [payload for payload in link.of("m") if payload not in backlog] == live
    assert len(spool) == 0


def test_events_and_reports_go_before_windows(spool: Spool, link: FakeLink, publisher: Publisher) -> None:
    """Behind a backlog of windows, what a person waits for comes first."""
    put(spool, "m", range(50))
    put(spool, "e", range(2))
    put(spool, topics.UPDATE, range(1))
    publisher.look()
    assert [topic for topic, _ in link.sent[:3]] == ["topic/update", "topic/e", "topic/e"]


def test_reports_keep_their_order_through_refusals(
    spool: Spool, link: FakeLink, publisher: Publisher, clock: Clock
) -> None:
    """A report that is refused is tried again before the next one goes; other lanes are not held up."""
    wanted = put(spool, topics.UPDATE, range(4))
    link.refuses = {"topic/update"}
    for _ in range(5):
        publisher.look()
        clock.now_s += 2.0
    assert set(link.of("update")) == {wanted[0]}
    put(spool, "e", range(1))
    publisher.look()
    assert link.of("e") == [b"e0"]
    link.refuses = set()
    clock.now_s += 60.0
    for _ in range(8):
        publisher.look()
    sent = link.of("update")
    assert sent[-4:] == wanted
    assert len(spool) == 0


def test_a_refused_lane_waits_longer_each_time(
    spool: Spool, link: FakeLink, publisher: Publisher, clock: Clock
) -> None:
    """1, 2, 4 … up to 30 seconds: a broker that refuses is not hammered."""
    link.refuses = {"topic/m"}
    put(spool, "m", range(1))
    times: list[float] = []
    for _ in range(1200):
        before = len(link.sent)
        publisher.look()
        if len(link.sent) > before:
            times.append(clock.now_s)
        clock.now_s += 0.1
    pauses = [round(later - earlier) for earlier, later in pairwise(times)]
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert max(pauses) <= 30


def test_a_live_window_passes_a_broker_that_takes_no_backlog(
    spool: Spool, link: FakeLink, publisher: Publisher
) -> None:
    """Even with every place of the backlog taken and unanswered, a new window finds its own."""
    put(spool, "m", range(100))
    link.answers = False
    for _ in range(3):
        publisher.look()
    put(spool, "m", range(500, 501))
    publisher.look()
    assert link.of("m")[-1] == b"m500"


def test_without_a_broker_nothing_is_lost(spool: Spool, link: FakeLink, running: Publisher) -> None:
    """Messages wait in the spool and go when the broker is there."""
    link.is_connected = False
    spool.put("m", b"one")
    running.start()
    running.wake()
    assert not running.flush(0.1)
    assert link.sent == []
    link.is_connected = True
    assert running.flush(10.0)


def test_a_refused_message_is_sent_again(spool: Spool, link: FakeLink, running: Publisher) -> None:
    """A message that the broker would have lost is not forgotten."""
    link.refuses = {"topic/m"}
    spool.put("m", b"one")
    running.start()
    running.wake()
    with link.arrived:
        assert link.arrived.wait_for(lambda: len(link.sent) >= 1, 10)
    link.refuses = set()
    assert running.flush(10.0)
    assert len(link.sent) >= 2
    assert set(link.sent) == {("topic/m", b"one")}


def test_lanes_take_turns() -> None:
    """Reports, events, then a live window and one from before in turn."""
    order = in_turn({Lane.BACKLOG: [1, 2, 3], Lane.LIVE: [10], Lane.EVENTS: [20], Lane.UPDATES: [30]})
    assert order == [30, 20, 10, 1, 2, 3]


def test_an_allowance_is_a_rate() -> None:
    """A second's worth at once, then so many a second; time that passed unused does not pile up."""
    allowance = Allowance(2.0)
    assert allowance.at(0.0) == 2
    allowance.take(2)
    assert [allowance.at(0.4), allowance.at(0.6)] == [0, 1]
    assert allowance.at(1000.0) == 2


def test_a_fault_does_not_end_the_sending(spool: Spool, link: FakeLink) -> None:
    """Twice something raises that never should; the message reaches the broker all the same, and it is told once."""
    events: list[tuple[str, str, str]] = []
    faults = [RuntimeError("no such thread"), RuntimeError("no such thread")]

    def topic_of(channel: str) -> str:
        if faults:
            raise faults.pop()
        return f"topic/{channel}"

    publisher = Publisher(spool, link, topic_of, tell=lambda *event: events.append(event))
    link.publisher = publisher
    spool.put(topics.EVENT, b"{}")
    publisher.start()
    wait_until(lambda: not len(spool), what="the message's way to the broker")
    publisher.close()
    assert link.of(topics.EVENT) == [b"{}"]
    assert [kind for kind, _, _ in events] == ["thread_failed"]
