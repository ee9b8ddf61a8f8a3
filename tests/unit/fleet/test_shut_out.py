"""Keeping a broker's lists: written where they differ, told to a Mosquitto alone."""

from __future__ import annotations

import datetime as dt
import os

import pytest

from fleet.broker.mosquitto import MOST_WORKERS, SiteBroker, access_rules, worker_name, write_configuration
from fleet.broker.shut_out import NOT_KEPT, BrokerFolder, Doorkeeper
from fleet.config import MqttSettings
from fleet.identity.ca import open_authority
from fleet.store.devices import ShutOut
from mien.errors import ConfigError
from mien.topics import valid_device_id

AT = dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return open_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def place(authority, tmp_path):
    """A written configuration."""
    empty = authority.revocation_list((), at=AT)
    write_configuration(tmp_path, authority, SiteBroker(hosts=["b"]), empty_list=empty)
    return tmp_path


def test_lists_are_written_when_they_differ_and_only_then(authority, place):
    """A second look changes nothing; a list that somebody damaged or that is another authority's is written anew."""
    folder, crl = BrokerFolder(place), place / "live" / "crl.pem"
    shut_out = [ShutOut(device_id="cam-1", serial="1f"), ShutOut(device_id="cam-1", serial="2e")]
    assert folder.keep(authority, shut_out, at=AT)
    assert authority.signed_list(crl.read_text()) == {"1f", "2e"}
    assert (place / "live" / "acl").read_text().count("user cam-1") == 1
    assert not folder.keep(authority, shut_out, at=AT)
    crl.write_text("garbage")
    assert folder.keep(authority, shut_out, at=AT)
    assert authority.signed_list(crl.read_text()) == {"1f", "2e"}


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    """A wrong path in the settings ends the start, and no list is written where nobody reads it."""
    with pytest.raises(ConfigError, match="no broker's configuration"):
        BrokerFolder(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_no_strange_process_is_signalled(place):
    """A file that names this test's process, or none, or nonsense: nobody gets a hang-up."""
    pid = place / "data" / "mosquitto.pid"
    for content in (str(os.getpid()), "999999999", "nonsense", ""):
        pid.write_text(content)
        assert "no Mosquitto runs here" in BrokerFolder(place).tell()


def test_a_broker_that_is_not_kept_here_is_said(store, authority):
    """Revoking still works; the operator reads what to do."""
    assert Doorkeeper(store, authority, None, clock=lambda: 0.0).run() == NOT_KEPT


def test_no_name_of_the_service_can_be_a_devices():
    """A device could otherwise enrol as the service and read and write for everybody."""
    names = [worker_name(number) for number in range(1, MOST_WORKERS + 1)]
    assert len(set(names)) == MOST_WORKERS
    assert not any(map(valid_device_id, names))
    assert all(f"user {name}\n" in access_rules() for name in names)


def test_an_embedded_broker_has_no_folder():
    """A setting that could do nothing is refused."""
    with pytest.raises(ValueError, match="broker: external"):
        MqttSettings(folder="/etc/mien/broker")
