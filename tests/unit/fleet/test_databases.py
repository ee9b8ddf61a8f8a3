"""What both databases must do alike, and what keeps a PostgreSQL's password and way safe."""

import itertools
import threading

import pytest
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from fleet.config import IngestSettings
from fleet.ingest.interface import Incoming
from fleet.ingest.mqtt_bus import subscriptions
from fleet.ingest.pipeline import Ingest
from fleet.store.database import Store, _engine, is_conflict, open_store
from fleet.store.windows import StoredWindow
from mien.errors import ConfigError, MienError, UnavailableError
from mien.messages import Power, Window, encode
from mien.release import ReleaseRef

NOW = 1_800_000_000.0


def window(number):
    return StoredWindow(
        device_id="cam-1",
        window=Window(
            window_id=f"w{number}",
            sequence=number,
            boot_id="b",
            started_at=float(number),
            ended_at=number + 10.0,
            frames=1,
            fps=1.0,
            power=Power(source="none"),
        ),
    )


@pytest.mark.parametrize("count", [0, 1, 249, 250, 251, 600])
def test_rows_go_in_once_in_parts_of_any_size(store, count):
    """Some are there already, some are twice in one batch."""
    with store.write(beside=True) as work:
        assert work.windows.add([window(0)], at=NOW) == 1
    batch = [window(number) for number in range(count)]
    with store.write(beside=True) as work:
        assert work.windows.add([*batch, *batch[:5]], at=NOW) == max(count - 1, 0)
    with store.read() as work:
        found = work.windows.latest("cam-1", 1000)
    assert sorted(item.sequence for item in found) == list(range(max(count, 1)))


def test_a_row_of_a_device_that_is_not_there_is_refused_with_its_batch(store):
    """The databases keep the reference, and nothing of the batch stays."""
    stranger = StoredWindow(device_id="nobody", window=window(2).window)
    with pytest.raises(IntegrityError), store.write(beside=True) as work:
        work.windows.add([window(1), stranger], at=NOW)
    with store.read() as work:
        assert work.windows.latest("cam-1", 9) == []


def test_a_value_that_a_column_cannot_take_costs_that_message_alone(store):
    """A version number of 300 digits is one, and PostgreSQL has no room for it."""
    ingest = Ingest(store, IngestSettings(), clock=lambda: NOW, changed=lambda: None, connected=lambda _: None)
    endless = ReleaseRef(name="faces", version="1.0." + "9" * 300)
    bodies = [encode(window(number).window) for number in range(9)]
    bodies.insert(4, encode(window(99).window.model_copy(update={"release": endless})))
    ingest.store([Incoming(topic="mien/v1/cam-1/m", payload=body) for body in bodies])
    with store.read() as work:
        found = {item.sequence for item in work.windows.latest("cam-1", 100)}
    assert found >= set(range(9))
    assert (99 in found) is (ingest.counts["bad"] == 0)
    assert ingest.counts["stored"] == len(found)


def test_reading_sees_one_state(store):
    """Whatever is written meanwhile."""
    with store.read() as work:
        before = work.devices.get("cam-1").last_seen_at
        with store.write() as other:
            other.devices.seen("cam-1", NOW + 5)
        with store.read() as fresh:
            assert fresh.devices.get("cam-1").last_seen_at == NOW + 5
        assert [device.last_seen_at for device in work.devices.all() if device.id == "cam-1"] == [before]


def test_who_decides_decides_alone(store):
    """Two that read a number and write it one higher end two higher."""

    def count_up():
        for _ in range(10):
            with store.write() as work:
                known = work.devices.get("cam-1").last_seen_at or 0.0
                work.devices.seen("cam-1", known + 1)

    both = [threading.Thread(target=count_up) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    with store.read() as work:
        assert work.devices.get("cam-1").last_seen_at == 20.0


def test_ingest_runs_beside_ingest_and_never_beside_who_decides(postgres):
    """On PostgreSQL, where it can."""
    store = Store(_engine(postgres.make("locks", like="prepared")))
    try:
        with store.write(beside=True), store.write(beside=True):
            with pytest.raises(OperationalError) as caught, store.write(beside=True) as work:
                work.devices._session.execute(text("SET LOCAL lock_timeout = '50ms'"))
                work.devices._session.execute(text("SELECT pg_advisory_xact_lock(7239841)"))
            assert "lock timeout" in str(caught.value)
    finally:
        store.close()
        postgres.drop("locks")


def test_a_deadlock_is_known_as_one_that_may_be_tried_again(postgres):
    """And a wrong statement is not."""
    store = Store(_engine(postgres.make("deadlock", like="prepared")))
    met, conflicts = threading.Barrier(2, timeout=20), []

    def cross(first, second):
        try:
            with store.write(beside=True) as work:
                work.devices.seen(first, NOW)
                work.devices._session.flush()
                met.wait()
                work.devices.seen(second, NOW)
        except OperationalError as error:
            conflicts.append(is_conflict(error))

    both = [threading.Thread(target=cross, args=pair) for pair in itertools.permutations(("cam-1", "gone-1"))]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    store.close()
    postgres.drop("deadlock")
    assert conflicts == [True]
    assert not is_conflict(IntegrityError("x", None, Exception("y")))


def test_several_processes_may_bring_the_schema_up_at_once(postgres):
    """One does it, the others find it done."""
    url, opened = postgres.make("fresh"), []

    def start():
        opened.append(open_store(url))

    starting = [threading.Thread(target=start) for _ in range(3)]
    for one in starting:
        one.start()
    for one in starting:
        one.join(60)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    for store in opened:
        store.close()
    postgres.drop("fresh")
    assert len(opened) == 3


def test_a_database_that_cannot_hold_every_text_is_refused(postgres):
    """With how to make one that can."""
    with pytest.raises(UnavailableError) as caught:
        open_store(postgres.make("latin", encoding="LATIN1"))
    assert "createdb" in caught.value.remedy


def test_the_password_of_a_file_opens_and_a_wrong_one_says_nothing_of_itself(tmp_path, postgres):
    """Where the server asks for one; errors name the database, never the password."""
    url = postgres.make("guarded", like="prepared")
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    admin = create_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    secret, wrong = tmp_path / "password", tmp_path / "wrong"
    secret.write_text("s3cret-word\n")
    wrong.write_text("other-word\n")
    try:
        with admin.connect() as connection:
            connection.execute(text("ALTER ROLE mien PASSWORD 's3cret-word'"))
            rules.write_text("local guarded mien scram-sha-256\n" + before)
            connection.execute(text("SELECT pg_reload_conf()"))
            connection.execute(text("SELECT pg_sleep(0.3)"))
        open_store(url, password_file=secret).close()
        with pytest.raises(UnavailableError) as caught:
            open_store(url, password_file=wrong)
        assert "guarded" in str(caught.value)
        assert "word" not in str(caught.value).replace("password", "")
    finally:
        rules.write_text(before)
        admin.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql+psycopg://fleet:hunter2@localhost/fleet", "password"),
        ("postgresql+psycopg://fleet@localhost/fleet?password=hunter2", "password"),
        ("postgresql+psycopg://fleet:hun@ter2:x@localhost:no/fleet", "cannot be used"),
        ("postgresql+psycopg://fleet@db.example.org/fleet", "without checking its certificate"),
        ("postgresql+psycopg://fleet@db.example.org/fleet?sslmode=require", "without checking its certificate"),
        ("postgresql+psycopg://fleet@/fleet?host=127.0.0.1:5432&host=db.example.org:5432", "db.example.org"),
        ("mysql://fleet@localhost/fleet", "unknown kind"),
        ("nothing", "cannot be used"),
    ],
)
def test_an_unsafe_or_unknown_url_is_refused_without_showing_a_secret(url, says):
    """Before anything is connected to."""
    with pytest.raises(MienError, match=says) as caught:
        open_store(url)
    assert isinstance(caught.value, ConfigError)
    assert "hun" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_sentence(tmp_path):
    """With the database's name and where to read on."""
    with pytest.raises(UnavailableError) as caught:
        open_store(f"postgresql+psycopg://fleet@/fleet?host={tmp_path}")
    assert "postgresql.md" in caught.value.remedy


@pytest.mark.parametrize(("content", "says"), [(None, "could not read"), ("\n", "empty")])
def test_a_password_file_that_holds_none_is_refused(tmp_path, content, says):
    """By its name."""
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        open_store("postgresql+psycopg://fleet@/fleet", password_file=path)


@pytest.mark.parametrize(("worker", "group"), [(1, None), (1, "a"), (2, "a"), (3, "a")])
def test_what_tells_a_state_goes_to_one_process(worker, group):
    """In order and with what is retained; telemetry and events go to exactly one of all."""
    wanted, unwanted = subscriptions(worker, group=group)
    states = {name for name in wanted if name.rsplit("/", 1)[1] in {"status", "twin", "update"}}
    assert len(states) == (3 if worker == 1 else 0)
    assert all(name.startswith("$share/a/") is (group is not None) for name in set(wanted) - states)
    assert not set(wanted) & set(unwanted)
