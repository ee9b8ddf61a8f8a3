"""Where a device stands: every state with every event, and what operators and devices can bring about."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from fleet.errors import ConflictError
from fleet.identity.ca import open_authority
from fleet.identity.enrol import Asked, enrol
from fleet.identity.members import Listed, Terms, accept, preauthorise, reject, renew, revoke
from fleet.identity.membership import TRANSITIONS, MemberEvent, MemberState, advance, diagram
from fleet.identity.tokens import make_token
from fleet.store.database import open_store
from mien.errors import ConfigError, TrustError
from tests.fakes.fake_device import request_for

NOW = 1_800_000_000.0
DAY = 86400.0
TERMS = Terms(days=90.0, grace_s=10 * DAY)
S, E = MemberState, MemberEvent
ALLOWED = {
    (S.UNKNOWN, E.LIST): S.PREAUTHORISED,
    (S.UNKNOWN, E.ASK): S.PENDING,
    (S.UNKNOWN, E.ADMIT): S.ACCEPTED,
    (S.PREAUTHORISED, E.LIST): S.PREAUTHORISED,
    (S.PREAUTHORISED, E.ADMIT): S.ACCEPTED,
    (S.PREAUTHORISED, E.REJECT): S.REJECTED,
    (S.PENDING, E.ASK): S.PENDING,
    (S.PENDING, E.ACCEPT): S.ACCEPTED,
    (S.PENDING, E.REJECT): S.REJECTED,
    (S.ACCEPTED, E.ADMIT): S.ACCEPTED,
    (S.ACCEPTED, E.RENEW): S.ACCEPTED,
    (S.ACCEPTED, E.REVOKE): S.REVOKED,
    (S.REJECTED, E.LIST): S.PREAUTHORISED,
    (S.REJECTED, E.ACCEPT): S.ACCEPTED,
    (S.REJECTED, E.REJECT): S.REJECTED,
    (S.REVOKED, E.REVOKE): S.REVOKED,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(MemberState, MemberEvent)))
def test_every_event_in_every_state(state, event):
    """It leads where this table says, or is refused with what the state does know."""
    if (state, event) in ALLOWED:
        assert advance(state, event) is ALLOWED[state, event]
        return
    with pytest.raises(ConflictError) as caught:
        advance(state, event)
    assert all(known.value in caught.value.wanted for known in TRANSITIONS[state])


def test_a_revoked_device_has_no_way_back():
    """Whatever happens, it stays revoked."""
    assert set(TRANSITIONS[S.REVOKED].values()) == {S.REVOKED}
    assert "revoked --> revoked: revoke" in diagram()


def test_the_runbook_draws_the_table():
    """The diagram that operators read is the one that is generated."""
    assert diagram() in (Path(__file__).parents[3] / "docs" / "runbooks" / "broker.md").read_text()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return open_authority(tmp_path_factory.mktemp("ca"))


class Fleet:
    """A unit of work with short names for what the tests do in it."""

    def __init__(self, work, authority):
        self.work, self.authority = work, authority

    def token(self, *, review=False, uses=1, group="lab", ends=NOW + 60):
        text_, stored = make_token(group=group, uses=uses, expires_at=ends, ca_sha256="ab" * 32, review=review)
        self.work.tokens.add(stored, at=NOW)
        return text_

    def ask(self, token, key, *, now=NOW, **more):
        asked = Asked(token=token, csr_pem=request_for(key), **more)
        return enrol(self.work, self.authority, asked, now=now, days=TERMS.days)

    def device(self, device_id):
        return self.work.devices.get(device_id)


@pytest.fixture
def fleet(store, authority):
    with store.write() as work:
        yield Fleet(work, authority)


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def test_a_token_for_review_makes_a_device_wait_for_a_person(fleet):
    """It waits without a certificate, asks again after the token ran out, and gets what was decided."""
    token, key = fleet.token(review=True), new_key()
    first = fleet.ask(token, key, wanted_id="door-1")
    assert (first.state, first.certificate_pem) == (S.PENDING, None)
    later = NOW + 3600
    assert fleet.ask(token, key, wanted_id="door-1", now=later) == first
    accept(fleet.work, fleet.authority, fleet.device("door-1"), now=later, days=TERMS.days)
    told = fleet.ask(token, key, wanted_id="door-1", now=later)
    certificate = x509.load_pem_x509_certificate(told.certificate_pem.encode())
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=door-1"


def test_a_device_that_waits_is_not_heard(fleet):
    """Only accepted devices count for ingest."""
    fleet.ask(fleet.token(review=True), new_key(), wanted_id="door-1")
    assert "door-1" not in fleet.work.devices.accepted_ids()


def test_a_rejected_device_is_told_so_and_may_be_accepted_later(fleet):
    """The no is told as such; the yes afterwards needs nothing new from the device."""
    token, key = fleet.token(review=True), new_key()
    device = fleet.device(fleet.ask(token, key).device_id)
    reject(fleet.work, device, now=NOW)
    with pytest.raises(TrustError, match="rejected"):
        fleet.ask(token, key)
    accept(fleet.work, fleet.authority, fleet.device(device.id), now=NOW, days=TERMS.days)
    assert fleet.ask(token, key).state is S.ACCEPTED


def test_a_listed_serial_number_is_accepted_without_a_person(fleet):
    """Once, under the name on the list; another board that claims the number afterwards waits."""
    listed = [Listed(serial_number="1421221047325", device_id="gate-1"), Listed(serial_number="A-2")]
    assert [device.state for device in preauthorise(fleet.work, "lab", listed, now=NOW)] == [S.PREAUTHORISED] * 2
    token = fleet.token(review=True, uses=3)
    first = fleet.ask(token, new_key(), serial_number="1421221047325")
    assert (first.device_id, first.state) == ("gate-1", S.ACCEPTED)
    assert fleet.ask(token, new_key(), serial_number="A-2").device_id == "lab-a-2"
    assert fleet.ask(token, new_key(), serial_number="1421221047325").state is S.PENDING


def test_a_name_on_the_list_is_kept_for_its_board(fleet):
    """Who asks for the name without the number does not get it, and a token of another group opens nothing."""
    preauthorise(fleet.work, "lab", [Listed(serial_number="S1", device_id="gate-1")], now=NOW)
    with pytest.raises(ConflictError, match="taken"):
        fleet.ask(fleet.token(), new_key(), wanted_id="gate-1")
    with pytest.raises(ConflictError, match="listed as 'gate-1' in the group 'lab'"):
        fleet.ask(fleet.token(group="yard"), new_key(), serial_number="S1")


def test_a_number_taken_off_the_list_can_be_listed_again(fleet):
    """Rejecting it ends the promise; accepting it makes no sense before the board has asked."""
    preauthorise(fleet.work, "lab", [Listed(serial_number="S1")], now=NOW)
    reject(fleet.work, fleet.device("lab-s1"), now=NOW)
    assert fleet.ask(fleet.token(review=True), new_key(), serial_number="S1").state is S.PENDING
    with pytest.raises(ConflictError, match="has not asked"):
        accept(fleet.work, fleet.authority, fleet.device("lab-s1"), now=NOW, days=1)
    with pytest.raises(ConflictError, match="serial number S1 is that of"):
        preauthorise(fleet.work, "lab", [Listed(serial_number="S1")], now=NOW)


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [Listed(serial_number="a b")],
        [Listed(serial_number="S1", device_id="Mallory!")],
        [Listed(serial_number="S.1")],
        [Listed(serial_number="S1", device_id="x"), Listed(serial_number="S1", device_id="y")],
        [Listed(serial_number="S1"), Listed(serial_number="s1")],
    ],
)
def test_a_faulty_list_changes_nothing(fleet, listed):
    """Empty, with strange signs, or with something twice: refused as a whole."""
    with pytest.raises(ConfigError):
        preauthorise(fleet.work, "lab", listed, now=NOW)
    assert not [device for device in fleet.work.devices.all() if device.state is S.PREAUTHORISED]


def test_a_revoked_key_never_enrols_again(fleet):
    """Not even with a fresh token; all its certificates are shut out until they would have ended anyway."""
    key = new_key()
    device = fleet.device(fleet.ask(fleet.token(), key).device_id)
    renewed = renew(fleet.work, fleet.authority, device, TERMS, now=NOW + 80 * DAY)
    revoke(fleet.work, renewed, now=NOW + 81 * DAY)
    assert len(fleet.work.devices.shut_out(now=NOW + 82 * DAY)) == 2
    assert len(fleet.work.devices.shut_out(now=NOW + 100 * DAY)) == 1
    with pytest.raises(TrustError, match="revoked"):
        fleet.ask(fleet.token(), key)
    revoke(fleet.work, fleet.device(device.id), now=NOW + 200 * DAY)
    assert fleet.device(device.id).revoked_at == NOW + 81 * DAY


def test_a_key_keeps_its_name_and_its_group(fleet):
    """Asking for another name or with another group's token is refused, not followed."""
    key = new_key()
    fleet.ask(fleet.token(), key, wanted_id="door-1")
    for token, wanted in ((fleet.token(), "door-2"), (fleet.token(group="yard"), None)):
        with pytest.raises(ConflictError, match="enrolled as 'door-1'"):
            fleet.ask(token, key, wanted_id=wanted)


def test_a_certificate_is_renewed_once_it_is_due_and_not_before(fleet):
    """The same key and name; a request that is repeated gets the same certificate again."""
    device = fleet.device(fleet.ask(fleet.token(), new_key()).device_id)
    assert renew(fleet.work, fleet.authority, device, TERMS, now=NOW + 59 * DAY) == device
    renewed = renew(fleet.work, fleet.authority, device, TERMS, now=NOW + 61 * DAY)
    assert renewed.certificate_expires_at == NOW + (61 + 90) * DAY
    old, new = (x509.load_pem_x509_certificate(d.certificate_pem.encode()) for d in (device, renewed))
    assert (new.public_key(), new.subject) == (old.public_key(), old.subject)
    assert renew(fleet.work, fleet.authority, renewed, TERMS, now=NOW + 61 * DAY + 300) == renewed


def test_an_expired_certificate_is_renewed_within_its_grace_time_only(fleet):
    """Afterwards a new token is needed, and with it the device keeps its name and its key."""
    key, wanted = new_key(), "door-1"
    device = fleet.device(fleet.ask(fleet.token(), key, wanted_id=wanted).device_id)
    with pytest.raises(TrustError, match="expired") as caught:
        renew(fleet.work, fleet.authority, device, TERMS, now=NOW + 101 * DAY)
    assert "mien edge enroll" in caught.value.remedy
    with pytest.raises(TrustError, match="refused"):
        fleet.ask(fleet.token(), key, now=NOW + 101 * DAY)
    again = fleet.ask(fleet.token(ends=NOW + 102 * DAY), key, now=NOW + 101 * DAY)
    assert (again.device_id, again.state) == (wanted, S.ACCEPTED)
    late = fleet.device(wanted)
    assert renew(fleet.work, fleet.authority, late, TERMS, now=NOW + (101 + 99) * DAY) != late


def test_revocation_lists_are_signed_dated_in_order_and_read_by_their_own_authority_alone(authority, tmp_path):
    """Two made in the same second are told apart; another authority's counts for nothing."""
    at = dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc)
    first = authority.revocation_list(["1f"], at=at)
    second = authority.revocation_list(["1f", "2e"], at=at, before=first)
    dates = [x509.load_pem_x509_crl(pem.encode()).last_update_utc for pem in (first, second)]
    assert dates[0] < dates[1] < at
    assert authority.signed_list(second) == {"1f", "2e"}
    assert open_authority(tmp_path).signed_list(second) is None
    assert authority.signed_list("garbage") is None


def test_a_database_of_before_keeps_its_devices_and_learns_their_keys(tmp_path, authority):
    """The migration finds the key and the certificate of each device; who asks again is recognised."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    key = new_key()
    opened = open_store(url)
    with opened.write() as work:
        token, stored = make_token(group="lab", uses=1, expires_at=NOW + 60, ca_sha256="ab" * 32)
        work.tokens.add(stored, at=NOW)
        asked = Asked(token=token, csr_pem=request_for(key), wanted_id="door-1")
        first = enrol(work, authority, asked, now=NOW)
    opened.close()
    _take_back(url)
    opened = open_store(url)
    with opened.write() as work:
        assert enrol(work, authority, asked, now=NOW) == first
        revoke(work, work.devices.get("door-1"), now=NOW)
        assert len(work.devices.shut_out(now=NOW)) == 1
    opened.close()


def _take_back(url):
    from alembic import command
    from alembic.config import Config

    from fleet.store.database import _MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert connection.execute(text("SELECT count(*) FROM devices")).scalar() == 1
    engine.dispose()
