"""Engines built once for a hardware class: real devices, a real service with its registry and broker, real onnxruntime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.update.slots import Installed, SlotStore
from mien.files import sha256_of
from tests.fakes.fake_device import wait_until
from tests.fakes.tiny_bundle import make_bundle
from tests.integration.fleet.conftest import AT_ONCE, ROOT, Service

PROBE = {"live_seconds": 0.5, "min_live_frames": 3, "max_latency_ratio": 100, "max_power_ratio": 100}


@dataclass
class Camera:
    """``mien edge run`` as a process of its own, enrolled with a service."""

    folder: Path
    service: Service
    updates: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def active(self) -> Installed | None:
        return SlotStore(self.folder / "state" / "slots").active()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> Camera:
        self.folder.mkdir()
        settings = {
            "state": str(self.folder / "state"),
            "camera": {"source": "synthetic://160x120@20"},
            "telemetry": {"window_s": 0.5},
            "power": {"source": "none"},
            "updates": self.updates,
        }
        config = self.folder / "edge.yaml"
        config.write_text(yaml.safe_dump(settings))
        token = f"{self.service.token()}@{self.service.url}"
        self._mien("enroll", token, "--device-id", self.id, "--state", str(self.folder / "state"))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mien", "edge", "run", "--config", str(config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        wait_until(lambda: self.service.get(f"/devices/{self.id}")["online"], what=f"{self.id} online", timeout_s=40)
        return self

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def _mien(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "mien", "edge", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def start_camera(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    """Starts devices that end with the test."""
    made: list[Camera] = []

    def start(service: Service, **updates: Any) -> Camera:
        made.append(Camera(tmp_path / f"cam-{len(made) + 1}", service, updates))
        return made[-1].start()

    yield start
    for camera in made:
        camera.stop()


def publish(service: Service, version: str) -> None:
    """Publish a release with a model that runs."""
    folder = service.data.parent / f"bundle-{version}"
    make_bundle(folder, version, ballast=400_000)
    done = service.cli("publish", str(folder), "--json")
    assert done.returncode == 0, done.stdout + done.stderr


def rolled_out(service: Service, version: str) -> dict[str, Any]:
    """Roll a release out to all devices, to its end."""
    ended = service.ended(service.rollout(version, AT_ONCE | {"probe": PROBE}), timeout_s=90)
    assert ended["state"] == "finished", ended
    return ended


def engine(service: Service, state: str) -> dict[str, Any]:
    """Wait until the one engine that was offered is in a state."""
    wait_until(lambda: [e["state"] for e in service.get("/engines")] == [state], what=f"engine {state}", timeout_s=40)
    found: dict[str, Any] = service.get("/engines")[0]
    return found


def test_the_first_device_builds_and_the_second_does_not(
    new_service: Callable[..., Service], start_camera: Callable[..., Camera]
) -> None:
    """A canary builds, offers, a person approves, and the next device of the class runs the very same bytes."""
    service = new_service(engines={"take": True, "look_s": 0.2}).start()
    publish(service, "1.0.0")
    first = start_camera(service, share_engines=True)
    built = rolled_out(service, "1.0.0")
    assert built["engines"] == {"built": 1, "saved": 0}

    waiting = engine(service, "waiting")
    record = waiting["record"]
    assert (record["device_id"], record["precision"], record["reference_agreement"]) == ("cam-1", "fp32", 1.0)
    assert record["build_s"] > 0
    assert "a person's yes is missing" in waiting["reason"]
    approved = service.cli("engines", "approve", waiting["id"][:12], "--json")
    assert approved.returncode == 0, approved.stdout + approved.stderr

    second = start_camera(service)
    saved = rolled_out(service, "1.0.0")
    assert saved["engines"]["saved"] == 1
    ran, took = first.active, second.active
    assert ran is not None
    assert took is not None
    assert (ran.record.built, took.record.built, took.record.taken) == (True, False, True)
    assert sha256_of(took.engine_path) == sha256_of(ran.engine_path) == record["engine"]["sha256"]
    assert not (took.folder / "engine").exists()
    explained = service.cli("rollout", "explain", str(saved["id"]))
    assert "1 builds saved" in explained.stdout
