"""The real service of jetson-stats, run on files that look like an Orin Nano's, in a mount namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.jetson_sysfs import JetsonSysfs, orin_nano
from tests.integration.edge.conftest import ROOT

jtop = pytest.importorskip("jtop", reason="jetson-stats is not installed")

NOBODY = 65534
MONITOR = "bus/i2c/devices/1-0040/hwmon/hwmon3"
MOUNTS = 'mount --bind "$0/sys" /sys && mount --bind "$0/run" /run && mount --bind "$0/group" /etc/group'
SERVICE = (
    "import sys; sys.base_prefix, sys.argv = sys.argv[1], ['jtop', '--force']; from jtop.__main__ import main; main()"
)
DEAF = "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('/run/jtop.sock'); s.listen(); time.sleep(600)"
ASK_TWICE = """
from edge.power.interface import PowerError
from edge.power.jtop import Jtop
for _ in range(2):
    try:
        Jtop(0.2, answers_within_s=1.0)
    except PowerError as error:
        print(error.what)
"""


@dataclass
class Reader:
    """Our own client, as a process on the island."""

    process: subprocess.Popen[str]
    hello: dict[str, Any]

    def read(self) -> dict[str, Any]:
        """One reading: the source's name, and the sample or nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return _line_of(self.process)

    def read_until(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 40.0) -> dict[str, Any]:
        """Read until a reading is as wanted."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            answer = self.read()
            if wanted(answer):
                return answer
            time.sleep(0.1)
        pytest.fail(f"never as wanted; the last was {answer}")


@dataclass
class Island:
    """A mount namespace with its own /sys, /run and groups; ``root`` holds what is mounted there."""

    root: Path
    sysfs: JetsonSysfs
    holder: int
    closing: ExitStack = field(repr=False)

    def start(self, *command: str, **more: Any) -> subprocess.Popen[str]:
        """Start a program there; it is ended with the test."""
        enter = ["nsenter", "-t", str(self.holder), "-m", f"--wd={ROOT}"]
        process = subprocess.Popen(
            [*enter, *command],
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "USER": "root"} | more.pop("env", {}),
            **more,
        )
        self.closing.callback(_end, process)
        return process

    def serve(self, *, package: Path | None = None) -> subprocess.Popen[str]:
        """Start the service and wait for its socket; ``package`` holds another jtop than the installed one."""
        env = {"JTOP_SERVICE": "True"} | ({"PYTHONPATH": str(package)} if package else {})
        with (self.root / "service.log").open("a") as log:
            command = (sys.executable, "-c", SERVICE, str(self.root / "prefix"))
            process = self.start(*command, stdout=log, stderr=log, env=env)
        self.wait_for_socket()
        return process

    def wait_for_socket(self) -> None:
        """Until somebody listens."""
        for _ in range(300):
            if (self.root / "run" / "jtop.sock").exists():
                return
            time.sleep(0.1)
        pytest.fail(f"nobody listens:\n{(self.root / 'service.log').read_text()}")

    def reader(self, source: str, *arguments: str) -> Reader:
        """Start a client."""
        program = str(ROOT / "tests" / "fakes" / "power_client.py")
        command = (sys.executable, program, source, *arguments)
        process = self.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Reader(process, _line_of(process))


def _line_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the client ended"
    answer: dict[str, Any] = json.loads(line)
    return answer


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and whatever it started."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    """An Orin Nano on an island."""
    if os.geteuid() != 0 or not shutil.which("nsenter"):
        pytest.skip("mounting over /sys and serving jtop need root and nsenter")
    for folder in ("sys", "run", "prefix"):
        (tmp_path / folder).mkdir()
    tmp_path.chmod(0o755)
    (tmp_path / "service.log").touch()
    (tmp_path / "group").write_text(Path("/etc/group").read_text() + "jtop:x:64321:\n")
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", f"{MOUNTS} && echo here && exec sleep 600"]
    holder = subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with ExitStack() as closing:
        closing.callback(_end, holder)
        if holder.stdout is None or holder.stdout.readline() != "here\n":
            pytest.skip(f"no mount namespace can be had here: {holder.communicate()[1].strip()}")
        yield Island(tmp_path, orin_nano(tmp_path / "sys"), holder.pid, closing)


def _has(answer: dict[str, Any], **figures: Any) -> bool:
    sample = answer["sample"]
    return sample is not None and all(sample[name] == value for name, value in figures.items())


def test_the_live_service_is_read_and_followed(island: Island) -> None:
    """Rails, limits, temperatures, GPU load and clocks come from the service, and follow the board's files."""
    island.serve()
    reader = island.reader("jtop")
    first = reader.read_until(lambda answer: answer["sample"] is not None)["sample"]
    assert first["rails_w"] == {"VDD_IN": 10.0, "VDD_CPU_GPU_CV": 4.0, "VDD_SOC": 1.5}
    assert (first["total_w"], first["limits_a"]) == (10.0, {"VDD_IN": 5.0})
    assert first["temperature_c"] == {"cpu": 48.5, "gpu": 47.25, "tj": 51.0}
    assert (first["gpu_percent"], first["clocks_hz"]["gpu"]) == (43.7, 624_750_000.0)
    assert first["ram_total_bytes"] > first["ram_bytes"] > 0

    island.sysfs.zone(8, "tj-thermal", 97000)
    island.sysfs.gpu(load_percent=99, hz=1_020_000_000)
    island.sysfs.write(f"{MONITOR}/curr1_input", 5200)
    hot = reader.read_until(lambda answer: _has(answer, total_w=26.0, gpu_percent=99.0))["sample"]
    assert hot["temperature_c"]["tj"] == 97.0
    assert (hot["over_current"], hot["alarms"]) == (True, ["VDD_IN"])


def test_a_client_ends_without_leaving_anything(island: Island) -> None:
    """After close the process goes by itself: no thread of the library holds it."""
    island.serve()
    reader = island.reader("jtop")
    assert reader.process.stdin is not None
    reader.process.stdin.close()
    assert reader.process.wait(timeout=20) == 0


def test_a_service_that_stops_is_replaced_and_taken_again(island: Island) -> None:
    """The power monitors stand in, with the same figures; when the service is back it is read again."""
    service = island.serve()
    reader = island.reader("auto")
    assert reader.hello == {"name": "jtop"}
    _end(service)
    stand_in = reader.read_until(lambda answer: answer["name"] == "ina3221" and answer["sample"] is not None)
    assert _has(stand_in, total_w=10.0)
    island.serve()
    back = reader.read_until(lambda answer: answer["name"] == "jtop" and answer["sample"] is not None)
    assert _has(back, total_w=10.0)


@pytest.mark.slow
def test_a_service_whose_worker_stands_still_is_noticed(island: Island) -> None:
    """It still answers, with the same report over and over: that is no reading."""
    service = island.serve()
    reader = island.reader("auto")
    reader.read_until(lambda answer: answer["sample"] is not None)
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGSTOP)
    stand_in = reader.read_until(lambda answer: answer["name"] == "ina3221" and answer["sample"] is not None)
    assert _has(stand_in, total_w=10.0)


def test_a_service_that_is_down_is_said_with_its_remedy(island: Island) -> None:
    """By name it is refused; the ladder goes on to the power monitors."""
    refusal = island.reader("jtop").hello
    assert (refusal["what"], refusal["found"]) == ("the jtop service does not run", "no /run/jtop.sock")
    assert "systemctl enable --now jtop.service" in refusal["remedy"]
    assert island.reader("auto").hello == {"name": "ina3221"}


def test_a_socket_that_was_left_behind_is_no_service(island: Island) -> None:
    """As after a crash: nobody listens, and the remedy is the same."""
    listener = island.start(sys.executable, "-c", DEAF)
    island.wait_for_socket()
    _end(listener)
    refusal = island.reader("jtop").hello
    assert "not active" in refusal["found"]
    assert "systemctl enable --now jtop.service" in refusal["remedy"]


def test_a_user_outside_the_group_is_told_what_to_do(island: Island) -> None:
    """The socket belongs to root and the group jtop."""
    island.serve()
    refusal = island.reader("jtop", str(NOBODY)).hello
    assert "access" in refusal["found"]
    assert "usermod -aG jtop" in refusal["remedy"]


def test_a_service_of_another_version_is_refused_with_both(island: Island) -> None:
    """The library compares major and minor version; the ladder goes on to the power monitors."""
    shutil.copytree(Path(jtop.__file__).parent, island.root / "other" / "jtop")
    init = island.root / "other" / "jtop" / "__init__.py"
    assert jtop.__version__ in init.read_text()
    init.write_text(init.read_text().replace(jtop.__version__, "6.9.1"))
    island.serve(package=island.root / "other")
    refusal = island.reader("jtop").hello
    assert "6.9.1" in refusal["found"]
    assert jtop.__version__ in refusal["found"]
    assert "same jetson-stats" in refusal["remedy"]
    assert island.reader("auto").hello == {"name": "ina3221"}


def test_a_service_that_listens_but_says_nothing_does_not_hold_us(island: Island) -> None:
    """The library would wait for ever; a second attempt does not hang beside the first."""
    island.start(sys.executable, "-c", DEAF)
    island.wait_for_socket()
    asking = island.start(sys.executable, "-c", ASK_TWICE, stdout=subprocess.PIPE)
    answers = asking.communicate(timeout=60)[0].splitlines()
    assert answers == ["the jtop service does not answer", "an earlier connection to jtop still waits"]
