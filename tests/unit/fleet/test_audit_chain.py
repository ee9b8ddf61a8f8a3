"""The audit record: a chain that shows every change, in a database that refuses them. On SQLite and on PostgreSQL."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from fleet.people.chain import START, Head, verify
from fleet.store.database import _MIGRATIONS, open_store
from tests.unit.fleet.conftest import NOW


@pytest.fixture
def written(store):
    """A record of five entries."""
    with store.write() as work:
        for number in range(5):
            work.audit.note("rollout.pause", str(number), at=NOW + number, actor="anna", why=("a", 1.5), n=number)
    return store


def judged(store, *anchors):
    with store.read() as work:
        return verify(work.audit.chain(), anchors)


def tamper(url, *statements, open_the_guard=True):
    """What somebody with the database's file or its owner's password may do."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        if open_the_guard and engine.dialect.name == "sqlite":
            for name in ("update", "delete", "replace"):
                connection.execute(text(f"DROP TRIGGER audit_no_{name}"))
        elif open_the_guard:
            connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_entries_follow_one_another(written):
    """The first follows the start, and all of them are whole."""
    verdict = judged(written)
    assert (verdict.whole, verdict.entries) == (True, 5)
    with written.read() as work:
        assert next(work.audit.chain()).prev_sha256 == START
        assert work.audit.head() == verdict.head


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'bob' WHERE id = 3",
        "DELETE FROM audit WHERE id = 5",
        "DELETE FROM audit",
    ],
)
def test_the_database_refuses_to_change_entries(written, store_url, statement):
    """Whoever only uses it, even with full rights to write."""
    with pytest.raises(DBAPIError, match="audit entries stay"):
        tamper(store_url, statement, open_the_guard=False)
    assert judged(written).whole


@pytest.mark.parametrize(
    ("statement", "broken_at", "word"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE id = 3", 3, "changed"),
        ("UPDATE audit SET at = at + 1 WHERE id = 1", 1, "changed"),
        ("UPDATE audit SET details = '{}' WHERE id = 4", 4, "changed"),
        ("DELETE FROM audit WHERE id = 2", 3, "removed"),
        ("DELETE FROM audit WHERE id = 1", 2, "removed"),
    ],
)
def test_the_first_broken_entry_is_named(written, store_url, statement, broken_at, word):
    """Where somebody went around the database's refusal."""
    tamper(store_url, statement)
    verdict = judged(written)
    assert verdict.broken_at == broken_at
    assert word in verdict.why


def test_entries_cut_from_the_end_are_missed_by_their_anchor(written, store_url):
    """The chain alone cannot tell; a head that was noted elsewhere can."""
    with written.read() as work:
        head = work.audit.head()
    tamper(store_url, "DELETE FROM audit WHERE id > 3")
    assert judged(written).whole
    verdict = judged(written, head)
    assert not verdict.whole
    assert "before entry 5" in verdict.why


def test_a_record_written_anew_is_not_the_anchored_one(written):
    """Every digest of it may fit."""
    verdict = judged(written, Head(id=4, sha256="a" * 64))
    assert (verdict.broken_at, "written anew" in verdict.why) == (4, True)


def test_entries_of_an_older_database_begin_the_chain(tmp_path):
    """What was noted before there was a chain is part of it afterwards."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for number in (7, 9):
            connection.execute(
                text("INSERT INTO audit VALUES (:id, 1800000000.25, 'operator', 'x', 'y', :told)"),
                {"id": number, "told": '{"b": 1, "a": "ü"}'},
            )
    opened = open_store(url)
    with opened.write() as work:
        work.audit.note("z", "y", at=NOW)
    assert judged(opened).entries == 3
    assert judged(opened).whole
    opened.close()
