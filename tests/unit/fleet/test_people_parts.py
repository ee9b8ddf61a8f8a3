"""People without HTTP: roles, the rule of two, passwords, the limit on logins, sessions, the anchor. Real argon2."""

import threading

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from fleet.client import find_token, keep_login
from fleet.config import PeopleSettings, read_fleet
from fleet.errors import ConflictError
from fleet.people import members, passwords
from fleet.people.anchor import Anchor, read_anchors
from fleet.people.approval import APPROVALS, may_approve
from fleet.people.chain import verify
from fleet.people.door import Door, TooManyError, UnauthorizedError
from fleet.people.examine import examine
from fleet.people.roles import Role, lesser
from fleet.store.database import open_store
from mien.errors import ConfigError, TrustError, UnavailableError
from tests.unit.fleet.conftest import NOW

PASSWORD = "seven wet umbrellas"
TERMS = PeopleSettings(session_s=1000, session_idle_s=100, attempts_per_account=3, attempts_window_s=60)


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def door(store, clock):
    """A door with one person behind it."""
    with store.write() as work:
        members.add(work, "anna", Role.OPERATOR, passwords.hashed(PASSWORD), now=NOW, actor="operator")
    return Door(store=store, terms=TERMS, clock=clock)


@pytest.mark.parametrize(
    ("creator", "approver", "rules", "refused"),
    [
        ("anna", "bob", APPROVALS, False),
        ("anna", "anna", APPROVALS, True),
        ("anna", "anna", (), False),
        ("anna", "operator", APPROVALS, True),
        ("operator", "bob", APPROVALS, True),
        (None, "bob", APPROVALS, True),
        ("anna", "anna", ("rollout.start",), False),
    ],
)
def test_two_persons_are_two_names_of_persons(creator, approver, rules, refused):
    """Where the rule is set; the data folder's token is nobody's name."""
    assert (may_approve(creator, approver, "rollout.approve", rules=rules) is not None) == refused


def test_the_rule_can_be_set_only_for_what_is_held_to_it():
    """Anything else is refused, so that nobody relies on a rule that is not there."""
    assert read_fleet(None, {"people.two_person": APPROVALS}).people.two_person == APPROVALS
    with pytest.raises(ConfigError):
        read_fleet(None, {"people.two_person": ["rollout.pause"]})


def test_a_role_may_do_what_lesser_ones_may():
    """In one order."""
    assert Role.ADMIN.covers(Role.VIEWER)
    assert not Role.VIEWER.covers(Role.OPERATOR)
    assert lesser(Role.ADMIN, Role.VIEWER) is lesser(Role.VIEWER, Role.ADMIN) is Role.VIEWER


def test_passwords_are_kept_as_argon2id(door, store):
    """With a salt each; nothing else of them is kept."""
    with store.read() as work:
        kept = work.people.get("anna").password_hash
    assert kept.startswith("$argon2id$")
    assert kept != passwords.hashed(PASSWORD)
    assert passwords.fits(PASSWORD, kept)
    assert not passwords.fits(PASSWORD + "!", kept)


def test_nobody_costs_what_somebody_does(monkeypatch):
    """A name that is not there is verified against a hash of the same kind, and nothing fits it."""
    import argon2

    seen = []
    verify_hash = argon2.PasswordHasher.verify
    monkeypatch.setattr(
        argon2.PasswordHasher,
        "verify",
        lambda self, kept, given: (seen.append(kept), verify_hash(self, kept, given))[1],
    )
    assert not passwords.fits(PASSWORD, passwords.hashed("another one entirely"))
    assert not passwords.fits(PASSWORD, None)
    known, nobodys = (kept.rpartition("$")[0].rpartition("$")[0] for kept in seen)
    assert known == nobodys


@pytest.mark.parametrize("name", ["Anna", "a", "operator", "planner", "device:1", "x" * 33, "an na", ""])
def test_names_that_the_record_could_mistake_are_refused(store, name):
    """Others' names, other letters."""
    with pytest.raises(ConfigError), store.write() as work:
        members.add(work, name, Role.VIEWER, "-", now=NOW, actor="operator")


def test_a_name_is_one_persons(door, store):
    """A second one is refused."""
    with pytest.raises(ConflictError), store.write() as work:
        members.add(work, "anna", Role.ADMIN, "-", now=NOW, actor="operator")


def test_the_limit_counts_what_fails_and_ends(door, clock):
    """Success forgives; time does too; the right password does not help while it holds."""
    for _ in range(2):
        with pytest.raises(UnauthorizedError):
            door.knock("anna", "wrong", "192.0.2.1")
    assert door.knock("Anna ", PASSWORD, "192.0.2.1").name == "anna"
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            door.knock("anna", "wrong", "192.0.2.1")
    with pytest.raises(TooManyError):
        door.knock("anna", PASSWORD, "192.0.2.9")
    clock.now += 61
    assert door.knock("anna", PASSWORD, "192.0.2.9").name == "anna"


def test_many_guesses_at_once_are_counted_too(door):
    """Each is counted before the password is looked at."""
    refused = []

    def guess():
        try:
            door.knock("anna", "wrong", "192.0.2.1")
        except (UnauthorizedError, TooManyError) as error:
            refused.append(type(error))

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (refused.count(UnauthorizedError), refused.count(TooManyError)) == (3, 5)


def test_a_session_ends_by_itself(door, clock, store):
    """When nobody is at it, and in the end even when somebody is; a page that looks for news is nobody."""
    with store.read() as work:
        anna = work.people.get("anna")
    idle, busy = (door.open_session(anna, "192.0.2.1") for _ in range(2))
    for _ in range(12):
        clock.now += 80
        assert door.by_session(busy, used=True).name == "anna"
        door.by_session(idle, used=False)
    assert door.by_session(idle, used=False) is None
    clock.now += 80
    assert door.by_session(busy, used=True) is None
    assert door.by_session("x" * 43, used=True) is None


def test_a_token_ends_at_its_time(door, clock, store):
    """And a wrong secret for a right id opens nothing."""
    asker = door.by_session(door_session(door, store), used=True)
    with store.write() as work:
        text_, kept = members.make_token(work, asker, "anna", "ci", Role.VIEWER, now=NOW, ttl_s=50)
    assert door.by_token(text_).role is Role.VIEWER
    assert door.by_token(f"mien_{kept.id}_{'A' * 43}") is None
    clock.now += 50
    assert door.by_token(text_) is None


def door_session(door, store):
    with store.read() as work:
        return door.open_session(work.people.get("anna"), "192.0.2.1")


@pytest.fixture
def fleet_folder(tmp_path):
    """A data folder with three entries, of which two were anchored."""
    opened = open_store(f"sqlite:///{tmp_path / 'fleet.db'}")
    anchor = Anchor(opened, tmp_path / "audit.anchor", clock=lambda: NOW)
    for number in range(3):
        with opened.write() as work:
            work.audit.note("x", str(number), at=NOW)
        if number:
            anchor.run()
            anchor.run()
    opened.close()
    return tmp_path


def test_every_head_is_noted_once(fleet_folder):
    """In a file for its owner alone."""
    path = fleet_folder / "audit.anchor"
    assert [head.id for head in read_anchors(path)] == [2, 3]
    assert path.stat().st_mode & 0o077 == 0
    assert (examine(fleet_folder, None, None).entries, examine(fleet_folder, None, path).anchored) == (3, 4)


def test_a_record_that_was_cut_off_is_found_without_the_service(fleet_folder):
    """By the folder's anchor; where that was cut off as well, by a copy of it."""
    path, copy = fleet_folder / "audit.anchor", fleet_folder / "copy"
    copy.write_bytes(path.read_bytes())
    engine = create_engine(f"sqlite:///{fleet_folder / 'fleet.db'}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_no_delete"))
        connection.execute(text("DELETE FROM audit WHERE id = 3"))
    with pytest.raises(TrustError, match="broken at its end"):
        examine(fleet_folder, None, None)
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert examine(fleet_folder, None, None).entries == 2
    with pytest.raises(TrustError, match="broken at its end"):
        examine(fleet_folder, None, copy)


def test_a_damaged_record_is_not_anchored_again(fleet_folder, caplog):
    """The anchor keeps what was there, and the log says so."""
    engine = create_engine(f"sqlite:///{fleet_folder / 'fleet.db'}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_no_delete"))
        connection.execute(text("DELETE FROM audit"))
    opened = open_store(f"sqlite:///{fleet_folder / 'fleet.db'}")
    with opened.write() as work:
        work.audit.note("y", "z", at=NOW)
        assert verify(work.audit.chain(), ()).whole
    Anchor(opened, fleet_folder / "audit.anchor", clock=lambda: NOW).run()
    opened.close()
    assert [head.id for head in read_anchors(fleet_folder / "audit.anchor")] == [2, 3]
    assert "lost entry 3" in caplog.text


def test_an_anchor_that_a_power_cut_left_half_written_goes_on(fleet_folder):
    """The unfinished line is left out, then overwritten; a line of another kind is refused."""
    path = fleet_folder / "audit.anchor"
    with path.open("a") as file:
        file.write("4 abc")
    opened = open_store(f"sqlite:///{fleet_folder / 'fleet.db'}")
    with opened.write() as work:
        work.audit.note("y", "z", at=NOW)
    Anchor(opened, path, clock=lambda: NOW).run()
    opened.close()
    assert [head.id for head in read_anchors(path)] == [2, 3, 4]
    path.write_text("something else\n")
    with pytest.raises(TrustError, match="damaged"):
        read_anchors(path)


def test_an_examination_needs_a_fleet(tmp_path):
    """No empty database is made where there was none."""
    with pytest.raises(UnavailableError, match="no fleet"):
        examine(tmp_path, None, None)
    assert not list(tmp_path.iterdir())


def test_a_login_counts_where_there_is_no_data_folder(tmp_path, monkeypatch):
    """For its own address alone, from a file that nobody else may read."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MIEN_FLEET_TOKEN", raising=False)
    path = keep_login("https://fleet.example.org:8443/", "mien_1_2")
    assert path.stat().st_mode & 0o077 == 0
    assert find_token(tmp_path, "https://fleet.example.org:8443") == "mien_1_2"
    assert find_token(tmp_path, "https://other.example.org") is None
    (tmp_path / "operator.token").write_text("local\n")
    assert find_token(tmp_path, "https://fleet.example.org:8443") == "local"
    (tmp_path / "operator.token").unlink()
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        find_token(tmp_path, "https://fleet.example.org:8443")
