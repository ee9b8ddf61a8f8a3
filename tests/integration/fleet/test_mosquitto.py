"""The Mosquitto configuration that mien writes, in a real Mosquitto: who may speak, and for whom."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from fleet.identity.ca import read_request
from mien.messages import Power, Window, encode
from tests.fakes.fake_device import enrol, request_for, wait_until
from tests.integration.conftest import MOSQUITTO
from tests.integration.fleet.conftest import free_port


@pytest.fixture
def site(new_service, tmp_path):
    """A service whose broker is a Mosquitto with the written configuration."""
    if not Path(MOSQUITTO).exists():
        pytest.skip("mosquitto is not installed: make test installs it")
    port, folder = free_port(), tmp_path / "broker"
    broker = {"broker": "external", "host": "127.0.0.1", "port": port, "tls": True}
    files = {
        name: str(folder / f)
        for name, f in (("ca", "ca.pem"), ("client_cert", "fleet.pem"), ("client_key", "fleet.key"))
    }
    service = new_service(mqtt=broker | files)
    done = service.cli_offline("broker", "config", "--out", str(folder), "--host", "127.0.0.1", "--port", str(port))
    assert done.returncode == 0, done.stderr
    if os.geteuid() == 0:  # as root the broker would become a user who may not read the test's folder
        with (folder / "mosquitto.conf").open("a") as config:
            config.write("user root\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.PIPE)
    time.sleep(0.5)
    assert process.poll() is None, process.stderr.read().decode()
    service.start()
    yield service, port, folder
    process.terminate()
    process.wait(10)


def connected(port, folder, name, *, key=None, certificate=None):
    """A client with this certificate; ``None`` when the broker refuses it."""
    client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
    files = [None, None]
    if key is not None:
        files = [str(folder / f"{name}.pem"), str(folder / f"{name}.key")]
        Path(files[0]).write_text(certificate)
        Path(files[1]).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    client.tls_set(str(folder / "ca.pem"), *files)
    accepted = []
    client.on_connect = lambda _c, _d, _f, reason, _p: accepted.append(not reason.is_failure)
    try:
        client.connect("127.0.0.1", port)
    except (ssl.SSLError, OSError):
        return None
    client.loop_start()
    end = time.monotonic() + 3
    while not accepted and time.monotonic() < end:
        time.sleep(0.05)
    if accepted == [True]:
        return client
    client.loop_stop()
    return None


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


def test_a_device_speaks_for_itself_alone(site):
    """Its windows arrive; what it writes in another's name does not; without a certificate nobody enters."""
    service, port, folder = site
    with httpx.Client(base_url=service.url) as http:
        token = service.token(2)
        one, two = (enrol(http, token, name) for name in ("cam-1", "cam-2"))
    assert one.answer["mqtt"] == {"host": "127.0.0.1", "port": port, "tls": True, "username": None, "password": None}
    client = connected(port, folder, "cam-1", key=one.key, certificate=one.answer["certificate_pem"])
    assert client is not None
    client.publish("mien/v1/cam-2/m", window("forged"), qos=1)
    client.publish("mien/v1/cam-1/m", window("own"), qos=1)
    wait_until(lambda: service.get("/devices/cam-1/windows"), what="its own window")
    assert service.get("/devices/cam-2/windows") == []
    client.loop_stop()
    assert connected(port, folder, "nobody") is None
    assert two.device_id == "cam-2"


def test_a_certificate_of_another_authority_is_refused(site, tmp_path):
    """The name alone opens nothing."""
    from fleet.identity.ca import open_authority

    _, port, folder = site
    key = ec.generate_private_key(ec.SECP256R1())
    foreign = open_authority(tmp_path / "foreign").issue_device(read_request(request_for(key)), "cam-1")
    assert connected(port, folder, "cam-1", key=key, certificate=foreign.pem) is None
