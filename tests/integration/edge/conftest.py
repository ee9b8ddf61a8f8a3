"""A fleet's side and devices as separate processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from mien import topics
from mien.messages import Desired, ProbePolicy, Status, Twin, UpdateReport, Window, decode, encode
from mien.release import ReleaseRef
from tests.fakes.fake_fleet import FakeFleet
from tests.fakes.tuf_repository import TufRepository

ROOT = Path(__file__).parents[3]
REPLAY = ROOT / "configs" / "power" / "orin-nano-replay.log"
DEVICE = "lab-abc123"


class Listener:
    """Everything that devices say, and the way to tell them what is wanted."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._client = Client(CallbackAPIVersion.VERSION2, "listener", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("mien/v1/#", qos=1)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def desire(self, release: str, manifest_sha256: str, deployment: str, **more: Any) -> None:
        """Publish a retained desired state."""
        wanted = Desired(
            deployment_id=deployment,
            release=ReleaseRef.parse(release),
            manifest_sha256=manifest_sha256,
            issued_at=time.time(),
            probe=ProbePolicy(live_seconds=0.5, min_live_frames=3, max_latency_ratio=100, max_power_ratio=100),
            **more,
        )
        topic = topics.topic(DEVICE, topics.DESIRED)
        self._client.publish(topic, encode(wanted), qos=1, retain=True).wait_for_publish(10)

    def of(self, channel: str) -> list[bytes]:
        """Payloads of one channel of the device."""
        wanted = topics.topic(DEVICE, channel)
        with self._changed:
            return [payload for topic, payload in self.messages if topic == wanted and payload]

    def reports(self, deployment: str) -> list[UpdateReport]:
        """Update reports of one deployment."""
        found = [decode(UpdateReport, payload, source="device") for payload in self.of(topics.UPDATE)]
        return [report for report in found if report.deployment_id == deployment]

    def windows(self) -> list[Window]:
        """Telemetry windows."""
        return [decode(Window, payload, source="device") for payload in self.of(topics.WINDOW)]

    def twin(self) -> Twin | None:
        """The newest twin."""
        found = self.of(topics.TWIN)
        return decode(Twin, found[-1], source="device") if found else None

    def status(self) -> str | None:
        """The newest status."""
        found = self.of(topics.STATUS)
        return decode(Status, found[-1], source="device").state if found else None

    def wait(self, until: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
        """Wait until something holds; its value."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            value = until()
            if value:
                return value
            with self._changed:
                self._changed.wait(0.1)
        heard = [(topic.rsplit("/", 1)[-1], payload[:300]) for topic, payload in self.messages[-12:]]
        pytest.fail(f"{what} did not come within {timeout_s:g} s; heard last: {heard}")

    def ended(self, deployment: str, state: str, timeout_s: float = 60.0) -> UpdateReport:
        """Wait until a deployment reports this state."""

        def found() -> UpdateReport | None:
            return next((r for r in self.reports(deployment) if r.state.value == state), None)

        report: UpdateReport = self.wait(found, f"state {state} of {deployment}", timeout_s)
        return report

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()


@dataclass
class DeviceProcess:
    """``mien edge run`` as its own process."""

    config: Path
    log: Path
    state: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mien", "edge", "run", "--config", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        self.process = None
        return status

    def wait(self) -> int:
        """Wait for its own end; the exit status."""
        assert self.process is not None
        status = self.process.wait(timeout=30)
        self.process = None
        return status


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    """An empty, signed repository."""
    return TufRepository(tmp_path / "tuf")


@pytest.fixture
def fleet(repository: TufRepository) -> Iterator[FakeFleet]:
    """The fleet's HTTP side."""
    service = FakeFleet(repository.folder, repository.root_bytes)
    yield service
    service.close()


@pytest.fixture
def make_device(tmp_path: Path, fleet: FakeFleet) -> Iterator[Callable[..., DeviceProcess]]:
    """Makes devices that are not enrolled yet, one state folder each; ends them after the test."""
    made: list[DeviceProcess] = []

    def make(name: str = DEVICE) -> DeviceProcess:
        state = tmp_path / name
        config = tmp_path / f"{name}.yaml"
        settings = {
            "state": str(state),
            "camera": {"source": "synthetic://160x120@20"},
            "telemetry": {"window_s": 0.5},
            "power": {"source": "replay", "replay": str(REPLAY), "interval_s": 0.2},
            "fleet": {"session_check_s": 1},
            "probe": {"settle_s": 0.1},
        }
        config.write_text(json.dumps(settings))
        made.append(DeviceProcess(config=config, log=tmp_path / f"{name}.log", state=state))
        return made[-1]

    yield make
    for device in made:
        if device.process is not None:
            device.process.kill()
            device.process.wait(timeout=10)


@pytest.fixture
def enrolled(make_device: Callable[..., DeviceProcess], fleet: FakeFleet, mosquitto: Any) -> tuple[DeviceProcess, Any]:
    """An enrolled device that does not run yet, and its broker."""
    from edge.identity.enrol import enrol
    from edge.identity.token import parse_token

    fleet.mqtt["port"] = mosquitto.port
    device = make_device()
    enrol(parse_token(fleet.token()), fleet.url, device.state, device_id=DEVICE)
    return device, mosquitto


@pytest.fixture
def faulty(enrolled: tuple[DeviceProcess, Any]) -> Iterator[Any]:
    """The enrolled device as a program whose engine and board a test rules over; ends it after the test."""
    from tests.integration.edge.faulty import FaultyDevice

    plain = enrolled[0]
    device = FaultyDevice(config=plain.config, log=plain.log, state=plain.state)
    yield device
    if device.process is not None:
        device.process.kill()
        device.process.wait(timeout=10)


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hears what the device says to systemd."""
    from tests.integration.edge.faulty import Systemd

    heard = Systemd(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield heard
    heard.close()


@pytest.fixture
def listener(enrolled: tuple[DeviceProcess, Any]) -> Iterator[Listener]:
    """Hears what the device says."""
    heard = Listener(enrolled[1].port)
    yield heard
    heard.close()
