"""Which word of a device is the newer one, whatever comes twice, late, or from a clock that is decades wrong."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.config import IngestSettings
from fleet.ingest.interface import Incoming
from fleet.ingest.pipeline import Ingest
from fleet.store.newer import LastWindow, is_newer, is_stale, with_boot_before
from mien.messages import Power, Status, UpdateReport, Window, encode
from mien.release import ReleaseRef

NOW = 1_800_000_000.0
IN_1970, IN_2100 = 100.0, 4_102_444_800.0
RELEASE = ReleaseRef(name="faces", version="1.0.0")


def window(sequence, *, boot="b", ended_at=NOW, name=None):
    return Window(
        window_id=name or f"w{sequence}",
        sequence=sequence,
        boot_id=boot,
        started_at=0.0,
        ended_at=ended_at,
        frames=1,
        fps=float(sequence),
        power=Power(source="none"),
    )


def last(sequence, *, boot="b", ended_at=NOW):
    return LastWindow(sequence=sequence, boot_id=boot, ended_at=ended_at)


@pytest.mark.parametrize(
    ("came", "known", "newer"),
    [
        (window(1), None, True),
        (window(2), last(1), True),
        (window(1), last(2), False),
        (window(1), last(1), True),
        (window(6, ended_at=NOW), last(5, ended_at=IN_2100), True),  # its clock was put right
        (window(6, ended_at=IN_1970), last(5), True),  # it started without a clock
        (window(4, ended_at=NOW + 60), last(5), False),  # sent late, after a step of the clock
        (window(1, boot="new"), last(900, boot="old", ended_at=NOW - 60), True),  # its spool was lost
        (window(1, boot="new"), last(900, boot="old", ended_at=IN_2100), True),  # and its clock was wrong before
        (window(7, boot="old", ended_at=NOW - 60), last(9, boot="new"), False),  # the backlog of an outage
    ],
)
def test_which_window_is_the_last(came, known, newer):
    """Numbers before clocks."""
    assert is_newer(came, known, now=NOW) is newer


def status(state, boot, at):
    return Status(state=state, boot_id=boot, agent_version="1", at=at)


@pytest.mark.parametrize("clock", [IN_1970, NOW, IN_2100])
def test_a_will_of_the_boot_before_is_stale_whatever_the_clocks_say(clock):
    """A device that starts without a clock is not shown as gone because its last boot had one."""
    known = with_boot_before(status("online", "old", NOW), {})
    known = with_boot_before(status("online", "new", clock), known)
    assert is_stale(status("offline", "old", NOW), known)
    assert is_stale(status("online", "old", NOW + 99), known)
    assert not is_stale(status("offline", "new", IN_1970), known)


def test_the_boot_before_is_kept_over_words_of_one_boot():
    """However often it says that it is there."""
    known = with_boot_before(status("online", "old", NOW), {})
    for state in ("online", "offline", "online"):
        known = with_boot_before(status(state, "new", NOW), known)
    assert known["boot_before"] == "old"


def ingest_of(store):
    return Ingest(store, IngestSettings(), clock=lambda: NOW, changed=lambda: None, connected=lambda _: None)


def sent(channel, message):
    return Incoming(topic=f"mien/v1/cam-1/{channel}", payload=encode(message))


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_windows_ends_in_the_same(store, seed):
    """Workers share them, so they come in any order, some twice, in batches of any size."""
    chance = random.Random(seed)
    words = [sent("m", window(number, ended_at=NOW + number)) for number in range(1, 30)]
    words += chance.sample(words, 10)
    chance.shuffle(words)
    ingest = ingest_of(store)
    while words:
        size = chance.randrange(1, 9)
        ingest.store(words[:size])
        words = words[size:]
    with store.read() as work:
        assert work.devices.get("cam-1").last_window["sequence"] == 29
        assert len(work.windows.latest("cam-1", 100)) == 29
    assert (ingest.counts["stored"], ingest.counts["duplicate"]) == (29, 10)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_reports_ends_with_the_newest(store, seed):
    """They are numbered."""
    chance = random.Random(seed)
    reports = [
        sent("update", UpdateReport(deployment_id="d", release=RELEASE, sequence=number, state="downloading", at=NOW))
        for number in range(8)
    ]
    reports += chance.sample(reports, 4)
    chance.shuffle(reports)
    ingest = ingest_of(store)
    for report in reports:
        ingest.store([report])
    with store.read() as work:
        assert work.devices.get("cam-1").update["sequence"] == 7


@given(st.integers(0, 9))
def test_what_is_sent_again_from_anywhere_ends_in_the_same(kill):
    """After a kill the broker sends all that was not acknowledged again, in order: the last word stays the last."""
    words = [("online", "a"), ("offline", "a"), ("online", "a"), ("online", "b"), ("offline", "a"), ("online", "b")]
    words += [("offline", "b"), ("online", "c"), ("offline", "b"), ("offline", "c")]

    def end(told):
        known = {}
        for state, boot in told:
            word = status(state, boot, NOW)
            if not is_stale(word, known):
                known = with_boot_before(word, known)
        return known["state"], known["boot_id"]

    assert end([*words, *words[kill:]]) == end(words) == ("offline", "c")


@pytest.mark.parametrize("clock", [IN_1970, IN_2100])
def test_a_wrong_clock_hides_nothing_that_comes_later(store, clock):
    """Not the windows, not whether the device is there."""
    ingest = ingest_of(store)
    ingest.store([sent("status", status("online", "b", clock)), sent("m", window(1, ended_at=clock))])
    ingest.store([sent("status", status("offline", "b", NOW)), sent("m", window(2, ended_at=NOW))])
    with store.read() as work:
        device = work.devices.get("cam-1")
    assert (device.online, device.last_window["sequence"], device.last_seen_at) == (False, 2, NOW)


def test_what_a_body_says_about_the_sender_counts_for_nothing(store):
    """The topic does, which the broker guards; a device id in the body is a field that nobody knows."""
    payload = encode(window(1))[:-1] + b',"device_id":"gone-1"}'
    ingest_of(store).store([Incoming(topic="mien/v1/cam-1/m", payload=payload)])
    with store.read() as work:
        assert [len(work.windows.latest(name, 9)) for name in ("cam-1", "gone-1")] == [1, 0]
