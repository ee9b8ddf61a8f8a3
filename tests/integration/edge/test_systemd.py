"""The service file under the real systemd: how exposed it is, and what happens to an agent that hangs, fails or ends.

The booted tests need root, systemd-nspawn, and ``MIEN_TEST_ROOTFS``: the root of a Debian or Ubuntu with systemd and
python3. docs/runbooks/device.md says how to make one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "configs" / "systemd"
UNIT = UNITS / "mien-edge.service"
_EXPOSURE = 2.5
_ROOTFS = os.environ.get("MIEN_TEST_ROOTFS")
_QUICK = "[Service]\nWatchdogSec=3\nRestartSec=1\nTimeoutStopSec=4\nTimeoutAbortSec=5\n"
_LISTEN = """
import os, socket, sys, time
ends = [socket.socket(socket.AF_UNIX) for _ in sys.argv[1:]]
for end, path in zip(ends, sys.argv[1:]):
    end.bind(path)
    end.listen(9)
    os.chmod(path, 0o666)
time.sleep(600)
"""

_needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")


@_needs_analyze
def test_the_service_is_hardened() -> None:
    """The exposure that systemd itself counts stays under the bound."""
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={_EXPOSURE * 10:.0f}", "--no-pager"]
    done = subprocess.run([*command, str(UNIT)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@_needs_analyze
def test_every_open_item_has_its_reason() -> None:
    """What systemd counts against the unit is named in its comments."""
    command = ["systemd-analyze", "security", "--offline=yes", "--json=short", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    items = json.loads(done.stdout)
    open_items = {re.split(r"[=(]", item["name"])[0] for item in items if float(item.get("exposure") or 0) > 0}
    reasons = UNIT.read_text().split("still counts, and why it stays")[1]
    assert open_items
    assert {item for item in open_items if item not in reasons} <= {"DeviceAllow", "RootDirectory"}
    assert "RootDirectory" in reasons


def test_a_device_that_nobody_visits_does_not_give_up() -> None:
    """Systemd's own restarts are too slow to meet the limit on starts."""
    values = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))
    starts = float(values["StartLimitIntervalSec"]) / float(values["RestartSec"]) + 1
    assert starts < int(values["StartLimitBurst"])


class Machine:
    """A booted container, and the service in it."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(self, *command: str) -> str:
        """Run a command inside; what it printed."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "--"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    def order(self, **what: Any) -> None:
        """What the agent shall pretend."""
        self.run("sh", "-c", f"mkdir -p /var/lib/mien; echo '{json.dumps(what)}' >/var/lib/mien/order")

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.run("systemctl", "show", "mien-edge", "-P", name).strip()

    def wait(self, until: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until something holds."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if until():
                return
            time.sleep(0.2)
        pytest.fail(f"{what} did not come; {self.run('systemctl', 'status', '--no-pager', 'mien-edge')}")

    def fresh(self, more: str = "") -> None:
        """Start the service anew, with quick limits and no orders."""
        self.run("systemctl", "stop", "mien-edge")
        self.order()
        text = _QUICK + more
        place = "/run/systemd/system/mien-edge.service.d"
        self.run("sh", "-c", f"mkdir -p {place}; printf '{text}' >{place}/quick.conf")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "reset-failed", "mien-edge")
        self.run("systemctl", "start", "mien-edge")
        self.wait(lambda: self.show("ActiveState") == "active", "the service")


def _leader_of(nspawn: int) -> int | None:
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
    return int(children[0]) if children else None


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A container with systemd as its first process; its changes are kept in memory and forgotten."""
    if _ROOTFS is None:
        pytest.skip("set MIEN_TEST_ROOTFS to a system with systemd and python3")
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("only root can boot a container, and systemd-nspawn must be installed")
    binds = {
        UNIT: "/etc/systemd/system/mien-edge.service",
        UNITS / "mien.sysusers.conf": "/usr/lib/sysusers.d/mien.conf",
        ROOT / "tests" / "fakes" / "standin_agent.py": "/opt/mien/bin/mien",
        ROOT / "edge": "/opt/mien/lib/edge",
    }
    nspawn = ["systemd-nspawn", "-D", _ROOTFS, "-b", "--volatile=overlay", "--register=no", "--keep-unit"]
    nspawn += ["--private-network", "-M", f"mien-{os.getpid()}", "--console=pipe"]
    nspawn += [f"--bind-ro={source}:{target}" for source, target in binds.items()]
    cgroups = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "
    log = tmp_path_factory.mktemp("machine") / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", cgroups + " ".join(nspawn)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    try:
        yield _booted(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def _booted(process: subprocess.Popen[bytes], log: Path) -> Machine:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and process.poll() is None:
        leader = _leader_of(process.pid)
        if leader is not None:
            machine = Machine(leader)
            if machine.run("systemctl", "is-system-running").strip() in {"running", "degraded"}:
                machine.run("systemd-sysusers")
                return machine
        time.sleep(0.2)
    pytest.fail(log.read_text()[-2000:])


@pytest.mark.slow
def test_a_hung_engine_is_ended_and_the_agent_started_again(machine: Machine) -> None:
    """The watchdog starves, SIGABRT makes Python write down its threads, and the service comes back by itself."""
    machine.fresh()
    first = machine.show("MainPID")
    machine.order(engine_busy_s=5)
    machine.wait(lambda: machine.show("NRestarts") == "1", "the restart")
    machine.order()
    machine.wait(lambda: machine.show("StatusText") == "stand-in: frames flow", "the agent")
    assert machine.show("MainPID") != first
    journal = machine.run("journalctl", "--no-pager", "-u", "mien-edge", f"_PID={first}", "+", "_PID=1")
    assert "Watchdog timeout (limit 3s)!" in journal
    assert "Fatal Python error: Aborted" in machine.run("journalctl", "--no-pager", "-u", "mien-edge")


@pytest.mark.slow
@pytest.mark.parametrize("order", [{"frames": 7}, {"hang": True}], ids=["frames stand still", "main loop hangs"])
def test_an_agent_without_progress_is_started_again(machine: Machine, order: dict[str, Any]) -> None:
    """Whether the agent itself says nothing comes through, or cannot say anything any more."""
    machine.fresh()
    machine.order(**order)
    machine.wait(lambda: machine.show("NRestarts") == "1", "the restart")


@pytest.mark.slow
@pytest.mark.parametrize("order", [{"camera_is_away": True}, {"has_model": False}, {"is_updating": True}])
def test_an_agent_with_an_excuse_is_left_alone(machine: Machine, order: dict[str, Any]) -> None:
    """For three times the watchdog's limit frames stand still, and the status says why."""
    machine.fresh()
    machine.order(frames=7, **order)
    machine.wait(lambda: machine.show("StatusText") not in {"", "stand-in: frames flow"}, "the status")
    time.sleep(9)
    assert (machine.show("NRestarts"), machine.show("ActiveState")) == ("0", "active")


@pytest.mark.slow
def test_an_agent_is_taken_down_in_order(machine: Machine) -> None:
    """SIGTERM ends it with success, and the last line is its own."""
    machine.fresh()
    machine.run("systemctl", "stop", "mien-edge")
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    assert "took everything down in order" in machine.run("journalctl", "--no-pager", "-n", "20", "-u", "mien-edge")


@pytest.mark.slow
@pytest.mark.parametrize(("updating", "result"), [(True, "success"), (False, "timeout")])
def test_an_engine_build_may_delay_the_end(machine: Machine, updating: bool, result: str) -> None:
    """Taking down takes twice as long as the unit allows: with a reason it is waited for, without one it is killed."""
    machine.fresh()
    machine.order(goodbye_s=8, is_updating=updating)
    machine.run("systemctl", "stop", "mien-edge")
    assert machine.show("Result") == result


@pytest.mark.slow
@pytest.mark.parametrize(("status", "again"), [(8, False), (3, False), (10, True)])
def test_what_starting_again_cannot_mend_is_not_started_again(machine: Machine, status: int, again: bool) -> None:
    """A refused identity and wrong settings wait for a person; a camera or network that is away does not."""
    machine.fresh()
    machine.order(exit=status)
    machine.run("systemctl", "kill", "-s", "KILL", "mien-edge")
    machine.wait(lambda: machine.show("ExecMainStatus") == str(status), "the exit status")
    time.sleep(2.5)
    assert (int(machine.show("NRestarts")) > 1) is again  # the first restart is that after the kill


@pytest.mark.slow
def test_starts_in_a_loop_meet_the_limit(machine: Machine) -> None:
    """With a restart much quicker than the unit's own, systemd stops after ten."""
    machine.fresh("RestartSec=100ms\n")
    machine.order(exit=10)
    machine.run("systemctl", "kill", "-s", "KILL", "mien-edge")
    machine.wait(lambda: machine.show("ActiveState") == "failed", "the limit")
    assert "Start request repeated too quickly" in machine.run("journalctl", "--no-pager", "-u", "mien-edge")


@pytest.mark.slow
def test_the_sandbox_leaves_what_a_device_needs(machine: Machine) -> None:
    """State, camera, camera service, jtop, network and load are within reach; a disk, settings and the kernel are not."""
    major, minor = Path("/proc/partitions").read_text().splitlines()[2].split()[:2]
    nodes = f"mknod -m 660 /dev/video0 c 81 0; chgrp video /dev/video0; mknod -m 666 /dev/mien-disk b {major} {minor}"
    machine.run("sh", "-c", nodes)
    machine.run("systemd-run", "--unit=sockets", "python3", "-c", _LISTEN, "/tmp/argus_socket", "/run/jtop.sock")  # noqa: S108
    machine.wait(lambda: "jtop.sock" in machine.run("ls", "/run"), "the sockets")
    machine.fresh()
    found = json.loads(machine.run("cat", "/var/lib/mien/sandbox.json"))
    reached = {name for name, answer in found.items() if answer in {"yes", True}}
    assert reached >= {"user", "write_state", "open_null", "camera_service", "jtop", "inet", "affinity", "load"}, found
    assert not reached & {"write_etc", "write_sys", "open_random_disk", "packet", "chown"}, found
    assert found["open_random_disk"] == "Operation not permitted"
    assert found["open_camera"] in {"yes", "No such device", "No such device or address"}, found
