"""Enrolment and renewal between the real service and the device's own code: waiting, lists, refusals, grace."""

from __future__ import annotations

import json
import threading
import time

import pytest
from cryptography import x509

from edge.agent import Agent
from edge.identity.enrol import enrol
from edge.identity.renewal import renew_if_due
from edge.identity.store import IdentityStore
from edge.identity.token import parse_token
from edge.transport.fleet_http import FleetHttp
from mien.errors import ConfigError, TrustError, UnavailableError


def made(service, *options):
    """A token as the command line gives it."""
    done = service.cli("token", "create", "--group", "lab", "--ttl", "1h", *options)
    assert done.returncode == 0, done.stderr
    return parse_token(done.stdout.strip())


def states(service, *options):
    """Devices and where they stand, by the command line."""
    found = json.loads(service.cli("devices", "--json", *options).stdout)
    return {device["id"]: device["state"] for device in found}


def serial_of(identity):
    return x509.load_pem_x509_certificate(identity.files.certificate.read_bytes()).serial_number


def test_a_device_waits_until_a_person_decides(service, tmp_path):
    """It is listed as pending, gets nothing meanwhile, and what it gets then is its own."""
    token = made(service, "--review")
    with pytest.raises(UnavailableError, match="waits for the fleet's operator"):
        enrol(token, service.url, tmp_path, device_id="door-1")
    assert states(service, "--state", "pending") == {"door-1": "pending"}
    assert "pending" in service.page("/devices").text
    key = (tmp_path / "identity" / "key.pem").read_bytes()

    def decide(device_id):
        assert service.cli("device", "accept", device_id).returncode == 0
        return True

    identity = enrol(token, service.url, tmp_path, device_id="door-1", waits=decide)
    assert (identity.device_id, states(service)) == ("door-1", {"door-1": "accepted"})
    assert (tmp_path / "identity" / "key.pem").read_bytes() == key
    with FleetHttp(service.url) as fleet:
        assert fleet.session(identity.key, "door-1").state == "accepted"


def test_a_rejected_device_is_told(service, tmp_path):
    """Its next question ends with the reason, and what cannot be done is refused with what can."""
    token = made(service, "--review")
    with pytest.raises(UnavailableError):
        enrol(token, service.url, tmp_path, device_id="door-1")
    assert service.cli("device", "reject", "door-1").returncode == 0
    with pytest.raises(TrustError, match="refused") as caught:
        enrol(token, service.url, tmp_path, device_id="door-1")
    assert "rejected" in caught.value.found
    done = service.cli("device", "revoke", "door-1")
    assert done.returncode == 3
    assert "accept" in done.stderr


def test_boards_on_the_list_come_in_by_themselves(service, tmp_path):
    """From a file, with and without a name; the token for review lets these in and makes others wait."""
    numbers = tmp_path / "serials.txt"
    numbers.write_text("# the boards of the hall\n1421221047325,gate-1\n\nS-2\n")
    done = service.cli("device", "preauthorise", "--group", "lab", "--file", str(numbers))
    assert done.returncode == 0, done.stderr
    assert states(service) == {"gate-1": "preauthorised", "lab-s-2": "preauthorised"}
    token = made(service, "--review", "--uses", "2")
    assert enrol(token, service.url, tmp_path / "a", serial_number="1421221047325").device_id == "gate-1"
    with pytest.raises(UnavailableError):
        enrol(token, service.url, tmp_path / "b", serial_number="S-3")
    assert states(service)["gate-1"] == "accepted"
    assert service.cli("devices", "--state", "waiting").returncode == 3


def test_a_certificate_that_is_due_is_renewed_by_the_device(new_service, tmp_path):
    """A new one for the same key; the identity on the disk is the new one."""
    service = new_service(devices={"certificate_days": 0.001}).start()  # with five minutes for clocks: due at once
    identity = enrol(made(service), service.url, tmp_path, device_id="door-1")
    store = IdentityStore(tmp_path)
    with FleetHttp(service.url) as fleet:
        renewed = renew_if_due(fleet, identity, store, now=time.time())
    assert renewed is not None
    assert serial_of(store.load()) == serial_of(renewed)
    assert "device.renew" in service.cli("audit", "--json").stdout


class Link:
    """Keeps where it was told to connect anew."""

    def __init__(self):
        self.addresses = []

    def readdress(self, address):
        self.addresses.append(address)


def test_the_agent_renews_when_it_asks_how_it_stands(new_service, tmp_path):
    """Its watch over the session is enough; the broker's link takes up the new certificate."""
    service = new_service(devices={"certificate_days": 0.001}).start()
    before = serial_of(enrol(made(service), service.url, tmp_path, device_id="door-1"))
    link, store = Link(), IdentityStore(tmp_path)
    agent = Agent(
        identities=store,
        link=link,
        publisher=None,
        updater=None,
        twin=lambda: None,
        boot_id="b",
        session_check_s=300.0,
        stop=threading.Event(),
        tell=lambda *_: None,
    )
    agent.check_session()
    assert serial_of(store.load()) != before
    assert link.addresses == [store.load().mqtt.address()]


def test_a_certificate_that_is_not_due_is_left_alone(service, tmp_path):
    """The device does not ask, and the fleet gives no other to one that asks anyway."""
    identity = enrol(made(service), service.url, tmp_path, device_id="door-1")
    with FleetHttp(service.url) as fleet:
        assert renew_if_due(fleet, identity, IdentityStore(tmp_path), now=time.time()) is None
        assert fleet.renew(identity.key, "door-1") == identity.files.certificate.read_text()


@pytest.mark.parametrize("grace_days", [30.0, 0.0])
def test_an_expired_certificate_is_renewed_within_its_grace_time_only(new_service, tmp_path, grace_days):
    """Expired it opens nothing but its renewal, and after the grace time only a new token, for the same name and key."""
    service = new_service(devices={"certificate_days": 0.00003, "grace_days": grace_days}).start()
    identity, store = enrol(made(service), service.url, tmp_path, device_id="door-1"), IdentityStore(tmp_path)
    before = serial_of(identity)
    ends = x509.load_pem_x509_certificate(identity.files.certificate.read_bytes()).not_valid_after_utc.timestamp()
    time.sleep(max(0.0, ends - time.time()) + 0.1)
    with FleetHttp(service.url) as fleet:
        with pytest.raises(TrustError) as caught:
            fleet.session(identity.key, "door-1")
        assert "expired" in caught.value.found
        if grace_days:
            assert serial_of(renew_if_due(fleet, identity, store, now=time.time())) != before
            return
        with pytest.raises(TrustError) as caught:
            renew_if_due(fleet, identity, store, now=time.time())
    assert "mien edge enroll" in caught.value.remedy
    again = enrol(made(service), service.url, tmp_path)
    assert (again.device_id, again.key.private_numbers()) == ("door-1", identity.key.private_numbers())


def test_a_device_with_a_good_certificate_does_not_enrol_twice(service, tmp_path):
    """The second time is refused before anything is sent."""
    token = made(service, "--uses", "2")
    enrol(token, service.url, tmp_path)
    with pytest.raises(ConfigError, match="enrolled already"):
        enrol(token, service.url, tmp_path)


def test_a_demo_says_that_its_broker_is_for_a_demo(service, tmp_path):
    """In the log at the start, and when a device is revoked that its broker cannot refuse."""
    assert "for a demo only" in service.log
    enrol(made(service), service.url, tmp_path, device_id="door-1")
    assert "no mqtt.folder" in service.cli("device", "revoke", "door-1").stdout
