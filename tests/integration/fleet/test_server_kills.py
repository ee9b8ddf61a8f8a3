"""The service is killed again and again in the middle of one rollout, which then ends as if nothing had happened.

A real ``mien fleet serve`` and a real Mosquitto with TLS; simulated devices whose outcomes depend on a seed alone, so
two runs from one state of the disk must come to the same rows.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.client import FleetClient
from fleet.simulator.prepare import Plan, prepare
from fleet.simulator.profile import SimulationProfile
from fleet.store.database import Store, open_store
from tests.fakes.fake_device import FACTS, wait_until
from tests.fakes.paper_bundle import write_bundle
from tests.integration.conftest import MOSQUITTO
from tests.integration.fleet.conftest import ROOT, free_port

KILLS = int(os.environ.get("MIEN_TEST_KILLS", "100"))
AT_POINTS = max(1, KILLS // 4)
STEPS = 12
"""From how many steps after its start the server dies; few come to more while the devices take their time."""
SEED = 20261125
WAVES = 8
IN_A_WAVE = 5
DEVICES = 1 + WAVES * IN_A_WAVE + 1
POLICY = {
    "name": "many-waves",
    "waves": [
        {"name": "canary", "count": 1},
        *({"name": f"wave-{n}", "count": IN_A_WAVE} for n in range(WAVES)),
        {"name": "last", "count": 1},
    ],
    "success_threshold": 0.6,
    "error_threshold": 0.4,
    "timeout_s": 900,
    "analysis": None,
}
PROFILE = SimulationProfile.model_validate(
    {
        "hardware": [{"name": "board", "share": 1, "facts": FACTS}],
        "sites": [{"name": "lab", "share": 1, "latency_s": 0.0}],
        "release": {"name": "faces", "version": "1.0.0"},
        "window_s": 2,
        "spread": 0,
        "steps_s": {"downloading": 0.1, "verifying": 0.1, "building": 0.1, "installing": 0.1, "probing": 0.1},
        "fail": 0.1,
        "fails_in": {"probing": 2, "building": 1},
        "verified": 0,
    }
)
QUICK, SLOWEST = 1.0, 60.0
SPAN_S = 1.2
"""The longest life; about half of it is the start."""


@dataclass
class World:
    """A fleet that can be set back to one moment."""

    folder: Path
    http_port: int = field(default_factory=free_port)
    mqtt_port: int = field(default_factory=free_port)
    pace: float = QUICK
    number: int = 0
    _broker: subprocess.Popen[bytes] | None = None
    _server: subprocess.Popen[bytes] | None = None
    _standby: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def make(self) -> None:
        """Enrol devices, publish releases, create the rollout, and keep that moment."""
        options = ["--host", "127.0.0.1", "--port", str(self.mqtt_port), "--bind", "127.0.0.1", "--autosave", "1"]
        self._mien("broker", "config", "--out", str(self.folder / "broker"), *options)
        if os.geteuid() == 0:  # as root the broker would become a user who may not read the test's folder
            with (self.folder / "broker" / "mosquitto.conf").open("a") as config:
                config.write("user root\n")
        files = {"ca": "ca.pem", "client_cert": "fleet.pem", "client_key": "fleet.key"}
        mqtt = {"broker": "external", "host": "127.0.0.1", "port": self.mqtt_port, "tls": True}
        mqtt |= {name: str(self.folder / "broker" / file) for name, file in files.items()}
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump({"mqtt": mqtt, "rollouts": {"tick_s": 0.1}}))
        self.start_broker()
        self.start_server()
        for version in ("1.0.0", "1.1.0"):
            write_bundle(self.folder / version, version)
            self._mien("publish", str(self.folder / version), "--url", self.url)
        self.simulated(lambda: None)
        with self.client() as fleet:
            self.number = fleet.post("/rollouts", {"release": "faces@1.1.0", "policy": POLICY})["id"]
        self.end()
        with closing(sqlite3.connect(self.data / "fleet.db")) as database:  # who is in which wave is the test's, too
            database.execute("UPDATE rollouts SET seed = ?", (str(SEED),))
            database.commit()
        shutil.copytree(self.data, self.folder / "data-before")
        shutil.copytree(self.folder / "devices", self.folder / "devices-before")

    def set_back(self) -> None:
        """To that moment; the broker knows nothing."""
        for name in ("data", "devices"):
            shutil.rmtree(self.folder / name)
            shutil.copytree(self.folder / f"{name}-before", self.folder / name)
        shutil.rmtree(self.folder / "broker" / "data")
        (self.folder / "broker" / "data").mkdir()
        self.pace = QUICK

    def simulated(self, work: Callable[[], None]) -> None:
        """Do something while all devices are connected."""
        plan = Plan(
            devices=DEVICES, profile=PROFILE, url=self.url, state=self.folder / "devices", data=self.data, seed=SEED
        )
        fleet = prepare(plan, pace=lambda: self.pace)
        thread = threading.Thread(target=fleet.simulation.run)
        thread.start()
        try:
            wait_until(
                lambda: self._rows("SELECT count(*) FROM devices WHERE online") == [(DEVICES,)], what="all online"
            )
            work()
        finally:
            fleet.simulation.stop()
            thread.join()
            fleet.close(politely=False)

    def start_broker(self) -> None:
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._broker = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "broker/mosquitto.conf")], stderr=log)
        wait_until(lambda: _listens(self.mqtt_port), what="the broker listens")

    def start_server(self, *, dies_at: int = 0, wait: bool = True) -> None:
        """Let the one that stands by begin, and load the next one."""
        self._server, self._standby = self._standby or self._spawn(), self._spawn()
        assert self._server.stdin is not None
        self._server.stdin.write(f"{dies_at}\n".encode())
        self._server.stdin.close()
        if wait:
            wait_until(lambda: _listens(self.http_port), what="the service answers", timeout_s=40)

    def kill_server(self) -> None:
        """SIGKILL, unless it is dead already."""
        assert self._server is not None
        self._server.kill()
        self._server.wait(10)

    def await_server_end(self, timeout_s: float) -> None:
        """Until it has killed itself."""
        assert self._server is not None
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(timeout_s)
        assert self._server.returncode in {None, -signal.SIGKILL}, (self.folder / "serve.log").read_text()[-3000:]

    def end(self) -> None:
        """End server and broker."""
        for process in (self._server, self._standby, self._broker):
            if process is not None:
                process.kill()
                process.wait(10)
                if process.stdin is not None and not process.stdin.closed:
                    process.stdin.close()
        self._server = self._standby = self._broker = None

    def client(self) -> FleetClient:
        return FleetClient(self.url, (self.data / "operator.token").read_text().strip())

    def state(self) -> str:
        return str(self._rows("SELECT state FROM rollouts")[0][0])

    def ended_share(self) -> float:
        return float(self._rows("SELECT count(*) FROM executions WHERE ended_at IS NOT NULL")[0][0]) / DEVICES

    def outcome(self) -> dict[str, Any]:
        """All that must be the same, without times."""
        store = open_store(f"sqlite:///{self.data / 'fleet.db'}")
        try:
            return _outcome(store, self.number)
        finally:
            store.close()

    def _rows(self, question: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.data / 'fleet.db'}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(question).fetchall()

    def _spawn(self) -> subprocess.Popen[bytes]:
        serve = ["fleet", "serve", "--data", str(self.data), "--config", str(self.folder / "fleet.yaml")]
        with (self.folder / "serve.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.standby_server", *serve, "--http-port", str(self.http_port)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _mien(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "mien", "fleet", *arguments, "--data", str(self.data)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Made once; every test begins at the same moment."""
    if not Path(MOSQUITTO).exists():
        pytest.skip("mosquitto is not installed: make test installs it")
    made = World(tmp_path_factory.mktemp("kills"))
    try:
        made.make()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, Any]:
    """How the rollout ends when nobody disturbs it."""
    return ended_after(world, lambda: None)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_rollout_ends_the_same_however_often_the_server_is_killed(world: World, undisturbed: dict[str, Any]) -> None:
    """Killed at random moments, its own start among them; the rollout still runs at the last kill."""
    chance = random.Random(SEED)

    def kills() -> None:
        for done in range(KILLS):
            world.pace = _pace(world.ended_share(), done / KILLS)
            world.kill_server()
            world.start_server(wait=False)
            time.sleep(chance.uniform(0.05, SPAN_S))
        assert world.state() == "running"

    assert ended_after(world, kills) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_rollout_ends_the_same_when_the_server_dies_between_its_steps(
    world: World, undisturbed: dict[str, Any]
) -> None:
    """It kills itself right before or after a commit, a publication, an acknowledgement: the first, the second and so on."""

    def kills() -> None:
        for done in range(AT_POINTS):
            world.pace = _pace(world.ended_share(), done / AT_POINTS)
            world.kill_server()
            world.start_server(dies_at=1 + done % STEPS, wait=False)
            world.await_server_end(2 * SPAN_S)
        assert world.state() == "running"

    assert ended_after(world, kills) == undisturbed


def ended_after(world: World, disturb: Callable[[], None]) -> dict[str, Any]:
    """Run the rollout from the kept moment to its end, with a disturbance; what it came to."""
    world.set_back()
    world.start_broker()
    world.start_server()

    def run() -> None:
        with world.client() as fleet:
            fleet.post(f"/rollouts/{world.number}/start")
        disturb()
        world.pace = QUICK
        world.kill_server()
        world.start_server()
        wait_until(lambda: world.state() not in {"running", "ready"}, what="the rollout ended", timeout_s=300)
        assert world.state() == "finished"

    try:
        world.simulated(run)
    finally:
        world.end()
    found = world.outcome()
    ends = {row[2] for row in found["executions"]}
    assert ends == {"SUCCEEDED", "FAILED"}, "the seed must make some devices fail"
    assert len(found["executions"]) == DEVICES
    return found


def _outcome(store: Store, number: int) -> dict[str, Any]:
    with store.read() as work:
        rollout = work.rollouts.find(number)
        assert rollout is not None
        return {
            "state": rollout.view.state,
            "waves": [(wave.number, wave.state) for wave in rollout.view.waves],
            "executions": sorted(
                (e.device_id, e.wave, e.state, e.detail, e.deployment_id, e.previous) for e in rollout.view.executions
            ),
            "devices": [(d.id, d.release, d.desired_deployment, sorted(d.known_bad)) for d in work.devices.all()],
            "audit": [
                (entry.actor, entry.action, entry.subject, dict(entry.details))
                for entry in reversed(work.audit.latest(1000))
                if entry.action.startswith("rollout.")
            ],
            "unsent": work.devices.outgoing(),
        }


def _pace(ended: float, killed: float) -> float:
    """Slow devices down as far as the rollout is ahead of the kills, so that it is under way at the last one."""
    return min(SLOWEST, QUICK * 2 ** (40 * (ended - 0.8 * killed)))


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False
