"""Serving files in blocks: who gets what, in which order, and who is turned away."""

from __future__ import annotations

import datetime as dt
import hashlib
import heapq
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.broker.interface import BrokerAccess
from fleet.config import StreamSettings
from fleet.identity.ca import open_authority
from fleet.paths import DataFolder
from fleet.registry.repository import Repository
from fleet.streams.files import RegistryFiles
from fleet.streams.party import common_name, stream_party
from fleet.streams.queue import FairQueue, Job, Rates
from fleet.streams.worker import StreamWorker
from mien.messages import encode
from mien.streams import Block, Get, Refusal, StreamRefused, decode_answer

NOW = dt.datetime(2026, 11, 25, tzinfo=dt.timezone.utc)
RATES = Rates(bytes_per_s=1000.0, device_bytes_per_s=1e9, queue_bytes=100_000, device_queue_bytes=50_000)


def job(device, index, length=100, file="f"):
    return Job(device, file, 1, 256, index, length)


def drained(queue, until, start=0.0):
    """All that goes out until a moment, with when."""
    now, sent = start, []
    while now <= until:
        found = queue.take(now=now)
        if found is not None:
            sent.append((now, found))
            continue
        wait = queue.wait_s(now=now)
        if wait is None:
            break
        now += max(wait, 1e-6)
    return sent


def test_one_that_asks_for_much_does_not_hold_up_another():
    """Bytes are shared evenly while both wait, whatever was asked first and however large the blocks are."""
    queue = FairQueue(RATES, now=0.0)
    queue.offer([job("greedy", index, 400) for index in range(60)], now=0.0)
    queue.offer([job("modest", index, 100) for index in range(40)], now=0.0)
    sent = [found for _, found in drained(queue, 6.0)]
    shares = {name: sum(one.length for one in sent if one.device_id == name) for name in ("greedy", "modest")}
    assert abs(shares["greedy"] - shares["modest"]) <= 500
    mine = [one.index for one in sent if one.device_id == "modest"]
    assert mine == sorted(mine)


def test_the_whole_rate_holds():
    """Ten seconds bring ten seconds' worth, and a short burst."""
    queue = FairQueue(RATES, now=0.0)
    queue.offer([job("a", index, 250) for index in range(200)], now=0.0)
    assert sum(found.length for _, found in drained(queue, 10.0)) == pytest.approx(10_000, rel=0.06)


def test_a_device_has_a_rate_of_its_own():
    """What it does not get is left to others."""
    rates = Rates(bytes_per_s=1e6, device_bytes_per_s=1000.0, queue_bytes=10**6, device_queue_bytes=10**6)
    queue = FairQueue(rates, now=0.0)
    queue.offer([job("fast", index, 100) for index in range(500)], now=0.0)
    queue.offer([job("other", index, 100) for index in range(30)], now=0.0)
    sent = drained(queue, 5.0)
    assert sum(1 for _, found in sent if found.device_id == "fast") == pytest.approx(52, abs=4)
    assert sum(1 for _, found in sent if found.device_id == "other") == 30


def test_what_waits_is_not_queued_twice():
    """Asked again before it was sent: it keeps its place and is sent once."""
    queue = FairQueue(RATES, now=0.0)
    assert queue.offer([job("a", 0), job("a", 1)], now=0.0) == 2
    assert queue.offer([job("a", 1), job("a", 2)], now=0.1) == 1
    assert [found.index for _, found in drained(queue, 9.0)] == [0, 1, 2]


def test_a_device_that_asks_for_too_much_is_told_to_wait():
    """Its own line is bounded, and what stands in it stays."""
    queue = FairQueue(RATES, now=0.0)
    queue.offer([job("a", index, 1000) for index in range(40)], now=0.0)
    with pytest.raises(StreamRefused) as caught:
        queue.offer([job("a", index, 1000) for index in range(40, 60)], now=0.0)
    assert (caught.value.name, queue.bytes) == ("Busy", 40_000)


def test_those_turned_away_are_told_to_come_back_one_after_another():
    """As if they stood in line: ten thousand devices do not all come back at once."""
    queue = FairQueue(RATES, now=0.0)
    retries = []
    for number in range(200):
        try:
            queue.offer([job(f"d{number}", index, 1000) for index in range(5)], now=0.0)
        except StreamRefused as refusal:
            retries.append(refusal.retry_after_s)
    assert (queue.devices, queue.bytes) == (20, 100_000)
    assert retries == sorted(retries)
    assert retries[0] == pytest.approx(105, abs=1)
    assert len(set(retries)) > 150


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30), st.integers(0, 400)), max_size=60),
    st.integers(200, 5000),
)
def test_nothing_is_lost_or_sent_twice_and_bounds_hold(asked, device_bytes):
    """Whatever is asked in whatever order: what was taken goes out once, and the rest was refused."""
    rates = Rates(bytes_per_s=1e5, device_bytes_per_s=3e4, queue_bytes=8000, device_queue_bytes=device_bytes)
    queue, taken, sent, now = FairQueue(rates, now=0.0), 0, [], 0.0
    for device, index, length in asked:
        try:
            taken += queue.offer([job(device, index, length)], now=now)
        except StreamRefused as refusal:
            assert refusal.name == "Busy"
            assert refusal.retry_after_s >= 1
        assert queue.bytes <= max(8000, 400)
        found = queue.take(now=now)
        sent += [found] if found else []
        now += 0.001
    sent += [found for _, found in drained(queue, now + 100, now)]
    assert len(sent) == taken
    assert (queue.bytes, queue.devices) == (0, 0)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With one signed file."""
    made = Repository(DataFolder(tmp_path / "data"))
    made.create(NOW)
    model = tmp_path / "model.onnx"
    model.write_bytes(bytes(range(256)) * 5)
    made.add({"faces/1.0.0/model.onnx": model}, {}, NOW)
    return made


def test_only_what_is_listed_is_found(repository):
    """Signed files and metadata; no path, no other file of the folder, no name that climbs out of it."""
    files, digest = RegistryFiles(repository), hashlib.sha256(bytes(range(256)) * 5).hexdigest()
    (repository.targets_folder / "secret").write_text("x")
    (repository.targets_folder / "faces" / "1.0.0" / f"{digest}.other").write_text("x")
    found = files.find(f"targets/faces/1.0.0/{digest}.model.onnx", digest)
    assert (found.size, found.read(256, 4)) == (1280, b"\0\1\2\3")
    assert files.find("metadata/timestamp.json").read(0, 1) == b"{"
    for name in (
        *("targets/secret", "targets/../metadata/timestamp.json", "metadata/../lock", "metadata//timestamp.json"),
        *("metadata/timestamp.json/", "metadata/99.root.json", "metadata/01.root.json", "metadata/1.root.json\0"),
        *(f"targets/faces/1.0.0/{digest}.other", f"/targets/faces/1.0.0/{digest}.model.onnx", "targets", "", "/"),
        *("keys/online/snapshot", "metadata/1.secret.json", "../ca/ca.key", "metadata/1.root.json\n"),
    ):
        with pytest.raises(StreamRefused) as caught:
            files.find(name)
        assert caught.value.name == "ResourceNotFound", name


def test_new_content_is_seen_and_old_content_is_not_given_for_it(repository, tmp_path):
    """After a publication the timestamp is another version, and a new file is there."""
    files = RegistryFiles(repository)
    before = files.find("metadata/timestamp.json").version
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other")
    repository.add({"faces/1.0.1/model.onnx": other}, {}, NOW)
    assert files.find("metadata/timestamp.json").version != before
    with pytest.raises(StreamRefused) as caught:
        files.find("metadata/timestamp.json", before)
    assert caught.value.name == "VersionMismatch"
    digest = hashlib.sha256(b"other").hexdigest()
    assert files.find(f"targets/faces/1.0.1/{digest}.model.onnx").size == 5


class Bus:
    """Keeps what is sent."""

    is_connected = True

    def __init__(self):
        self.sent, self.told = [], []

    def start(self, received): ...
    def stop(self): ...

    def send(self, topic, payload):
        self.sent.append((topic, decode_answer(payload)))
        return True

    def tell(self, topic, payload):
        self.told.append((topic, decode_answer(payload)))


@pytest.fixture
def worker(repository):
    """With a bus that keeps what is sent; nothing runs by itself."""
    rates = Rates(bytes_per_s=1e9, device_bytes_per_s=1e9, queue_bytes=10**7, device_queue_bytes=10**6)
    return StreamWorker(Bus(), RegistryFiles(repository), accepted=lambda: frozenset({"cam-1"}), rates=rates)


def asked(worker, device="cam-1", **change):
    get = {"request_id": 9, "file": "metadata/timestamp.json", "block_bytes": 256, "offset": 0, "bitmap": "03"}
    worker.received(f"mien/v1/{device}/stream/get", encode(Get(**(get | change))))
    while worker._queue.devices:
        worker._send_next()
    return worker._bus


def test_blocks_go_to_the_device_that_asked(worker, repository):
    """In order, on its own topic, with all that is needed to put them in place."""
    content = (repository.shelf.folder / "timestamp.json").read_bytes()
    sent = asked(worker).sent
    assert [topic for topic, _ in sent] == ["mien/v1/cam-1/stream/data"] * 2
    assert b"".join(block.payload for _, block in sent) == content[:512]
    block = sent[1][1]
    assert isinstance(block, Block)
    assert (block.request_id, block.index, block.size) == (9, 1, len(content))
    assert block.version == hashlib.sha256(content).hexdigest()
    assert (worker.counts["blocks"], worker.counts["bytes"]) == (2, len(content[:512]))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"device": "cam-2"}, "Unauthorized"),
        ({"file": "../../ca/ca.key"}, "ResourceNotFound"),
        ({"version": "00" * 32}, "VersionMismatch"),
        ({"offset": 500}, "OffsetOutOfBounds"),
        ({"block_bytes": 1}, "BlockSizeOutOfBounds"),
        ({"bitmap": ""}, "InvalidRequest"),
    ],
)
def test_a_refusal_is_told_by_name(worker, change, name):
    """To the device that asked, with the number of its request, and counted."""
    bus = asked(worker, **change)
    ((topic, refusal),) = bus.told
    assert isinstance(refusal, Refusal)
    assert (refusal.error, refusal.request_id, bus.sent) == (name, 9, [])
    assert topic == f"mien/v1/{change.get('device', 'cam-1')}/stream/data"
    assert worker.counts[name] == 1


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff" * 40, b"[" * 100_000, b"x" * 200_000])
def test_garbage_is_counted_and_answered_by_nothing(worker, payload):
    """It names no request that could be answered, and the next request is served."""
    worker.received("mien/v1/cam-1/stream/get", payload)
    assert (worker.counts["bad"], worker._bus.told) == (1, [])
    assert len(asked(worker).sent) == 2


def test_a_file_that_vanished_is_an_error_of_ours(worker, repository):
    """The device is told, and the thread goes on."""
    digest = hashlib.sha256(bytes(range(256)) * 5).hexdigest()
    place = repository.targets_folder / "faces" / "1.0.0" / f"{digest}.model.onnx"
    place.unlink()
    bus = asked(worker, file=f"targets/faces/1.0.0/{digest}.model.onnx", bitmap="01")
    assert [refusal.error for _, refusal in bus.told] == ["InternalError"]


class AwayBus(Bus):
    """Its broker is away: a block waits until the bus is stopped."""

    def __init__(self):
        super().__init__()
        self.waits, self.stopped = threading.Event(), threading.Event()

    def stop(self):
        self.stopped.set()

    def send(self, topic, payload):
        self.waits.set()
        self.stopped.wait()
        return False


def test_a_broker_that_is_away_does_not_hold_up_the_end(repository):
    """The service ends while a block waits to be sent; the device asks again elsewhere or later."""
    rates = Rates(bytes_per_s=1e9, device_bytes_per_s=1e9, queue_bytes=10**7, device_queue_bytes=10**6)
    bus = AwayBus()
    worker = StreamWorker(bus, RegistryFiles(repository), accepted=lambda: frozenset({"cam-1"}), rates=rates)
    worker.start()
    get = Get(request_id=9, file="metadata/timestamp.json", block_bytes=256, offset=0, bitmap="01")
    worker.received("mien/v1/cam-1/stream/get", encode(get))
    assert bus.waits.wait(10)
    ending = threading.Thread(target=worker.stop, daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive()


def test_members_that_cannot_be_read_are_those_of_before(worker):
    """A database that is away stops nobody who was accepted, and lets nobody in."""

    def away():
        raise OSError("away")

    assert len(asked(worker).sent) == 2
    worker._accepted, worker._members_at = away, -1e9
    assert len(asked(worker).sent) == 4
    worker._members_at = -1e9
    assert asked(worker, device="cam-2").told[0][1].error == "Unauthorized"


def test_one_that_was_accepted_just_now_is_told_to_come_again(worker):
    """Not refused for good; and strangers do not have the store read more often than once a second."""
    reads = []
    assert len(asked(worker).sent) == 2
    worker._accepted = lambda: reads.append(1) or frozenset({"cam-2"})
    assert [refusal.error for _, refusal in asked(worker, device="cam-2").told] == ["Busy"]
    assert reads == []
    worker._members_at -= 1.5
    assert len(asked(worker, device="cam-2").sent) == 4
    assert reads == [1]


def test_streams_have_a_name_and_a_group_of_their_own(tmp_path):
    """The certificate is issued once and kept, another authority's is not taken, and all processes share the group."""
    authority = open_authority(tmp_path / "ca")
    issued, key = authority.issue_party("mien.fleet.2", ())
    (tmp_path / "fleet.pem").write_text(issued.pem)
    (tmp_path / "fleet.key").write_bytes(key)
    access = BrokerAccess(
        host="h", port=1, tls=True, client_cert=tmp_path / "fleet.pem", client_key=tmp_path / "fleet.key"
    )
    now = dt.datetime.now(dt.timezone.utc)

    def party(whose=authority, **settings):
        return stream_party(StreamSettings(**settings), access, whose, tmp_path / "streams", now=now)

    first = party()
    content = first.access.client_cert.read_bytes()
    assert (first.client_id, common_name(first.access.client_cert)) == ("mien.fleet.2.streams", "mien.fleet.2.streams")
    assert party() == first
    assert first.access.client_cert.read_bytes() == content
    assert party(open_authority(tmp_path / "other")).access.client_cert.read_bytes() != content
    given = party(client_cert=tmp_path / "fleet.pem", client_key=tmp_path / "fleet.key")
    assert (given.client_id, given.access.client_cert) == ("mien.fleet.2", tmp_path / "fleet.pem")
    assert len(first.group) == 32
    (tmp_path / "streams" / "group").write_text("")
    assert len(party().group) == 32
    assert {path.stat().st_mode & 0o77 for path in (tmp_path / "streams" / "group", first.access.client_key)} == {0}


@pytest.mark.parametrize(
    "wrong", [{"client_cert": "a.pem"}, {"device_queue_bytes": 2 << 20, "queue_bytes": 1 << 20}, {"bytes_per_s": 1}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    """With the setting that is wrong."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StreamSettings(**wrong)


class Crowd:
    """Devices that all want some windows of a file at once, and come back when they are told; in time of its own."""

    WINDOW, BLOCK = 4, 8192

    def __init__(self, queue, devices, windows):
        self.queue, self.now, self.asked, self.most_waiting = queue, 0.0, 0, 0
        self._random = random.Random(3)
        self._left = {f"d{number}": windows * self.WINDOW for number in range(devices)}
        self._due = [(self._random.random(), name) for name in self._left]
        heapq.heapify(self._due)

    def run(self):
        """Until all are served."""
        while self._left:
            while self._due and self._due[0][0] <= self.now:
                self._ask(heapq.heappop(self._due)[1])
            sent = self.queue.take(now=self.now)
            if sent is None:
                waits = [self.queue.wait_s(now=self.now), self._due[0][0] - self.now if self._due else None]
                self.now += max(min(wait for wait in waits if wait is not None), 1e-6)
            else:
                self._got(sent.device_id)

    def _ask(self, name):
        self.asked += 1
        try:
            self.queue.offer([job(name, self._left[name] - i, self.BLOCK) for i in range(self.WINDOW)], now=self.now)
        except StreamRefused as refusal:
            back = self.now + refusal.retry_after_s * self._random.uniform(0.5, 1.0)
            heapq.heappush(self._due, (back, name))
        self.most_waiting = max(self.most_waiting, self.queue.bytes)

    def _got(self, name):
        self._left[name] -= 1
        if not self._left[name]:
            del self._left[name]
        elif self._left[name] % self.WINDOW == 0:
            heapq.heappush(self._due, (self.now + 0.05, name))


def test_ten_thousand_devices_at_once_are_all_served_at_the_whole_rate():
    """Nobody starves, what waits is bounded, the rate is used, and being turned away costs few requests more."""
    rates = Rates(bytes_per_s=8e6, device_bytes_per_s=1e6, queue_bytes=1_000_000, device_queue_bytes=200_000)
    crowd = Crowd(FairQueue(rates, now=0.0), devices=10_000, windows=2)
    crowd.run()
    wanted = 10_000 * 2 * Crowd.WINDOW
    assert crowd.most_waiting <= 1_000_000
    assert crowd.now <= 1.2 * wanted * Crowd.BLOCK / 8e6
    assert crowd.asked <= 4 * 10_000 * 2
