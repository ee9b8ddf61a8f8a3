"""The Mosquitto configuration that mien writes, in a real Mosquitto: who may speak, for whom, and what outlives a kill."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.transport.interface import BrokerAddress, TlsFiles
from edge.transport.mqtt import MqttLink
from fleet.identity.ca import Authority, open_authority, read_request
from mien.messages import Power, Window, encode
from tests.fakes.fake_device import enrol, request_for, wait_until
from tests.integration.conftest import MOSQUITTO
from tests.integration.fleet.conftest import ROOT, Service, free_port


@dataclass
class Site:
    """A Mosquitto with the written configuration, and a service that uses it."""

    service: Service
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    clients: list[Client] = field(default_factory=list)

    @property
    def second(self) -> tuple[Path, Path]:
        """The files of the service's second process, which is not running."""
        return self.folder / "fleet-2.pem", self.folder / "fleet-2.key"

    def start_broker(self) -> None:
        """Start it and wait until it listens."""
        with (self.folder.parent / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stderr=log)
        wait_until(self._listens, what="the broker listens")

    def kill_broker(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def enrolled(self, *names: str) -> dict[str, tuple[Path, Path]]:
        """Devices with their certificate and key as files."""
        with httpx.Client(base_url=self.service.url) as http:
            token = self.service.token(len(names))
            devices = [enrol(http, token, name) for name in names]
        return {d.device_id: self.keep(d.device_id, d.key, d.answer["certificate_pem"]) for d in devices}

    def keep(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: str) -> tuple[Path, Path]:
        """Write a certificate and its key."""
        place = self.folder.parent / f"{name}.pem"
        place.write_text(certificate)
        place.with_suffix(".key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return place, place.with_suffix(".key")

    def enter(self, files: tuple[Path, Path] | None, *, client_id: str = "any") -> Visitor | None:
        """Connect; ``None`` when the broker refuses."""
        visitor = Visitor(self, files, client_id)
        return visitor if visitor.is_in else None

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder.parent / "mosquitto.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


class Visitor:
    """A client at the broker."""

    def __init__(self, site: Site, files: tuple[Path, Path] | None, client_id: str) -> None:
        self.got: dict[str, bytes] = {}
        self.answers: list[str] = []
        self.gone: list[str] = []
        self._accepted: list[bool] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.tls_set(str(site.folder / "ca.pem"), *(str(file) for file in files or ()))
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self._accepted.append(not reason.is_failure)
        self.client.on_disconnect = lambda _c, _d, _f, reason, _p: self.gone.append(str(reason))
        self.client.on_message = lambda _c, _d, message: self.got.update({message.topic: message.payload})
        self.client.on_publish = lambda _c, _d, _m, reason, _p: self.answers.append(str(reason))
        self.client.on_subscribe = lambda _c, _d, _m, reasons, _p: self.answers.append(str(reasons[0]))
        try:
            self.client.connect("127.0.0.1", site.port)
        except (ssl.SSLError, OSError):
            return
        self.client.loop_start()
        site.clients.append(self.client)
        wait_until(lambda: bool(self._accepted or self.gone), what="an answer of the broker")

    @property
    def is_in(self) -> bool:
        """Whether the broker took it."""
        return self._accepted == [True] and not self.gone

    def say(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        """Publish; the broker's answer."""
        return self._asked(lambda: self.client.publish(topic, payload, qos=1, retain=retain))

    def listen(self, topic: str) -> str:
        """Subscribe; the broker's answer."""
        return self._asked(lambda: self.client.subscribe(topic, options=SubscribeOptions(qos=1)))

    def leave(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()

    def _asked(self, ask) -> str:
        before = len(self.answers)
        ask()
        wait_until(lambda: len(self.answers) > before or bool(self.gone), what="the broker's answer")
        return self.answers[-1] if len(self.answers) > before else "disconnected"


@pytest.fixture
def new_site(new_service, tmp_path):
    """Writes a configuration and starts a Mosquitto and a service with it."""
    if not Path(MOSQUITTO).exists():
        pytest.skip("mosquitto is not installed: make test installs it")
    made: list[Site] = []

    def make(*options: str) -> Site:
        port, folder = free_port(), tmp_path / "broker"
        names = {"ca": "ca.pem", "client_cert": "fleet.pem", "client_key": "fleet.key"}
        broker = {"broker": "external", "host": "127.0.0.1", "port": port, "tls": True, "folder": str(folder)}
        service = new_service(mqtt=broker | {name: str(folder / file) for name, file in names.items()})
        place = (
            "--out",
            str(folder),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--workers",
            "2",
        )
        done = service.cli_offline("broker", "config", *place, *options)
        assert done.returncode == 0, done.stderr
        if os.geteuid() == 0:  # as root the broker would become a user who may not read the test's folder
            with (folder / "mosquitto.conf").open("a") as config:
                config.write("user root\n")
        made.append(Site(service=service, port=port, folder=folder))
        made[-1].start_broker()
        service.start()
        return made[-1]

    yield make
    for site in made:
        for client in site.clients:
            client.loop_stop()
        if site.process is not None:
            site.process.terminate()
            site.process.wait(10)


@pytest.fixture
def site(new_site):
    """A site with its defaults."""
    return new_site()


def window(name):
    return encode(
        Window(
            window_id=name,
            sequence=1,
            boot_id="b",
            started_at=1,
            ended_at=2,
            frames=1,
            fps=1,
            power=Power(source="none"),
        )
    )


def test_a_device_speaks_and_listens_for_itself_alone(site):
    """Its window arrives; another's subtree it neither writes nor reads, nor does it write what it should run."""
    devices = site.enrolled("cam-1", "cam-2")
    one, fleet = site.enter(devices["cam-1"]), site.enter(site.second)
    assert one is not None
    assert one.say("mien/v1/cam-1/m", window("own")) == "Success"
    wait_until(lambda: site.service.get("/devices/cam-1/windows"), what="its own window")
    for topic in ("mien/v1/cam-2/m", "mien/v1/cam-2/status", "mien/v1/cam-1/desired", "mien/v1/cam-2/desired"):
        assert one.say(topic, window("forged"), retain=True) == "Not authorized", topic
    for topic in ("mien/v1/cam-2/desired", "mien/v1/+/desired", "mien/v1/#", "#", "$SYS/#", "mien/v1/cam-1/desired"):
        one.listen(topic)  # a Mosquitto grants any filter and holds back what does not belong to it
    two = site.enter(devices["cam-2"])
    assert two.say("mien/v1/cam-2/twin", b"{}", retain=True) == "Success"
    for name in ("cam-1", "cam-2"):
        assert fleet.say(f"mien/v1/{name}/desired", name.encode(), retain=True) == "Success"
    wait_until(lambda: one.got, what="its own order")
    one.say("mien/v1/cam-1/e")  # answered after everything before it
    assert one.got == {"mien/v1/cam-1/desired": b"cam-1"}
    assert site.service.get("/devices/cam-2/windows") == []


def test_only_certificates_of_this_fleet_enter(site, tmp_path):
    """None, a foreign authority's and one signed by itself are refused in the handshake, whatever name they bear."""
    key = ec.generate_private_key(ec.SECP256R1())
    foreign = open_authority(tmp_path / "foreign")
    request = read_request(request_for(key))
    own = Authority(x509.load_pem_x509_certificate(foreign.pem.encode()), key)
    strangers = [
        issuer.issue_device(request, name).pem for issuer in (foreign, own) for name in ("cam-1", "mien.fleet")
    ]
    assert site.enter(None) is None
    for number, certificate in enumerate(strangers):
        assert site.enter(site.keep(f"stranger-{number}", key, certificate)) is None, number


def test_a_device_takes_no_session_of_another(site):
    """The broker takes the client id from the certificate: naming another's neither ends nor inherits its session."""
    devices = site.enrolled("cam-1", "cam-2")
    one = site.enter(devices["cam-1"], client_id="cam-1")
    two = site.enter(devices["cam-2"], client_id="cam-1")
    assert two.say("mien/v1/cam-2/e") == "Success"
    assert one.say("mien/v1/cam-1/e") == "Success"
    assert (one.gone, two.gone) == ([], [])


def test_no_device_can_be_called_like_the_service(site):
    """The service's name is none that a device may have."""
    with httpx.Client(base_url=site.service.url) as http, pytest.raises(httpx.HTTPStatusError) as caught:
        enrol(http, site.service.token(), "mien.fleet")
    assert caught.value.response.status_code == 422


def test_a_revoked_device_is_shut_out_at_once_and_for_good(site):
    """Its standing connection becomes mute and deaf, a new one is refused, and nobody else is disturbed."""
    devices = site.enrolled("cam-1", "cam-2", "cam-3")
    one, two, three = (site.enter(files) for files in devices.values())
    fleet = site.enter(site.second)
    for visitor, name in ((one, "cam-1"), (two, "cam-2")):
        visitor.listen(f"mien/v1/{name}/desired")
    for name in ("cam-1", "cam-3"):
        done = site.service.cli("device", "revoke", name, "--json")
        assert json.loads(done.stdout)["broker"] == "the broker was told", done.stderr
    wait_until(lambda: one.say("mien/v1/cam-1/m") in {"Not authorized", "disconnected"}, what="it is mute")
    for name in ("cam-1", "cam-2"):
        fleet.say(f"mien/v1/{name}/desired", b"order", retain=True)
    wait_until(lambda: two.got, what="the order of the one that stays")
    assert b"order" not in one.got.values()
    for visitor in (one, three):
        visitor.leave()
    assert site.enter(devices["cam-1"]) is None
    assert site.enter(devices["cam-3"]) is None
    assert two.say("mien/v1/cam-2/m") == "Success"
    assert two.gone == []


def test_a_revocation_that_was_cut_short_is_made_good_at_the_next_start(site):
    """The service was killed between its store and the broker's list: it writes the list when it is back."""
    devices = site.enrolled("cam-1")
    lists = {path: path.read_bytes() for path in (site.folder / "live").iterdir()}
    site.service.cli("device", "revoke", "cam-1")
    assert site.service.process is not None
    site.service.process.kill()
    site.service.process.wait(10)
    for path, content in lists.items():
        path.write_bytes(content)
    site.service.start()
    wait_until(lambda: "cam-1" in (site.folder / "live" / "acl").read_text(), what="the list is written")
    wait_until(lambda: site.enter(devices["cam-1"]) is None, what="the broker refuses it")


def test_a_broker_elsewhere_fetches_its_lists(site, tmp_path):
    """The command writes what the service knows; writing the configuration again does not let anyone in."""
    devices = site.enrolled("cam-1")
    site.service.cli("device", "revoke", "cam-1")
    there = tmp_path / "there"
    place = ("broker", "config", "--out", str(there), "--host", "127.0.0.1")
    assert site.service.cli_offline(*place).returncode == 0
    done = site.service.cli("broker", "refresh", "--out", str(there), "--json")
    assert json.loads(done.stdout)["shut_out"] == ["cam-1"]
    kept = [(there / "live" / name).read_bytes() for name in ("acl", "crl.pem")]
    assert b"user cam-1\ntopic deny #" in kept[0]
    assert site.service.cli_offline(*place).returncode == 0
    assert [(there / "live" / name).read_bytes() for name in ("acl", "crl.pem")] == kept
    wrong = site.service.cli("broker", "refresh", "--out", str(tmp_path))
    assert (wrong.returncode, "mien fleet broker config" in wrong.stderr) == (3, True)
    assert devices


def test_what_is_retained_outlives_a_killed_broker(new_site):
    """SIGKILL: once it was written, a retained message is there again after the restart."""
    site = new_site("--autosave", "1")
    files = site.enrolled("cam-1")["cam-1"]
    site.service.stop()  # its way of saying orders again must not help here
    database = site.folder / "data" / "mosquitto.db"
    site.enter(site.second).say("mien/v1/cam-1/desired", b"the order that is kept", retain=True)
    wait_until(lambda: database.exists() and b"the order that is kept" in database.read_bytes(), what="it is written")
    site.kill_broker()
    site.start_broker()
    device = site.enter(files)
    device.listen("mien/v1/cam-1/desired")
    wait_until(lambda: device.got, what="the retained order")
    assert device.got == {"mien/v1/cam-1/desired": b"the order that is kept"}


def test_an_order_that_a_killed_broker_lost_is_said_again(new_site):
    """The service sends all orders at every connection: what the broker had not written yet comes back."""
    site = new_site("--autosave", "3600")
    files = site.enrolled("cam-1")["cam-1"]
    site.service.publish("1.0.0")
    site.service.rollout("1.0.0", {"waves": [{"name": "all", "percent": 100}], "analysis": None})
    with site.service.operator():
        wait_until(lambda: site.service.get("/devices/cam-1")["desired"], what="an order")
    site.kill_broker()
    site.start_broker()
    device = site.enter(files)
    device.listen("mien/v1/cam-1/desired")
    wait_until(lambda: device.got, what="the order", timeout_s=60)
    assert b"1.0.0" in device.got["mien/v1/cam-1/desired"]


def test_connections_and_messages_have_bounds(new_site):
    """One client too many is refused; a message that is too large ends its own connection and no other."""
    site = new_site("--max-connections", "3")
    devices = site.enrolled(*(f"cam-{number}" for number in range(1, 8)))
    site.service.stop()
    site.kill_broker()
    site.start_broker()  # docs/runbooks/broker.md: this version forgets that bound when it reads its lists anew
    one, two, *others = (site.enter(files) for files in devices.values())
    assert None in others
    assert one.say("mien/v1/cam-1/m", b"x" * 300_000) in {"disconnected", "Packet too large"}
    assert two.say("mien/v1/cam-2/m", window("w")) == "No matching subscribers"


def test_a_renewed_certificate_counts_without_a_restart_of_the_agent(site, tmp_path):
    """The link reads the file again: with one that does not count it stays out, with the right one it is in."""
    certificate, key = site.enrolled("cam-1")["cam-1"]
    good, own = certificate.read_text(), load_pem_private_key(key.read_bytes(), password=None)
    foreign = open_authority(tmp_path / "foreign").issue_device(read_request(request_for(own)), "cam-1")
    certificate.write_text(foreign.pem)
    address = BrokerAddress(host="127.0.0.1", port=site.port, tls=True)
    files = TlsFiles(ca=site.folder / "ca.pem", certificate=certificate, key=key)
    link = MqttLink("cam-1", address, tls=files, will=("mien/v1/cam-1/status", b"{}"))
    refused = threading.Event()
    link.start(Recorder(refused))
    assert refused.wait(20)
    certificate.write_text(good)
    link.readdress(address)
    wait_until(lambda: link.is_connected, what="the link is in")
    link.close()


def test_the_units_are_ones_that_systemd_takes():
    """``systemd-analyze verify`` has nothing to say, and they name the folder that the runbook writes."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None or not Path("/usr/sbin/mosquitto").exists():
        pytest.skip("systemd or mosquitto is not installed")
    units = [str(path) for path in sorted((ROOT / "configs" / "broker").glob("mien-broker*"))]
    assert len(units) == 3
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "mien-broker" in line]
    assert (done.returncode, complaints) == (0, [])


class Recorder:
    """Takes what a link tells, and keeps that it was refused."""

    def __init__(self, refused: threading.Event) -> None:
        self._refused = refused

    def connected(self) -> None:
        pass

    def received(self, topic: str, payload: bytes) -> None:
        pass

    def acknowledged(self, ticket: int, *, accepted: bool) -> None:
        pass

    def refused(self, times: int, reason: str) -> None:
        self._refused.set()


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--workers", "17", "1 to 16"), ("--port", "0", "--port"), ("--autosave", "0", "--autosave")],
)
def test_a_configuration_that_could_not_work_is_refused(new_service, tmp_path, option, value, told):
    """With the bounds, and nothing is written."""
    out = tmp_path / "broker"
    done = new_service().cli_offline("broker", "config", "--out", str(out), "--host", "b", option, value)
    assert done.returncode == 3
    assert told in done.stderr
    assert not out.exists()
