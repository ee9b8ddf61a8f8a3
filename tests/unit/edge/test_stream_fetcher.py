"""A file in blocks over a channel that fails: the right bytes arrive, or a named reason why not."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    SlowRetrievalError,
)

from edge.transport.pace import Pace, Throttle
from edge.transport.retry import ServerBusyError
from edge.transport.stream_plan import Pacing
from edge.transport.streams import StreamFetcher
from mien.streams import Block, Refusal, encode_refusal
from tests.fakes.stream_channel import ChannelDesk, Faults, Served

CONTENT = bytes(range(256)) * 40 + b"end"
HASH = hashlib.sha256(CONTENT).hexdigest()
NAME = f"targets/faces/1.0.0/{HASH}.model.onnx"
URL = f"https://fleet/tuf/{NAME}"
TIMESTAMP = "https://fleet/tuf/metadata/timestamp.json"


def fetcher_of(desk, begun=None, **pacing):
    return StreamFetcher(
        desk,
        "https://fleet/tuf/metadata/",
        "https://fleet/tuf/targets/",
        pacing=Pacing(**{"block_bytes": 256, **pacing}),
        pace=lambda: Pace(clock=desk.clock),
        begun=begun,
        clock=desk.clock,
    )


def fetched(fetcher, url=URL, most=len(CONTENT)):
    with fetcher.download_file(url, most) as stream:
        return stream.read()


@pytest.fixture
def served():
    return Served({NAME: CONTENT, "metadata/timestamp.json": b'{"v": 1}'})


@pytest.fixture
def desk(tmp_path, served):
    return ChannelDesk(tmp_path / "parts", served)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**32),
    st.builds(
        Faults,
        lost=st.floats(0, 0.4),
        doubled=st.floats(0, 0.5),
        damaged=st.floats(0, 0.3),
        late=st.floats(0, 0.5),
    ),
    st.integers(0, 9000),
    st.integers(1, 12),
)
def test_whatever_is_lost_doubled_late_or_damaged_the_bytes_are_right(tmp_path, seed, faults, size, window):
    """Any schedule of faults ends in exactly the file, and leaves no part."""
    content = hashlib.shake_128(str(seed).encode()).digest(size)
    name = f"targets/f/{hashlib.sha256(content).hexdigest()}.bin"
    desk = ChannelDesk(tmp_path / f"{seed}", Served({name: content}), faults, seed=seed)
    fetcher = fetcher_of(desk, most_in_flight=window, attempts=60)
    assert fetched(fetcher, f"https://fleet/tuf/{name}", size) == content
    assert fetcher.stored_bytes() == 0


def test_without_faults_every_block_is_asked_for_once(desk, served):
    """And never more of them are under way than the window allows."""
    assert fetched(fetcher_of(desk, most_in_flight=6)) == CONTENT
    assert sorted(served.blocks) == [(NAME, index) for index in range(41)]
    assert max(int(get.bitmap, 16).bit_count() for get in served.requests) <= 6


def test_what_is_on_the_disk_is_not_asked_for_again(desk, served, tmp_path):
    """Cut in the middle, gone on with by another process: the rest is fetched, and nothing twice."""

    class Cut(Exception):  # noqa: N818
        pass

    arrived = []

    def cut(count):
        arrived.append(count)
        if sum(arrived) > 8000:
            raise Cut

    fetcher = fetcher_of(desk)
    with pytest.raises(Cut), fetcher.counting(cut):
        fetched(fetcher)
    before = len(served.blocks)
    again = ChannelDesk(tmp_path / "parts", served)
    for _, _, late in desk._on_way:
        again.received(late)  # the broker kept it: nobody had acknowledged it
    assert again.counts["stray"] == 0
    assert fetched(fetcher_of(again)) == CONTENT
    assert 30 <= before < 41
    assert sorted(served.blocks) == [(NAME, index) for index in range(41)]


def test_a_block_whose_bytes_changed_on_the_disk_is_fetched_again(desk, served, tmp_path):
    """A power cut left a hole that the map says is filled: it does not count."""
    fetcher = fetcher_of(desk)
    with pytest.raises(ZeroDivisionError), fetcher.counting(lambda _: 1 // (desk.counts["blocks"] < 20)):
        fetched(fetcher)
    (content,) = (tmp_path / "parts").glob("*.stream")
    with content.open("r+b") as stream:
        stream.seek(3 * 256)
        stream.write(bytes(256))
    assert fetched(fetcher_of(ChannelDesk(tmp_path / "parts", served))) == CONTENT
    assert served.blocks.count((NAME, 3)) == 2


def test_a_file_larger_than_signed_is_refused_before_anything_is_stored(desk, tmp_path):
    """Its first block says how large it is, and no part is made."""
    with pytest.raises(DownloadLengthMismatchError):
        fetched(fetcher_of(desk), most=len(CONTENT) - 1)
    assert list((tmp_path / "parts").glob("*")) == []


def test_a_lying_file_is_thrown_away_when_its_hash_is_refused(desk, served, tmp_path):
    """Consistent blocks of other bytes: whoever checks the file says so, and the part does not stay."""
    served.lies = lambda block: _with(block, payload=b"\0" * len(block.payload))
    with pytest.raises(LengthOrHashMismatchError), fetcher_of(desk).download_file(URL, len(CONTENT)) as stream:
        assert hashlib.sha256(stream.read()).hexdigest() != HASH
        raise LengthOrHashMismatchError
    assert list((tmp_path / "parts").glob("*")) == []


def test_blocks_of_another_file_are_not_mixed_in(desk, served):
    """A server that answers with another content than was asked for is not heard, and times out by name."""
    served.lies = lambda block: _with(block, version="00" * 32)
    with pytest.raises(SlowRetrievalError, match="asked 2 times"):
        fetched(fetcher_of(desk, attempts=2))


def test_a_file_that_is_not_there_is_404_for_tuf(desk):
    """As TUF expects of a root that has no successor."""
    with pytest.raises(DownloadHTTPError) as caught:
        fetched(fetcher_of(desk), "https://fleet/tuf/metadata/2.root.json", 1000)
    assert caught.value.status_code == 404


def test_a_silent_fleet_is_asked_ever_more_seldom(desk):
    """Each silence is waited out twice as long, and the last one is named."""
    desk.is_away = True
    with pytest.raises(SlowRetrievalError):
        fetched(fetcher_of(desk, attempts=4, patience_s=1.0))
    assert 1015 <= desk.now <= 1020


@pytest.mark.parametrize("name", ["Unauthorized", "InvalidRequest", "BlockSizeOutOfBounds", "InternalError"])
def test_a_refusal_keeps_its_name(desk, served, name):
    """The reason of the fleet reaches whoever reads the device's report."""
    served.answers = lambda get: [encode_refusal(Refusal(request_id=get.request_id, error=name, detail="why"))]
    with pytest.raises(DownloadError, match=rf"{name} \(why\)"):
        fetched(fetcher_of(desk))


def test_a_fleet_that_sheds_load_is_waited_for(desk, served):
    """Busy for some seconds costs those seconds and no attempt."""
    answers, busy_until = served.answers, desk.now + 20

    def shedding(get):
        if desk.now < busy_until:
            return [encode_refusal(Refusal(request_id=get.request_id, error="Busy", retry_after_s=4))]
        return answers(get)

    served.answers = shedding
    assert fetched(fetcher_of(desk, attempts=1)) == CONTENT
    assert len(served.requests) < 20


def test_a_fleet_that_sheds_load_for_long_is_told_upwards(desk, served):
    """With how long it wants to be left alone."""
    served.answers = lambda get: [encode_refusal(Refusal(request_id=get.request_id, error="Busy", retry_after_s=300))]
    with pytest.raises(ServerBusyError) as caught:
        fetched(fetcher_of(desk))
    assert caught.value.wait_s == 300


def test_metadata_is_always_fetched_anew(desk, served):
    """What an earlier process left of a name without a hash is not taken for today's content."""
    assert fetched(fetcher_of(desk), TIMESTAMP, 1000) == b'{"v": 1}'
    served.files["metadata/timestamp.json"] = b'{"v": 2}'
    assert fetched(fetcher_of(desk), TIMESTAMP, 1000) == b'{"v": 2}'


def test_metadata_that_changes_meanwhile_is_begun_anew(desk, served):
    """The version of the first block is asked for from then on; when it is gone, the new one is fetched whole."""
    old, new = b"a" * 3000, b"b" * 2000
    served.files["metadata/7.targets.json"] = old

    def change(block):
        if block.index == 0:
            served.files["metadata/7.targets.json"] = new
        return block

    served.lies = change
    assert fetched(fetcher_of(desk), "https://fleet/tuf/metadata/7.targets.json", 5000) == new


def test_a_bandwidth_limit_holds_whoever_keeps_it(desk, served):
    """Who counts bytes may sleep: no more than a window is asked for meanwhile, nothing twice, and nobody is blamed."""
    throttle = Throttle(1024.0, clock=desk.clock)

    def counted(count):
        desk.now += throttle.took(count)

    fetcher = fetcher_of(desk, patience_s=1.0, attempts=1)
    with fetcher.counting(counted):
        assert fetched(fetcher) == CONTENT
    assert desk.now - 1000 >= len(CONTENT) / 1024 - 2
    assert len(served.blocks) == 41


def test_a_dripping_fleet_is_not_waited_for(desk, served):
    """A block now and then that just beats the patience is slower than anybody waits for."""
    answers = served.answers
    served.answers = lambda get: answers(get)[:1]
    desk.faults = Faults(late=1.0)
    with pytest.raises(SlowRetrievalError, match="fewer than"):
        fetched(fetcher_of(desk, most_in_flight=1, patience_s=30, attempts=99))


def test_an_address_of_nobody_is_refused(desk):
    """Only what lies below the two folders has a name."""
    with pytest.raises(DownloadError, match="no address"):
        fetched(fetcher_of(desk), "https://elsewhere/x", 10)


def test_whoever_counts_can_end_it_while_nothing_comes(desk):
    """A device that shuts down does not wait for a silent fleet."""
    desk.is_away = True
    fetcher = fetcher_of(desk)
    with pytest.raises(ZeroDivisionError), fetcher.counting(lambda count: 1 // count):
        fetched(fetcher)
    assert desk.now < 1003


@pytest.mark.parametrize("have", [0, 100, 256 * 30 + 7, len(CONTENT)])
def test_what_https_has_brought_is_not_fetched_again(desk, served, tmp_path, have):
    """A part of HTTPS becomes the beginning of the stream's, whole blocks of it, and is used up."""
    part = tmp_path / "https.part"
    part.write_bytes(CONTENT[:have])
    assert fetched(fetcher_of(desk, begun=lambda _: part)) == CONTENT
    first = have // 256 if have < len(CONTENT) else 41
    assert sorted(index for _, index in served.blocks) == list(range(first, 41))
    assert not part.exists()


def test_what_https_has_brought_wrongly_is_used_once(desk, served, tmp_path):
    """The whole file's hash finds it; the next try begins without it."""
    part = tmp_path / "https.part"
    part.write_bytes(b"x" * 3000)
    fetcher = fetcher_of(desk, begun=lambda _: part)
    with pytest.raises(LengthOrHashMismatchError), fetcher.download_file(URL, len(CONTENT)):
        raise LengthOrHashMismatchError
    assert fetched(fetcher) == CONTENT


def test_a_part_longer_than_signed_is_left_alone(desk, tmp_path):
    """It is of no file that is wanted."""
    part = tmp_path / "https.part"
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    assert fetched(fetcher_of(desk, begun=lambda _: part)) == CONTENT
    assert part.exists()


def _with(block, **change):
    fields = {name: getattr(block, name) for name in Block.__dataclass_fields__}
    return Block(**(fields | change))
