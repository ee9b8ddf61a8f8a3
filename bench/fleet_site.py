"""A whole site for the fleet's bench: a Mosquitto with TLS, the service, and simulated devices, a process each.

What is asked of the store is asked of its file directly, so that the questions cost the service nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.common import ROOT, command
from fleet.client import FleetClient
from mien.console import err

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
NAME = "faces"
RUNS, GOOD, BAD = "1.0.0", "1.1.0", "1.2.0"
WINDOW_S = 10.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 60.0


class Site:
    """Starts and ends the processes.

    Args:
        folder: made anew.
        devices: how many.
        fail: share of devices on which a release fails.
    """

    def __init__(self, folder: Path, devices: int, *, fail: float = 0.01) -> None:
        self.devices = devices
        self._folder = folder
        self._http, self._mqtt = _free_port(), _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._configure(fail)

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://127.0.0.1:{self._http}"

    def open(self) -> None:
        """Start everything, publish three releases, and wait until all devices are there."""
        self.start_broker()
        serve = ("--config", self._folder / "fleet.yaml", "--http-port", self._http)
        self._start("service", command("fleet", "serve", "--data", self._folder / "data", *serve))
        self.wait_for(lambda: _is_well(self.url), "the service answers")
        for version in (RUNS, GOOD, BAD):
            self._publish(version)
        simulate = ("--devices", self.devices, "--profile", self._folder / "profile.yaml", "--enrol", "store", "--json")
        where = ("--data", self._folder / "data", "--url", self.url, "--state", self._folder / "devices")
        self._start("simulator", command("fleet", "simulate", *simulate, *where), to=self._folder / "simulator.json")
        err().print(f"{self.devices:,} devices enrol and connect", highlight=False)
        self.wait_for(lambda: self.online() >= self.devices, "all devices are connected", 60 + self.devices / 12)

    def close(self) -> dict[str, Any]:
        """End everything; what the simulator said."""
        for name in ("simulator", "service", "broker"):
            self.end(name)
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self._folder / "simulator.json").read_text())
            return found
        return {}

    def start_broker(self) -> None:
        """Start it, and wait until it listens."""
        self._start("broker", [MOSQUITTO, "-c", str(self._folder / "broker" / "mosquitto.conf")])
        self.wait_for(lambda: _listens(self._mqtt), "the broker listens")

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(_PATIENCE_S)

    def end(self, name: str) -> None:
        """Ask a process to end."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGINT if name == "simulator" else signal.SIGTERM)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def processor_s(self, *names: str) -> dict[str, float]:
        """Processor time that processes took so far."""
        return {name: _processor_s(self._processes[name].pid) for name in names}

    def roll_out(self, version: str, policy: dict[str, Any]) -> int:
        """Start a rollout; its number."""
        token = (self._folder / "data" / "operator.token").read_text().strip()
        with FleetClient(self.url, token) as fleet:
            body = {"release": f"{NAME}@{version}", "policy": policy, "start": True}
            return int(fleet.post("/rollouts", body)["id"])

    def online(self) -> int:
        """How many devices the service believes to be connected."""
        return int(self.ask("SELECT count(*) FROM devices WHERE online")[0][0])

    def state_of(self, rollout: int) -> str:
        """Where a rollout stands."""
        return str(self.ask("SELECT state FROM rollouts WHERE id = ?", rollout)[0][0])

    def ask(self, question: str, *values: Any) -> list[Any]:  # noqa: ANN401 - SQL
        """Ask the store's file."""
        place = f"file:{self._folder / 'data' / 'fleet.db'}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=60)) as database:
            return database.execute(question, values).fetchall()

    def wait_for(self, question: Callable[[], bool], what: str, longest_s: float = _PATIENCE_S) -> float:
        """Wait until something is so; the seconds that it took.

        Raises:
            SystemExit: it does not become so.
        """
        began = time.monotonic()
        while time.monotonic() - began < longest_s:
            if question():
                return time.monotonic() - began
            self._check_alive()
            time.sleep(0.2)
        raise SystemExit(f"waited {longest_s:.0f} s in vain until {what}; see the logs in {self._folder}")

    def memories(self) -> dict[str, Any]:
        """What the devices themselves know, once the simulator has ended."""
        found: dict[str, Any] = json.loads((self._folder / "devices" / "memory.json").read_text())
        return found

    def _configure(self, fail: float) -> None:
        place = self._folder / "broker"
        reach = ("--host", "127.0.0.1", "--port", self._mqtt, "--bind", "127.0.0.1")
        room = ("--max-connections", self.devices + 100)
        subprocess.run(
            command("fleet", "broker", "config", "--out", place, *reach, *room, "--data", self._folder / "data"),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        if os.geteuid() == 0:  # it would become a user who may not read the folder
            with (place / "mosquitto.conf").open("a") as config:
                config.write("user root\n")
        mqtt = {"broker": "external", "host": "127.0.0.1", "port": self._mqtt, "tls": True, "folder": str(place)}
        files = {"ca": "ca.pem", "client_cert": "fleet.pem", "client_key": "fleet.key"}
        mqtt |= {name: str(place / file) for name, file in files.items()}
        (self._folder / "fleet.yaml").write_text(yaml.safe_dump({"mqtt": mqtt}))
        profile = yaml.safe_load((ROOT / "configs" / "simulations" / "jetsons.yaml").read_text())
        profile |= {
            "name": "bench",
            "release": {"name": NAME, "version": RUNS},
            "window_s": WINDOW_S,
            "fail": fail,
            "releases": {f"{NAME}@{BAD}": {"fps": 0.5, "latency": 3.0, "fail": 0.0}},
        }
        (self._folder / "profile.yaml").write_text(yaml.safe_dump(profile))

    def _publish(self, version: str) -> None:
        from tests.fakes.paper_bundle import write_bundle

        bundle = self._folder / f"bundle-{version}"
        write_bundle(bundle, version, name=NAME)
        done = command("fleet", "publish", bundle, "--data", self._folder / "data", "--url", self.url)
        subprocess.run(done, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)

    def _start(self, name: str, line: list[str], *, to: Path | None = None) -> None:
        with (self._folder / f"{name}.log").open("ab") as log, (to or Path(os.devnull)).open("ab") as out:
            self._processes[name] = subprocess.Popen(line, cwd=ROOT, stdout=out, stderr=log)

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise SystemExit(f"the {name} ended by itself; see {self._folder / name}.log")


def _processor_s(pid: int) -> float:
    """User and system time of a process, its ended children among it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS_PER_S


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _is_well(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    return False


if sys.platform != "linux":
    raise SystemExit("the bench reads /proc; run it on Linux")
