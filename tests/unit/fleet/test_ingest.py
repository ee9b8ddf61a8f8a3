"""Ingest: every message is stored once, garbage is counted, strangers are dropped."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.config import IngestSettings
from fleet.identity.ca import Issued
from fleet.ingest.decoding import Arrived, Bad, read
from fleet.ingest.interface import Incoming
from fleet.ingest.outbox import Outbox
from fleet.ingest.pipeline import Ingest
from mien.messages import Desired, Event, Power, Status, Twin, UpdateReport, Window, encode
from mien.release import ReleaseRef
from tests.fakes.fake_bus import FakeBus
from tests.fakes.fake_device import FACTS

NOW = 1_800_000_000.0
RELEASE = ReleaseRef(name="faces", version="1.0.0")


def window(number=1, **given):
    values = {
        "window_id": f"w{number}",
        "sequence": number,
        "boot_id": "b",
        "started_at": NOW,
        "ended_at": NOW + number,
    }
    return Window(**(values | {"frames": 20, "fps": 10.0, "release": RELEASE, "power": Power(source="none")} | given))


def incoming(channel, message, device="cam-1"):
    payload = message if isinstance(message, bytes) else encode(message)
    return Incoming(topic=f"mien/v1/{device}/{channel}", payload=payload)


@pytest.fixture
def ingest(store):
    return Ingest(store, IngestSettings(), clock=lambda: NOW, changed=lambda: None, connected=lambda _: None)


def device(store, device_id="cam-1"):
    with store.read() as work:
        return work.devices.find(device_id)


def windows(store):
    with store.read() as work:
        return work.windows.latest("cam-1", 100)


def test_windows_are_stored_once(store, ingest):
    """The broker may deliver a window again, in the same batch or in a later one."""
    ingest.store([incoming("m", window(1)), incoming("m", window(1)), incoming("m", window(2))])
    ingest.store([incoming("m", window(2))])
    assert [w.window_id for w in sorted(windows(store), key=lambda w: w.sequence)] == ["w1", "w2"]
    assert ingest.counts["duplicate"] == 2


def test_two_devices_may_use_the_same_window_id(store, ingest):
    """Ids are unique for a device, not for the fleet."""
    with store.write() as work:
        work.devices.add("cam-2", "lab", Issued(pem="-", serial="2", expires_at=0), at=NOW)
    ingest.store([incoming("m", window(1)), incoming("m", window(1), "cam-2")])
    assert ingest.counts["stored"] == 2


def test_the_last_figures_survive_late_windows(store, ingest):
    """A window from the spool of an outage is stored, but is not what the device does now."""
    ingest.store([incoming("m", window(9, fps=30.0))])
    ingest.store([incoming("m", window(2, fps=1.0))])
    assert device(store).last_window["fps"] == 30.0
    assert len(windows(store)) == 2


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"window_id": 5}',
        b"{" * 5000,
        b"x" * 200_000,
        encode(window(1)).replace(b'"fps":10.0', b'"fps":-1'),
        encode(window(1)).replace(b'"fps":10.0', b'"fps":NaN'),
        encode(window(1))[:-1] + b',"extra":1e999}',
        encode(window(1))[:-1] + b',"temperature_c":{"cpu":NaN}}',
    ],
    ids=lambda payload: repr(payload[:12]),
)
def test_garbage_is_counted_and_stops_nothing(store, ingest, payload):
    """A good message in the same batch is stored."""
    ingest.store([incoming("m", payload), incoming("m", window(7))])
    assert [w.window_id for w in windows(store)] == ["w7"]
    assert ingest.counts["bad"] == (1 if payload else 0)


@given(st.binary(max_size=300), st.sampled_from(["status", "twin", "m", "e", "update", "desired", "x/y"]))
def test_any_bytes_are_a_message_or_bad(payload, channel):
    """Decoding raises nothing, whatever arrives."""
    found = read(Incoming(topic=f"mien/v1/cam-1/{channel}", payload=payload))
    assert found is None or isinstance(found, Arrived | Bad)


@given(st.text(max_size=60))
def test_any_topic_is_known_or_bad(topic):
    """Nor does a strange topic."""
    assert isinstance(read(Incoming(topic=topic, payload=b"{}")), Bad)


@pytest.mark.parametrize("stranger", ["gone-1", "never-enrolled"])
def test_messages_of_strangers_are_dropped(store, ingest, stranger):
    """Revoked and unknown devices are counted and change nothing."""
    ingest.store([incoming("m", window(1), stranger), incoming("m", window(2))])
    assert ingest.counts["unknown_device"] == 1
    assert [w.window_id for w in windows(store)] == ["w2"]


def test_a_device_is_online_until_its_will_comes(store, ingest):
    """The will is the offline form of its status."""
    ingest.store([incoming("status", Status(state="online", boot_id="b", agent_version="1", at=NOW))])
    assert device(store).online
    ingest.store([incoming("status", Status(state="offline", boot_id="b", agent_version="1", at=NOW))])
    assert not device(store).online


def test_a_late_will_of_an_earlier_boot_is_ignored(store, ingest):
    """A device that came back at once is not shown as gone."""
    ingest.store([incoming("status", Status(state="online", boot_id="new", agent_version="1", at=NOW + 5))])
    ingest.store([incoming("status", Status(state="offline", boot_id="old", agent_version="1", at=NOW))])
    assert device(store).online


def test_the_twin_says_what_a_device_runs(store, ingest):
    """Its release and what it refuses come from itself."""
    twin = Twin(
        facts=FACTS, hardware_class="c", active=RELEASE, known_bad=(ReleaseRef(name="faces", version="9.0.0"),), at=NOW
    )
    ingest.store([incoming("twin", twin)])
    assert device(store).release == "faces@1.0.0"
    assert device(store).known_bad == {"faces@9.0.0"}


def test_an_older_report_never_overwrites_a_newer(store, ingest):
    """Reports may overtake each other; their sequence decides."""
    for sequence, state in ((5, "probing"), (3, "downloading")):
        report = UpdateReport(deployment_id="d1", release=RELEASE, sequence=sequence, state=state, at=NOW)
        ingest.store([incoming("update", report)])
    assert device(store).update["state"] == "probing"


def test_events_are_stored_once(store, ingest):
    """Like windows."""
    event = Event(event_id="e1", at=NOW, kind="throttled", severity="warning", message="hot")
    ingest.store([incoming("e", event)])
    ingest.store([incoming("e", event)])
    with store.read() as work:
        assert [item.event.message for item in work.events.latest(10)] == ["hot"]


def test_unknown_fields_are_kept(store, ingest):
    """A newer agent's words are there for a newer fleet."""
    payload = json.dumps(json.loads(encode(window(1))) | {"npu_percent": 12.5}).encode()
    ingest.store([incoming("m", payload)])
    assert windows(store)[0].model_dump()["npu_percent"] == 12.5


def desired(name="d1"):
    return Desired(deployment_id=name, release=RELEASE, manifest_sha256="0" * 64, issued_at=NOW)


def test_the_outbox_sends_what_changed_once(store):
    """What the broker confirmed is not sent again."""
    bus = FakeBus()
    outbox = Outbox(store, bus)
    with store.write() as work:
        work.devices.desire("cam-1", desired())
    assert [outbox.flush(), outbox.flush()] == [1, 0]
    assert json.loads(bus.published["mien/v1/cam-1/desired"])["deployment_id"] == "d1"


def test_the_outbox_keeps_what_was_not_confirmed(store):
    """A broker that does not answer, or is not there, costs nothing but time."""
    bus = FakeBus()
    outbox = Outbox(store, bus)
    with store.write() as work:
        work.devices.desire("cam-1", desired())
    bus.confirms = False
    assert outbox.flush() == 0
    bus.confirms, bus.is_connected = True, False
    assert outbox.flush() == 0
    bus.is_connected = True
    assert outbox.flush() == 1


def test_a_broker_that_lost_everything_is_told_again(store):
    """After a connection without a session, all that is wanted is sent again."""
    bus = FakeBus()
    outbox = Outbox(store, bus)
    with store.write() as work:
        work.devices.desire("cam-1", desired())
    outbox.flush()
    bus.published.clear()
    outbox.send_all()
    assert outbox.flush() == 1
    assert "mien/v1/cam-1/desired" in bus.published


def test_nothing_wanted_clears_the_topic(store):
    """An empty payload removes what the broker retains."""
    bus = FakeBus()
    with store.write() as work:
        work.devices.desire("cam-1", desired())
        work.devices.desire("cam-1", None)
    Outbox(store, bus).flush()
    assert bus.published == {"mien/v1/cam-1/desired": b""}
