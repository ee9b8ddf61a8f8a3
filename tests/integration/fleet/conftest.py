"""The fleet service as a process of its own, and devices that talk to it over its real broker."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.fakes.fake_device import Behaviour, FakeDevice, enrol, wait_until
from tests.fakes.paper_bundle import write_bundle

ROOT = Path(__file__).parents[3]
FAST = {
    "name": "fast",
    "waves": [{"name": "canary", "count": 1}, {"name": "rest", "percent": 100}],
    "timeout_s": 60,
    "analysis": {"min_windows": 4, "timeout_s": 30},
}
AT_ONCE = {"name": "at-once", "waves": [{"name": "all", "percent": 100}], "analysis": None}


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """``mien fleet serve``, and what operators do with it."""

    data: Path
    settings: dict[str, Any] = field(default_factory=dict)
    http_port: int = field(default_factory=free_port)
    mqtt_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self.settings.get("http", {}).get("tls") else "http"
        return f"{scheme}://127.0.0.1:{self.http_port}"

    @property
    def trust(self) -> ssl.SSLContext | bool:
        """The fleet's authority alone, once it is there."""
        ca = self.data / "ca" / "ca.pem"
        return ssl.create_default_context(cafile=str(ca)) if ca.exists() else True

    @property
    def log(self) -> str:
        return (self.data.parent / "fleet.log").read_text()

    def start(self) -> Service:
        config = self.data.parent / "fleet.yaml"
        config.write_text(yaml.safe_dump({"rollouts": {"tick_s": 0.1}} | self.settings))
        ports = ["--http-port", str(self.http_port)]
        if self.settings.get("mqtt", {}).get("broker") != "external":
            ports += ["--mqtt-port", str(self.mqtt_port)]
        with (self.data.parent / "fleet.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "mien",
                    "fleet",
                    "serve",
                    "--data",
                    str(self.data),
                    "--config",
                    str(config),
                    *ports,
                ],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, what="the service is up", timeout_s=40)
        return self

    def kill(self) -> None:
        """Pull the plug."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        wait_until(lambda: not _listens(self.mqtt_port), what="the broker's port is free")

    def stop(self) -> int:
        """Ask it to end."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(15)

    def operator(self) -> httpx.Client:
        token = (self.data / "operator.token").read_text().strip()
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=10, verify=self.trust
        )

    def get(self, path: str) -> Any:
        with self.operator() as http:
            answer = http.get(f"/api/v1{path}")
        answer.raise_for_status()
        return answer.json()

    def page(self, path: str) -> httpx.Response:
        """A page of the dashboard, as a program with the operator's token gets it."""
        with self.operator() as http:
            return http.get(path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        with self.operator() as http:
            answer = http.post(f"/api/v1{path}", json=body or {})
        answer.raise_for_status()
        return answer.json()

    def token(self, uses: int = 1, group: str = "lab") -> str:
        return str(self.post("/tokens", {"group": group, "uses": uses, "ttl_s": 600})["token"])

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A ``mien fleet`` command against this service."""
        return subprocess.run(
            [sys.executable, "-m", "mien", "fleet", *arguments, "--data", str(self.data), "--url", self.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "MIEN_FLEET_TOKEN"},
        )

    def cli_offline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A ``mien fleet`` command that works on the data folder alone."""
        return subprocess.run(
            [sys.executable, "-m", "mien", "fleet", *arguments, "--data", str(self.data)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def publish(self, version: str) -> None:
        folder = self.data.parent / f"bundle-{version}"
        write_bundle(folder, version)
        done = self.cli("publish", str(folder), "--json")
        assert done.returncode == 0, done.stdout + done.stderr

    def rollout(self, version: str, policy: dict[str, Any]) -> int:
        body = {"release": f"faces@{version}", "policy": policy, "start": True}
        return int(self.post("/rollouts", body)["id"])

    def ended(self, number: int, timeout_s: float = 40) -> dict[str, Any]:
        """Wait for a rollout's end."""
        ends = {"finished", "stopped", "paused"}
        wait_until(
            lambda: self.get(f"/rollouts/{number}")["state"] in ends,
            what=f"rollout {number} ended",
            timeout_s=timeout_s,
        )
        found: dict[str, Any] = self.get(f"/rollouts/{number}")
        return found

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended:\n{self.log}")
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5, verify=self.trust).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services that end with the test."""
    made: list[Service] = []

    def make(**settings: Any) -> Service:
        folder = tmp_path / f"fleet-{len(made)}"
        folder.mkdir()
        made.append(Service(data=folder / "data", settings=settings))
        return made[-1]

    yield make
    for service in made:
        if service.process is not None and service.process.poll() is None:
            service.stop()


@pytest.fixture
def service(new_service: Callable[..., Service]) -> Service:
    """A running service with its embedded broker."""
    return new_service().start()


@pytest.fixture
def start_devices(service: Service) -> Iterator[Callable[..., list[FakeDevice]]]:
    """Enrols and starts devices that end with the test; waits until they are online."""
    running: list[FakeDevice] = []

    def start(count: int, behaviour: Behaviour | None = None) -> list[FakeDevice]:
        token = service.token(count)
        first = len(running)
        with httpx.Client(base_url=service.url) as http:
            for number in range(first, first + count):
                enrolment = enrol(http, token, f"cam-{number}")
                running.append(FakeDevice(enrolment, behaviour, seed=number).start())
        wait_until(
            lambda: sum(device["online"] for device in service.get("/devices")) >= len(running), what="devices online"
        )
        return running[first:]

    yield start
    for device in running:
        device.stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


def children_of(pid: int) -> list[int]:
    """Processes which a process started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
