"""Which way signed files come: what is taken when one is shut, when the other is tried again, and what is told."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO

import httpx
import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError

from edge.config import FleetSettings
from edge.transport.fetching import ReleaseFetcher
from edge.transport.retry import ServerBusyError
from edge.transport.stream_desk import StreamDesk
from edge.transport.stream_link import StreamingLink
from edge.transport.stream_part import StreamParts
from edge.transport.way_choice import WayChoice
from edge.transport.ways import WayFetcher

SHUT = DownloadError("connection refused")


class Fetcher(ReleaseFetcher):
    """Gives its name, or fails as it is told."""

    def __init__(self, name):
        self.name, self.fault, self.asked, self.counted, self.closed = name, None, 0, None, False

    @contextmanager
    def download_file(self, url, max_length):
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        yield BytesIO(self.name.encode())

    @contextmanager
    def counting(self, on_bytes):
        self.counted = on_bytes
        yield
        self.counted = None

    def _fetch(self, url):
        yield self.name.encode()

    def stored_bytes(self):
        return 5

    def clear(self):
        self.asked = 0

    def close(self):
        self.closed = True


class World:
    """Two ways, a clock, and what was told."""

    def __init__(self, transport="auto", **options):
        self.now, self.turns = 0.0, []
        self.https, self.mqtt = Fetcher("https"), Fetcher("mqtt")
        self.fetcher = WayFetcher(
            {"https": self.https, "mqtt": self.mqtt},
            WayChoice(transport, **options),
            on_turn=self.turns.append,
            clock=lambda: self.now,
        )

    def fetch(self):
        with self.fetcher.download_file("u", 9) as stream:
            return stream.read().decode()


def test_https_is_taken_as_long_as_it_works():
    """The other way is not even looked at."""
    world = World()
    assert (world.fetch(), world.mqtt.asked, world.turns) == ("https", 0, [])


@pytest.mark.parametrize("fault", [SHUT, SlowRetrievalError("slow"), httpx.ConnectError("no route")])
def test_after_some_failures_in_a_row_files_come_over_mqtt(fault):
    """The last failure costs nothing: the file comes over the other way at once, and the turn is told once."""
    world = World(failures=3)
    world.https.fault = fault
    for _ in range(2):
        with pytest.raises(type(fault)):
            world.fetch()
    assert [world.fetch(), world.fetch()] == ["mqtt", "mqtt"]
    assert (world.turns, world.fetcher.way, world.https.asked) == (["mqtt"], "mqtt", 3)


def test_a_success_between_failures_keeps_https():
    """Only failures in a row count."""
    world = World(failures=2)
    for fault in (SHUT, None, SHUT, None, SHUT):
        world.https.fault = fault
        if fault is not None:
            with pytest.raises(DownloadError):
                world.fetch()
        else:
            assert world.fetch() == "https"
    assert world.turns == []


@pytest.mark.parametrize(
    "answer", [DownloadHTTPError("404", 404), DownloadLengthMismatchError("long"), ServerBusyError("u", 5.0)]
)
def test_an_answer_is_no_shut_way(answer):
    """Whoever says something is there: the next way would say the same."""
    world = World(failures=1)
    world.https.fault = answer
    for _ in range(5):
        with pytest.raises(type(answer)):
            world.fetch()
    assert (world.mqtt.asked, world.turns) == (0, [])


def test_https_is_tried_again_later_with_one_look():
    """After the time that the site set; if it is still shut, MQTT goes on at once."""
    world = World(failures=3, again_s=100)
    world.https.fault = SHUT
    for _ in range(2):
        with pytest.raises(DownloadError):
            world.fetch()
    assert world.fetch() == "mqtt"
    world.now = 99
    assert (world.fetch(), world.https.asked) == ("mqtt", 3)
    world.now = 101
    assert (world.fetch(), world.https.asked) == ("mqtt", 4)
    world.now, world.https.fault = 250, None
    assert world.fetch() == "https"
    assert world.turns == ["mqtt", "https", "mqtt", "https"]


def test_when_both_ways_are_shut_whoever_asked_decides():
    """The fault is told upwards, and HTTPS is the first to be tried again."""
    world = World(failures=1)
    world.https.fault = world.mqtt.fault = SHUT
    for _ in range(3):
        with pytest.raises(DownloadError):
            world.fetch()
    world.https.fault = None
    assert world.fetch() == "https"


@pytest.mark.parametrize("transport", ["https", "mqtt"])
def test_a_named_way_is_kept(transport):
    """However often it fails, and for however long."""
    world = World(transport, failures=1, again_s=10)
    for fetcher in (world.https, world.mqtt):
        fetcher.fault = SHUT
    for _ in range(5):
        world.now += 100
        with pytest.raises(DownloadError):
            world.fetch()
    assert sorted([world.https.asked, world.mqtt.asked]) == [0, 5]
    assert world.turns == []


def test_a_fault_of_the_reader_is_no_fault_of_the_way():
    """What the block itself raises counts for nothing."""
    world = World(failures=1)
    with pytest.raises(DownloadError), world.fetcher.download_file("u", 9):
        raise SHUT
    assert world.fetcher.way == "https"


def test_both_ways_count_hold_and_forget_together():
    """What is here may have come over either."""
    world = World()
    with world.fetcher.counting(print):
        assert world.https.counted is world.mqtt.counted is print
    world.fetch()
    world.fetcher.clear()
    world.fetcher.close()
    assert (world.fetcher.stored_bytes(), world.https.asked, world.https.closed, world.mqtt.closed) == (
        10,
        0,
        True,
        True,
    )
    assert b"".join(world.fetcher._fetch("u")) == b"https"


class Link:
    """Keeps what is done to it."""

    def __init__(self):
        self.is_connected, self.done, self.events = True, [], None

    def start(self, events):
        self.events = events

    def subscribe(self, topic):
        self.done.append(("subscribe", topic))

    def publish(self, topic, payload, *, retain=False):
        self.done.append(("publish", topic))
        return 7

    def send(self, topic, payload):
        self.done.append(("send", topic))

    def readdress(self, address):
        self.done.append(("readdress", address))

    def close(self):
        self.done.append("close")


class Owner:
    """Of the link."""

    def __init__(self):
        self.heard = []

    def connected(self):
        self.heard.append("connected")

    def received(self, topic, payload):
        self.heard.append((topic, payload))

    def acknowledged(self, ticket, *, accepted):
        self.heard.append((ticket, accepted))

    def refused(self, times, reason):
        self.heard.append((times, reason))


def test_streams_share_the_devices_connection(tmp_path):
    """Blocks go to the desk, everything else to the owner; requests go out only while the broker is there."""
    link, owner, desk = Link(), Owner(), StreamDesk(StreamParts(tmp_path))
    streaming = StreamingLink(link, "cam-1", desk)
    streaming.start(owner)
    link.events.connected()
    link.events.received("mien/v1/cam-1/stream/data", b"no block")
    link.events.received("mien/v1/cam-1/desired", b"order")
    link.events.acknowledged(3, accepted=True)
    link.events.refused(1, "why")
    assert owner.heard == ["connected", ("mien/v1/cam-1/desired", b"order"), (3, True), (1, "why")]
    assert desk.counts["bad"] == 1
    assert streaming.publish("t", b"") == 7
    assert desk.send(b"request") is True
    link.is_connected = False
    assert desk.send(b"request") is False
    streaming.close()
    assert link.done == [
        ("subscribe", "mien/v1/cam-1/stream/data"),
        ("publish", "t"),
        ("send", "mien/v1/cam-1/stream/get"),
        "close",
    ]


def test_a_window_that_no_fleet_serves_is_refused():
    """Block size and window are bounded together, and the sentence names both."""
    with pytest.raises(ValueError, match="stream_block_bytes times stream_window must be at most 1048576"):
        FleetSettings(stream_block_bytes=131_072, stream_window=9)
