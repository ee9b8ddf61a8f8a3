"""The whole way once, small: real training, bundles, broker, signatures, devices, and a bad release taken back."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_MARK = "MIEN_TEST_DEMO"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_demo(out, *more, ports=None, **options):
    http, mqtt = ports or (free_port(), free_port())
    command = [sys.executable, "-m", "mien", "demo", "--profile", "small", "--out", str(out), *more]
    command += ["--http-port", str(http), "--mqtt-port", str(mqtt)]
    options |= {"start_new_session": True, "preexec_fn": _hear_ctrl_c, "env": os.environ | {_MARK: str(out)}}
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)


def _hear_ctrl_c():
    """As a terminal's foreground job does: a shell's background job inherits SIGINT as ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def processes_of(folder):
    """Processes that a demo of this folder started, and itself: they inherit its mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                inherited = (entry / "environ").read_bytes().split(b"\0")
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{_MARK}={folder}".encode() in inherited and line:
                found.append((entry.name, line))
    return found


@dataclass
class Run:
    """A demo that was left standing after its summary, looked at, and ended with Ctrl-C."""

    out: Path
    ports: tuple[int, int]
    shown: str = ""
    page: str = ""
    code: int | None = None

    def stand(self, demo):
        for line in demo.stdout:
            self.shown += line
            if line.startswith("dashboard:"):
                self.page = through(line.split()[1])
                os.killpg(demo.pid, signal.SIGINT)  # a terminal sends it to the whole group
        self.code = demo.wait()


def through(link):
    """What a browser that follows the printed link and presses its button sees."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    address, _, code = link.partition("?code=")
    with opener.open(link, timeout=30) as shown:
        assert code in shown.read().decode()
    with opener.open(address, data=f"code={code}".encode(), timeout=30) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = Run(out=tmp_path_factory.mktemp("demo"), ports=(free_port(), free_port()))
    with start_demo(run.out, ports=run.ports, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as demo:
        try:
            run.stand(demo)
        finally:
            demo.terminate()
    return run


def logs(out):
    return "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted((out / "logs").glob("*.log")))


def test_the_demo_keeps_its_promise(finished):
    """It gets as far as its dashboard, which it only does when the damaged release was stopped at its canary."""
    assert "dashboard: " in finished.shown, finished.shown[-3000:] + logs(finished.out)


def test_the_dashboard_stays_up_until_ctrl_c(finished):
    """After the summary the devices can be looked at; Ctrl-C ends it with 130 and gives both ports free."""
    assert "camera-1" in finished.page
    assert finished.code == 130
    assert [port for port in finished.ports if not is_free(port)] == []


def test_the_summary_holds_what_was_measured(finished):
    """Every promised field is there, for two releases in three precisions and for every device."""
    summary = json.loads((finished.out / "summary.json").read_text())
    assert {(v["release"], v["precision"]) for v in summary["variants"]} >= {
        (f"faces@{version}", precision) for version in ("1.0.0", "1.1.0") for precision in ("fp32", "fp16", "int8")
    }
    assert all(
        v["size_bytes"] > 0 and v["latency_ms"] > 0 and 0 <= v["map50_95"] <= v["map50"] <= 1
        for v in summary["variants"]
    )
    assert len(summary["devices"]) == 3
    for device in summary["devices"]:
        assert device["fps"] > 0
        assert device["latency_p95_ms"] > 0
        assert device["release"] == "faces@1.1.0"
        assert device["power_source"] in {"replay", "nvml", "rapl"}
        assert device["energy_j_per_inference"] > 0
    assert set(summary["seconds"]) >= {"synth", "check", "train", "optimize", "serve", "devices", "rollouts", "all"}


def test_the_rollouts_ended_as_they_must(finished):
    """Two landed everywhere; the damaged one reached one device, was rolled back there, and says why."""
    first, second, damaged = json.loads((finished.out / "summary.json").read_text())["rollouts"]
    for good in (first, second):
        assert (good["state"], good["devices_reached"], good["devices_succeeded"]) == ("finished", 3, 3)
    assert (damaged["devices_reached"], damaged["devices_succeeded"], damaged["devices_rolled_back"]) == (1, 0, 1)
    assert damaged["state"] != "finished"
    assert damaged["halted_because"]


def test_no_process_is_left(finished):
    """When the demo has ended, so has everything it started."""
    assert processes_of(finished.out) == []


def test_the_demos_secrets_are_for_their_owner_only(finished):
    """Keys, tokens and passwords are readable by nobody else, and none stands in a log or the summary."""
    out = finished.out
    private = [path for path in out.rglob("*") if path.suffix == ".key" or path.name in {"key.pem", "operator.token"}]
    assert private
    assert not [path for path in private if path.stat().st_mode & 0o077]
    tokens = [path.read_text().strip() for path in private if path.name == "operator.token"]
    texts = [path.read_text(errors="replace") for path in (out / "logs").glob("*.log")]
    assert not [token for token in tokens for text in texts if token in text]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_demo_leaves_no_process(tmp_path, number):
    """Ctrl-C, a closed terminal, even a kill while it renders with several processes: all of them end."""
    demo = start_demo(tmp_path, "--once", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(processes_of(tmp_path)) >= 4)
    os.kill(demo.pid, number)
    assert demo.wait(60) == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    wait_until(lambda: not processes_of(tmp_path))
    assert processes_of(tmp_path) == []


def wait_until(happened):
    """Give something half a minute to happen."""
    for _ in range(300):
        if happened():
            return
        time.sleep(0.1)
