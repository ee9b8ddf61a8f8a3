"""Ingest against a real Mosquitto, on SQLite and PostgreSQL: nothing good is lost, whatever comes between or is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from fleet.broker.interface import BrokerAccess
from fleet.broker.secret_group import secret_group
from fleet.config import IngestSettings
from fleet.identity.ca import Issued
from fleet.ingest.mqtt_bus import MqttBus
from fleet.ingest.pipeline import Ingest
from fleet.paths import DataFolder
from fleet.store.database import Store, open_store
from mien.messages import MAX_PAYLOAD_BYTES, Event, Power, Window, encode
from tests.fakes.fake_device import wait_until
from tests.fakes.postgres_server import PostgresServer, programs

ROOT = Path(__file__).parents[3]
DEVICES = [f"cam-{number}" for number in range(8)]
QUEUES = ("allow_anonymous true", "max_queued_messages 0", "max_inflight_messages 200")


@pytest.fixture(scope="module")
def postgres():
    """A running PostgreSQL."""
    try:
        programs()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fleet.db'}"
    return request.getfixturevalue("postgres").make(f"work{random.randrange(1 << 40)}")


@pytest.fixture
def store(url) -> Iterator[Store]:
    """A store with some accepted devices."""
    opened = open_store(url)
    with opened.write() as work:
        for device_id in DEVICES:
            work.devices.add(device_id, "lab", Issued(pem="-", serial=device_id, expires_at=4e9), at=1.0)
    yield opened
    opened.close()


@pytest.fixture
def broker(start_mosquitto):
    """A Mosquitto that keeps what its clients have not taken."""
    return start_mosquitto(*QUEUES)


@contextmanager
def taking(store, port, *, group=None, batch=50):
    """Ingest, running in this process as the service runs it."""
    up = threading.Event()
    ingest = Ingest(
        store, IngestSettings(batch=batch), clock=time.time, changed=lambda: None, connected=lambda _: up.set()
    )
    bus = MqttBus(BrokerAccess(host="127.0.0.1", port=port), group=group)
    ingest.start(bus)
    try:
        assert up.wait(10)
        time.sleep(0.3)  # until the broker has the subscriptions
        yield ingest
    finally:
        ingest.stop()
        bus.stop()


class Sender:
    """A client that publishes with QoS 1 and knows what the broker took."""

    def __init__(self, port: int) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, "sender", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, messages) -> None:
        """Publish and wait until the broker has them all."""
        sent = [self._client.publish(topic, payload, qos=1) for topic, payload in messages]
        for one in sent:
            one.wait_for_publish(30)
            assert one.is_published()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def sender(broker):
    """Connected to the broker."""
    one = Sender(broker.port)
    yield one
    one.close()


def windows(count, name="w"):
    """Windows of all devices in turns."""
    for number in range(count):
        window = Window(
            window_id=f"{name}{number}",
            sequence=number,
            boot_id="b",
            started_at=float(number),
            ended_at=float(number + 10),
            frames=100,
            fps=10.0,
            power=Power(source="none"),
        )
        yield f"mien/v1/{DEVICES[number % len(DEVICES)]}/m", encode(window)


def stored(store):
    """Ids of all windows in the store, each as often as it is there."""
    with store.read() as work:
        return [window.window_id for device_id in DEVICES for window in work.windows.latest(device_id, 100_000)]


def rubbish(chance):
    """Something that is no message, on a topic of a device or a stranger."""
    good = next(iter(windows(1)))[1]
    payload = chance.choice(
        [
            chance.randbytes(chance.randrange(1, 400)),
            b"[" * 60_000,
            b"x" * (MAX_PAYLOAD_BYTES + 1),
            good[: chance.randrange(1, len(good) - 1)],
            good[:-1] + b',"future":NaN}',
            good[:-1] + b',"nvpmodel":"a\\u0000b"}',
            good[:-1] + b',"future":' + b"9" * 5000 + b"}",
            good.replace(b'"b"', b'"\xff"'),
            b"null",
        ]
    )
    channel = chance.choice(["m", "e", "update", "twin", "status"])
    return f"mien/v1/{chance.choice([*DEVICES, 'stranger'])}/{channel}", payload


def test_a_flood_of_rubbish_loses_no_good_message(broker, store, sender):
    """Ten bad messages around each good one; events whose text a database may refuse are among the bad."""
    chance = random.Random(7)
    good = list(windows(150))
    event = Event(event_id="e1", at=1.0, kind="k", severity="info", message="m" * 500)
    mixed = [*good, ("mien/v1/cam-0/e", encode(event)), *(rubbish(chance) for _ in range(1500))]
    chance.shuffle(mixed)
    with taking(store, broker.port) as ingest:
        sender.send(mixed)
        wait_until(lambda: ingest.taken == len(mixed) and ingest.is_idle, what="all is looked at", timeout_s=60)
        assert ingest.counts["stored"] == len(good) + 1
        assert ingest.counts["bad"] == 1500
    assert sorted(stored(store)) == sorted(f"w{number}" for number in range(150))


def test_what_is_acknowledged_does_not_come_again(broker, store, sender):
    """Acknowledgements of a batch are one write; the broker must have understood each of them."""
    with taking(store, broker.port) as ingest:
        sender.send(windows(500))
        wait_until(lambda: ingest.counts["stored"] == 500, what="all is stored")
    with taking(store, broker.port) as ingest:
        sender.send(windows(10, name="later"))
        wait_until(lambda: ingest.counts["stored"] == 10, what="what is new is stored")
        assert ingest.taken == 10


def test_what_came_while_nobody_was_there_is_stored(broker, store, sender):
    """The session outlives the process."""
    with taking(store, broker.port):
        pass
    sender.send(windows(300))
    with taking(store, broker.port) as ingest:
        wait_until(lambda: ingest.counts["stored"] == 300, what="all is stored")


class Worker:
    """``mien fleet ingest`` as a process of its own."""

    def __init__(self, folder: Path, port: int, url: str) -> None:
        self.config = folder / "fleet.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "data": str(folder / "data"),
                    "database_url": url,
                    "mqtt": {"broker": "external", "port": port},
                    "ingest": {"shared": True, "batch": 20},
                }
            )
        )
        self.group = secret_group(DataFolder(folder / "data").ingest_group)
        self.process: subprocess.Popen[str] | None = None

    def start(self, *more: str) -> Worker:
        command = [sys.executable, "-m", "mien", "fleet", "ingest", "--config", str(self.config), "--json", *more]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        line = self.process.stderr.readline()
        assert "takes its share" in line, line + self.process.stderr.read()
        time.sleep(0.3)  # until the broker has its subscription
        return self

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=10)

    def end(self, *, ask: bool = True) -> dict[str, object]:
        if ask:
            self.process.terminate()
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return json.loads(out)


def test_a_killed_worker_loses_nothing(tmp_path, broker, store, url, sender):
    """Two share the load; one is killed again and again in the middle, and what it had is stored all the same."""
    worker = Worker(tmp_path, broker.port, url)
    with taking(store, broker.port, group=worker.group) as ingest:
        for turn in range(3):
            worker.start()
            sender.send(windows(200, name=f"t{turn}-"))
            worker.kill()
            sender.send(windows(100, name=f"gone{turn}-"))
        counted = worker.start()
        wait_until(lambda: len(stored(store)) >= 900, what="all is stored", timeout_s=60)
        assert 0 < ingest.counts["stored"] < 900
        counted.end()
    assert len(set(stored(store))) == len(stored(store)) == 900


def test_a_worker_that_leaves_takes_nothing_with_it(tmp_path, broker, store, url, sender):
    """It stores its share, and the next messages all go to the others."""
    worker = Worker(tmp_path, broker.port, url).start()
    with taking(store, broker.port, group=worker.group) as ingest:
        sender.send(windows(100))
        worker.kill()
        sender.send(windows(100, name="gone"))
        answer = worker.start("--leave").end(ask=False)
        assert answer["left"]
        before = ingest.counts["stored"]
        sender.send(windows(100, name="after"))
        wait_until(lambda: ingest.counts["stored"] == before + 100, what="the rest takes all")
    assert len(stored(store)) == 300


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"mqtt": {"broker": "external"}}, "shared: true"),
        ({"ingest": {"shared": True}}, "external"),
    ],
)
def test_a_worker_that_would_get_nothing_says_so(tmp_path, settings, wanted):
    """Rather than run for ever without work."""
    config = tmp_path / "fleet.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "mien", "fleet", "ingest", "--config", str(config), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert wanted in done.stdout + done.stderr


def test_a_database_that_is_killed_loses_nothing(broker, sender):
    """PostgreSQL is killed under load and comes back; ingest waits for it and stores all."""
    try:
        server = PostgresServer(durable=True).start()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    opened = open_store(server.make("fleet"))
    try:
        with opened.write() as work:
            for device_id in DEVICES:
                work.devices.add(device_id, "lab", Issued(pem="-", serial=device_id, expires_at=4e9), at=1.0)
        with taking(opened, broker.port) as ingest:
            sender.send(windows(100))
            server.kill()
            sender.send(windows(100, name="away"))
            wait_until(lambda: ingest.counts["retried"] > 0, what="ingest noticed")
            (server.folder / "data" / "postmaster.pid").unlink()
            server.start()
            wait_until(lambda: len(stored(opened)) == 200, what="all is stored", timeout_s=60)
    finally:
        opened.close()
        server.stop()
