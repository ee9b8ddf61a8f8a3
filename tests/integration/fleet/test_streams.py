"""Signed files in blocks through a real Mosquitto with TLS, client certificates and the access rules that mien writes."""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.update.interface import UpdateFault
from mien.files import sha256_of
from mien.streams import encode_block
from tests.fakes.fake_device import wait_until
from tests.fakes.stream_device import StreamDevice
from tests.fakes.stream_site import MOSQUITTO, StreamSite
from tests.integration.fleet.conftest import ROOT

BLOCK = 32 * 1024
CONTENT = random.Random(7).randbytes(3_000_000)
HASH = hashlib.sha256(CONTENT).hexdigest()
BLOCKS = -(-len(CONTENT) // BLOCK)


@pytest.fixture
def new_site(tmp_path):
    """Makes sites that end with the test."""
    if not Path(MOSQUITTO).exists():
        pytest.skip("mosquitto is not installed: make test installs it")
    made = []

    def make(**options):
        made.append(StreamSite(tmp_path / "site", CONTENT, **options))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def start():
    """Starts devices in this process; ends them with the test."""
    running = []

    def begin(errand):
        running.append(StreamDevice(errand).start())
        return running[-1]

    yield begin
    for device in running:
        device.close()


class Eavesdropper:
    """A device with a good certificate that asks for everything."""

    def __init__(self, errand):
        self.heard, self.answers = [], []
        self.client = Client(CallbackAPIVersion.VERSION2, errand.device_id, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.tls_set(errand.ca, errand.certificate, errand.key)
        self.client.on_message = lambda _c, _d, message: self.heard.append(message.topic)
        self.client.on_publish = lambda _c, _d, _m, reason, _p: self.answers.append(str(reason))
        self.client.on_subscribe = lambda *_: self.answers.append("subscribed")
        self.client.connect("127.0.0.1", errand.port)
        self.client.loop_start()

    def say(self, topic):
        before = len(self.answers)
        self.client.publish(topic, b"x", qos=1)
        wait_until(lambda: len(self.answers) > before, what="the broker's answer")
        return self.answers[-1]

    def listen(self, topic):
        before = len(self.answers)
        self.client.subscribe(topic, qos=1)
        wait_until(lambda: len(self.answers) > before, what="the broker's answer")


def test_a_release_comes_over_the_broker_alone_and_to_nobody_else(new_site, start):
    """Metadata and file, checked by TUF; each block sent once; another device can neither listen nor ask in its name."""
    site = new_site().start(workers=2)
    spy = Eavesdropper(site.device("cam-2"))
    for topic in ("mien/v1/cam-1/stream/data", "mien/v1/+/stream/data", "mien/v1/+/stream/get", "mien/v1/#", "#"):
        spy.listen(topic)
    spy.listen("$share/streams/mien/v1/+/stream/get")
    for topic in ("mien/v1/cam-1/stream/get", "mien/v1/cam-1/stream/data", "mien/v1/cam-2/stream/data"):
        assert spy.say(topic) == "Not authorized", topic
    counted = []
    got = start(site.device("cam-1", patience_s=2.0)).fetch(counted.append)
    assert sha256_of(got) == HASH
    assert sum(counted) == len(CONTENT)
    assert site.served("cam-1", HASH) == dict.fromkeys(range(BLOCKS), 1)
    assert spy.say("mien/v1/cam-2/e") in {"Success", "No matching subscribers"}  # after everything before it
    assert spy.heard == []
    spy.client.loop_stop()


def test_two_processes_of_the_service_answer_once(new_site, start):
    """A request goes to one of them, by the shared subscription: nothing is sent twice."""
    site = new_site().start(workers=2)
    devices = [start(site.device(f"cam-{number}")) for number in range(3)]
    threads = [threading.Thread(target=device.fetch) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(3):
        assert site.served(f"cam-{number}", HASH) == dict.fromkeys(range(BLOCKS), 1)
    assert all(sum(bus.served.values()) > 0 for bus in site.buses)


def test_the_name_of_streams_orders_nothing(new_site):
    """With that certificate one can send blocks, and neither orders nor commands; nor read what devices say."""
    site = new_site().start()
    site.device("cam-1")
    party = site.folder / "streams"
    errand = replace(
        site.device("cam-9"),
        device_id="mien.fleet.streams",
        certificate=str(party / "mien.fleet.streams.pem"),
        key=str(party / "mien.fleet.streams.key"),
    )
    site.workers.pop().stop()
    thief, device = Eavesdropper(errand), Eavesdropper(site.device("cam-1"))
    for channel in ("m", "status", "twin", "desired", "#"):
        thief.listen(f"mien/v1/+/{channel}")
    for channel in ("desired", "cmd/restart/1", "status", "m", "stream/get"):
        assert thief.say(f"mien/v1/cam-1/{channel}") == "Not authorized", channel
    assert device.say("mien/v1/cam-1/m") in {"Success", "No matching subscribers"}
    assert thief.say("mien/v1/cam-1/stream/data") in {"Success", "No matching subscribers"}
    assert thief.heard == []
    for one in (thief, device):
        one.client.loop_stop()


def test_a_device_that_is_not_accepted_gets_a_named_refusal(new_site, start):
    """Its certificate opens the broker, not the registry."""
    site = new_site().start()
    device = start(site.device("cam-1"))
    site.accepted.clear()
    with pytest.raises(UpdateFault) as caught:
        device.fetch()
    assert "Unauthorized" in caught.value.found
    assert site.served("cam-1", HASH) == {}


def killed_at(errand, share):
    """Run a device as a process of its own and kill it when so much has arrived; how much that was."""
    process = subprocess.Popen(errand.command(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    arrived = 0
    for line in process.stdout:
        arrived = int(line.split()[1])
        if arrived >= share * len(CONTENT):
            break
    process.kill()
    process.wait(10)
    process.stdout.close()
    return arrived


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_killed_device_goes_on_where_it_was(new_site, share):
    """SIGKILL with blocks on their way: the next process gets those from the broker, and one at most is sent twice."""
    site = new_site(device_bytes_per_s=1e6).start()
    errand = site.device("cam-1")
    assert killed_at(errand, share) < len(CONTENT)
    done = subprocess.run(errand.command(), cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout.split()[-2:] == ["done", HASH], done.stdout + done.stderr
    served = site.served("cam-1", HASH)
    assert set(served) == set(range(BLOCKS))
    assert sum(served.values()) - BLOCKS <= 1


def test_a_broker_that_is_killed_on_the_way_costs_a_window_at_most(new_site, start):
    """The device connects again by itself, and asks for what the broker lost."""
    site = new_site(device_bytes_per_s=1e6).start()
    device, arrived, half = start(site.device("cam-1", patience_s=1.0)), [], threading.Event()

    def count(length):
        arrived.append(length)
        if sum(arrived) > len(CONTENT) / 2:
            half.set()

    fetching = threading.Thread(target=lambda: device.fetch(count))
    fetching.start()
    assert half.wait(60)
    site.kill_broker()
    site.start_broker()
    fetching.join(90)
    assert sum(arrived) == len(CONTENT)
    assert sha256_of(Path(device._state) / "got") == HASH


def test_a_lying_block_is_asked_for_again(new_site, start):
    """Damaged on its way: its own hash says so, and the file that arrives is the right one."""
    site, lied = new_site().start(), []

    def lie(block):
        wire = encode_block(block)
        if block.index == 3 and block.version == HASH and not lied:
            lied.append(block.index)
            return wire[:-1] + bytes([wire[-1] ^ 1])
        return wire

    site.buses[0].lies = lie
    device = start(site.device("cam-1", patience_s=0.5))
    assert sha256_of(device.fetch()) == HASH
    assert (lied, device.desk.counts["bad"], site.served("cam-1", HASH)[3]) == ([3], 1, 2)


def test_a_lying_file_is_refused_by_tuf_with_its_reason(new_site, start):
    """Blocks that are consistent and wrong: the signed hash says so, nothing stands under the final name, or as a part."""
    site = new_site().start()
    site.buses[0].lies = lambda block: encode_block(
        replace(block, payload=bytes(len(block.payload))) if block.version == HASH else block
    )
    device = start(site.device("cam-1"))
    with pytest.raises(UpdateFault) as caught:
        device.fetch()
    assert caught.value.code == "hash_mismatch"
    assert not (device._state / "got").exists()
    assert device.fetcher.stored_bytes() == 0


def test_a_file_that_claims_to_be_endless_is_refused_before_it_is_stored(new_site, start):
    """Its first block says more than what is signed."""
    site = new_site().start()
    site.buses[0].lies = lambda block: encode_block(replace(block, size=1 << 39) if block.version == HASH else block)
    device = start(site.device("cam-1"))
    with pytest.raises(UpdateFault) as caught:
        device.fetch()
    assert caught.value.code == "endless_data"
    assert device.fetcher.stored_bytes() == 0


def test_a_group_whose_name_is_known_would_lose_what_is_shared(new_site):
    """Why the name is a secret: who joins a group is picked in turn, may not read, and the sender is told 'Success'."""
    site, known = new_site().start(), "known"
    thief, sender = Eavesdropper(site.device("cam-2")), Eavesdropper(site.device("cam-1"))
    errand = replace(
        site.device("cam-9"),
        device_id="mien.fleet.2",
        certificate=str(site.folder / "broker" / "fleet-2.pem"),
        key=str(site.folder / "broker" / "fleet-2.key"),
    )
    member = Eavesdropper(errand)
    for one in (member, thief):
        one.listen(f"$share/{known}/mien/v1/+/m")
    answers = {sender.say("mien/v1/cam-1/m") for _ in range(20)}
    assert answers == {"Success"}
    wait_until(lambda: len(member.heard) >= 8, what="the member's share")
    assert len(member.heard) <= 12
    assert len((site.folder / "streams" / "group").read_text()) == 32
    for one in (thief, sender, member):
        one.client.loop_stop()
