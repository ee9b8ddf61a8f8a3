"""The spool on a real SQLite file: order, bounds, counters, damage, and a disk that refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.telemetry.spool import Spool, SpoolLimits
from mien import topics
from mien.messages import MAX_PAYLOAD_BYTES, Event, Power, Window, decode

SMALL = SpoolLimits(most_bytes=64 * 1024)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 5000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(memory_path: Path) -> Path:
    """Where the spool is."""
    return memory_path / "spool.sqlite"


@pytest.fixture
def clock() -> Clock:
    """The spool's time."""
    return Clock()


@pytest.fixture
def reopen(path: Path, clock: Clock) -> Iterator[Callable[..., Spool]]:
    """Opens the spool as a new process would, after closing it where it is open."""
    opened: list[Spool] = []

    def again(limits: SpoolLimits = SMALL) -> Spool:
        if opened:
            opened.pop().close()
        opened.append(Spool(path, limits=limits, clock=clock))
        return opened[0]

    yield again
    for spool in opened:
        spool.close()


@pytest.fixture
def spool(reopen: Callable[..., Spool]) -> Spool:
    """An empty spool of 64 kB."""
    return reopen()


def window(number: int, seconds: float = 10.0, frames: int = 7) -> Window:
    """The window that covers the seconds from ``number`` times its length on."""
    return Window(
        window_id=f"w{number}",
        sequence=0,
        boot_id="b",
        started_at=1e6 + number * seconds,
        ended_at=1e6 + (number + 1) * seconds,
        frames=frames,
        fps=frames / seconds,
        power=Power(source="none"),
    )


def put(spool: Spool, numbers: range) -> None:
    """Put windows."""
    for number in numbers:
        spool.put_window(window(number))


def windows(spool: Spool) -> list[Window]:
    """The windows that wait."""
    waiting = spool.waiting(topics.WINDOW, most=100_000)
    return [decode(Window, item.payload, source="spool") for item in waiting]


def events(spool: Spool, kind: str) -> list[Event]:
    """The events of a kind that wait."""
    waiting = spool.waiting(topics.EVENT, most=100_000)
    found = [decode(Event, item.payload, source="spool") for item in waiting if item.payload.startswith(b"{")]
    return [event for event in found if event.kind == kind]


def payloads(spool: Spool) -> list[bytes]:
    """All that waits, in order."""
    return [item.payload for item in spool.waiting(most=100_000)]


def test_messages_come_back_in_order(spool: Spool) -> None:
    """First in, first out, across channels."""
    for number in range(5):
        spool.put("m" if number % 2 else "e", str(number).encode())
    assert payloads(spool) == [b"0", b"1", b"2", b"3", b"4"]


def test_messages_survive_a_restart_until_they_are_done(spool: Spool, reopen: Callable[..., Spool]) -> None:
    """What was not acknowledged is there at the next start."""
    spool.put("m", b"one")
    spool.put("m", b"two")
    spool.done(spool.waiting(most=1)[0].item_id)
    again = reopen()
    assert payloads(again) == [b"two"]
    assert len(again) == 1


def test_numbers_rise_over_restarts(spool: Spool, reopen: Callable[..., Spool]) -> None:
    """A window's number is never given twice, nor is one left out."""
    assert [spool.put_window(window(number)).sequence for number in range(2)] == [1, 2]
    again = reopen()
    assert again.put_window(window(2)).sequence == 3
    assert [found.sequence for found in windows(again)] == [1, 2, 3]


def test_a_full_spool_loses_detail_before_windows(spool: Spool) -> None:
    """Ten times what fits: every frame and every number is still there, the oldest coarsest, within the bound."""
    put(spool, range(2500))
    kept = windows(spool)
    assert spool.size_bytes <= SMALL.most_bytes
    assert sum(found.frames for found in kept) == 2500 * 7
    covered = [number for found in kept for number in range(found.sequence - found.merged + 1, found.sequence + 1)]
    assert covered == list(range(1, 2501))
    assert kept[0].merged > 1 == kept[-1].merged
    assert spool.lost == {"window": 0, "event": 0, "update": 0}


def test_a_window_that_was_sent_is_never_merged(spool: Spool, reopen: Callable[..., Spool]) -> None:
    """What a broker may have keeps its content, over a restart too, while all around it is thinned."""
    put(spool, range(20))
    handed = spool.claim(spool.waiting(topics.WINDOW, after=5, most=3))
    again = reopen()
    put(again, range(20, 1500))
    kept = {item.item_id: item.payload for item in again.waiting(most=100_000)}
    assert [kept[item.item_id] for item in handed] == [item.payload for item in handed]
    assert windows(again)[0].merged > 1


def test_what_was_merged_since_it_was_read_is_not_sent(spool: Spool) -> None:
    """A window that gave way between reading and sending is left out; another takes its turn."""
    put(spool, range(20))
    read = spool.waiting(topics.WINDOW, most=6)
    put(spool, range(20, 1000))
    assert spool.claim(read) == []


def test_given_up_windows_are_counted_and_told(reopen: Callable[..., Spool]) -> None:
    """Where nothing can be merged, the oldest go; delivered, waiting and told losses add up, over a restart too."""
    spool = reopen()
    for number in range(0, 1200, 2):  # every second one: no two are neighbours in time
        spool.put_window(window(number))
    lost = spool.lost["window"]
    assert lost > 0
    again = reopen()
    last = again.put_window(window(2000))
    kept = windows(again)
    told = sum(found.dropped_messages.get("window", 0) for found in kept)
    assert told == again.lost["window"] >= lost
    assert sum(found.merged for found in kept) + told == 601
    assert last.sequence == 601
    assert [event.severity for event in events(again, "messages_dropped")] == ["warning"]


def test_windows_give_way_before_events_before_reports(reopen: Callable[..., Spool]) -> None:
    """Events are kept although they are older, and update reports longest of all."""
    spool = reopen()
    spool.put(topics.UPDATE, b"report")
    spool.put(topics.EVENT, b"event")
    for number in range(2000):
        spool.put("m", str(number).encode())
    assert {item.payload for item in spool.waiting("e", "update", most=100)} >= {b"report", b"event"}
    for number in range(2000):
        spool.put("e", str(number).encode() * 20)
    assert spool.waiting("m", most=1) == []
    assert b"event" not in payloads(spool)
    assert b"report" in payloads(spool)
    assert spool.size_bytes <= SMALL.most_bytes
    assert spool.lost["window"] == 2000


def test_age_thins_and_then_gives_up(reopen: Callable[..., Spool], clock: Clock) -> None:
    """After two days ten minutes become one window; after thirty they go, counted; update reports stay."""
    spool = reopen(SpoolLimits())
    spool.put(topics.UPDATE, b"report")
    put(spool, range(120))
    clock.now_s += 3 * 86_400
    put(spool, range(30_000, 30_001))
    kept = windows(spool)
    assert [found.merged for found in kept] == [60, 60, 1]
    clock.now_s += 28 * 86_400
    put(spool, range(60_000, 60_001))
    assert [found.merged for found in windows(spool)] == [1, 1]
    assert spool.lost["window"] == 120
    assert payloads(spool)[0] == b"report"


def test_age_counts_only_while_the_device_runs(reopen: Callable[..., Spool], clock: Clock) -> None:
    """The clock goes on over restarts, and nothing ages while nothing runs or because a clock was set."""
    spool = reopen(SpoolLimits())
    put(spool, range(3))
    clock.now_s += 20 * 86_400
    put(spool, range(500_000, 500_001))
    again = reopen(SpoolLimits())
    clock.now_s += 11 * 86_400
    put(again, range(900_000, 900_001))
    assert again.lost["window"] == 3


def test_a_message_that_no_broker_takes_is_counted(spool: Spool) -> None:
    """One that is too large would end every connection: it is refused at once."""
    assert not spool.put("e", bytes(MAX_PAYLOAD_BYTES + 1))
    assert spool.lost["event"] == 1
    assert spool.put_window(window(1)).dropped_messages == {"event": 1}
    assert spool.put_window(window(2)).dropped_messages == {}


def test_the_latest_message_stays_after_it_was_sent(spool: Spool, reopen: Callable[..., Spool]) -> None:
    """The status command shows it."""
    spool.put("m", b"one")
    spool.done(1)
    assert reopen().latest("m") == b"one"


def test_a_file_of_the_version_before_is_taken_over(path: Path, reopen: Callable[..., Spool]) -> None:
    """Its messages wait on, and count as sent, since that is not known."""
    old = sqlite3.connect(path)
    old.execute(
        "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, payload BLOB NOT NULL, "
        "stored_at REAL NOT NULL)"
    )
    old.execute("CREATE TABLE latest (channel TEXT PRIMARY KEY, payload BLOB NOT NULL, stored_at REAL NOT NULL)")
    old.execute("CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
    old.execute("INSERT INTO counters VALUES ('window', 41)")
    old.execute("INSERT INTO outbox (channel, payload, stored_at) VALUES ('m', ?, 1)", (b"one",))
    old.commit()
    old.close()
    spool = reopen()
    assert [(item.payload, item.sent) for item in spool.waiting(most=10)] == [(b"one", True)]
    assert spool.put_window(window(1)).sequence == 42
    assert len(payloads(spool)) == 2


def _stored(path: Path, count: int = 300) -> None:
    """A spool's file with windows, all of it in the main file."""
    spool = Spool(path, limits=SpoolLimits())
    put(spool, range(count))
    spool.close()


def _damage(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes([0xA5]) * length)


def _after_damage(path: Path, reopen: Callable[..., Spool]) -> tuple[Spool, Event]:
    spool = reopen(SpoolLimits())
    assert list(path.parent.glob("spool.sqlite.damaged-*"))
    (event,) = events(spool, "spool_damaged")
    assert event.severity == "error"
    assert event.details["reason"]
    return spool, event


def test_a_file_that_is_no_database_is_set_aside(path: Path, reopen: Callable[..., Spool]) -> None:
    """The device starts with an empty spool, tells why, and keeps the damaged one for a look."""
    path.write_bytes(b"this is no database, but longer than a header of one hundred bytes" * 4)
    spool, event = _after_damage(path, reopen)
    assert event.details["salvaged"] == 0
    assert spool.put("m", b"one")
    assert payloads(spool)[-1] == b"one"


def test_a_damaged_header_costs_no_message(path: Path, reopen: Callable[..., Spool]) -> None:
    """With the first hundred bytes gone, all messages and the numbering are saved."""
    _stored(path)
    _damage(path, 0, 100)
    spool, event = _after_damage(path, reopen)
    assert event.details["salvaged"] == 300
    assert [found.sequence for found in windows(spool)] == list(range(1, 301))
    assert spool.put_window(window(300)).sequence == 301


def test_damage_in_the_middle_costs_what_lies_there(path: Path, reopen: Callable[..., Spool]) -> None:
    """Messages before and behind the damage are saved; numbers go on above all of them."""
    _stored(path)
    _damage(path, path.stat().st_size // 2 // 4096 * 4096, 8192)
    spool, event = _after_damage(path, reopen)
    numbers = [found.sequence for found in windows(spool)]
    assert 200 < len(numbers) == event.details["salvaged"] < 300
    assert (numbers[0], numbers[-1]) == (1, 300)
    assert spool.put_window(window(300)).sequence == 301


def test_numbers_go_on_where_the_counters_are_lost(path: Path, reopen: Callable[..., Spool]) -> None:
    """The newest saved window says how far they were."""
    _stored(path)
    other = sqlite3.connect(path)
    page = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'counters'").fetchone()[0]
    other.close()
    _damage(path, (page - 1) * 4096, 4096)
    spool, event = _after_damage(path, reopen)
    assert event.details["salvaged"] == 300
    assert spool.put_window(window(300)).sequence == 301


def test_damage_that_comes_while_it_runs_is_survived(path: Path, reopen: Callable[..., Spool]) -> None:
    """The spool is replaced under the running device, and what is put then is kept."""
    _stored(path, 3000)
    spool = reopen(SpoolLimits())
    spool._ledger._connection.execute("PRAGMA cache_size=1")  # else all of it would be in memory still
    spool._ledger._connection.execute("PRAGMA shrink_memory")
    _damage(path, 4096, path.stat().st_size - 8192)
    assert spool.waiting(topics.WINDOW, most=5000) is not None
    kept = spool.put_window(window(3000))
    assert windows(spool)[-1] == kept
    assert kept.sequence == 3001
    assert events(spool, "spool_damaged")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
def test_a_truncated_log_leaves_what_was_whole(
    path: Path, reopen: Callable[..., Spool], keep: float, tmp_path: Path
) -> None:
    """SQLite's log, cut anywhere, gives back its whole transactions: a beginning without a hole, and numbers go on."""
    spool = reopen(SpoolLimits())
    put(spool, range(100))
    copy = tmp_path / "spool.sqlite"  # as a power cut would leave it: the file is still open there
    copy.write_bytes(path.read_bytes())
    log = path.with_name("spool.sqlite-wal").read_bytes()
    copy.with_name("spool.sqlite-wal").write_bytes(log[: int(len(log) * keep)])

    cut = Spool(copy, limits=SpoolLimits())
    numbers = [found.sequence for found in windows(cut)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert cut.put_window(window(100)).sequence == len(numbers) + 1
    cut.close()


def test_few_damaged_files_are_kept(path: Path, reopen: Callable[..., Spool]) -> None:
    """A disk that rots does not fill up with them."""
    for _ in range(6):
        path.write_bytes(b"no database" * 100)
        Spool(path).close()
    assert len([found for found in path.parent.glob("*.damaged-*") if found.name[-1].isdigit()]) == 3


def test_a_refusing_disk_leaves_messages_in_memory(reopen: Callable[..., Spool], clock: Clock) -> None:
    """While SQLite may not grow, new messages wait in memory and can be sent; then the disk gets them, in order."""
    spool = reopen(SpoolLimits())
    put(spool, range(3))
    connection = spool._ledger._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    put(spool, range(3, 200))
    assert [found.sequence for found in windows(spool)] == list(range(1, 201))
    (refused,) = events(spool, "spool_refused")
    assert "full" in refused.message
    held = spool.claim(spool.waiting(topics.WINDOW, after=spool.last_id - 1, most=1))
    assert len(held) == 1
    spool.done(held[0].item_id)
    connection.execute("PRAGMA max_page_count=1000000")
    clock.now_s += 100.0
    put(spool, range(200, 201))
    again = reopen(SpoolLimits())
    numbers = [found.sequence for found in windows(again)]
    assert numbers == [number for number in range(1, 202) if number != 200]
    assert len(events(again, "spool_back")) == 1


def test_a_disk_that_takes_some_writes_is_told_once(reopen: Callable[..., Spool], clock: Clock) -> None:
    """Refusals that come and go are one event, and the all-clear waits for a quiet minute."""
    spool = reopen(SpoolLimits())
    connection = spool._ledger._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    for turn in range(10):
        connection.execute(f"PRAGMA max_page_count={pages if turn % 2 else 1_000_000}")
        put(spool, range(100 * turn, 100 * turn + 60))
        clock.now_s += 10.0
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute("PRAGMA max_page_count=1000000")
    for _ in range(10):
        put(spool, range(5000, 5001))
        clock.now_s += 10.0
    assert [len(events(spool, kind)) for kind in ("spool_refused", "spool_back")] == [1, 1]


def test_memory_is_bounded_too(reopen: Callable[..., Spool]) -> None:
    """A disk that refuses for days: windows in memory are merged, and not one is lost."""
    spool = reopen(SpoolLimits(most_bytes=512 * 1024))
    spool._ledger._connection.execute("PRAGMA max_page_count=1")
    put(spool, range(5000))
    assert spool._ledger.held_bytes <= 512 * 1024 / 16
    assert sum(found.frames for found in windows(spool)) == 5000 * 7
    assert spool.lost["window"] == 0
