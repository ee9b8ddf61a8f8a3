"""A network camera over RTSP: a real server with real H.264, which goes away and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.network_camera import PASSWORD, NetworkCamera, need_server
from tests.fakes.tiny_bundle import make_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.integration.conftest import free_port
from tests.integration.edge.conftest import ROOT, DeviceProcess, Listener


@pytest.fixture
def camera() -> Iterator[NetworkCamera]:
    """A network camera that is on."""
    need_server()
    made = NetworkCamera(port=free_port())
    made.switch_on()
    yield made
    made.switch_off()


@pytest.fixture
def run_on(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``mien edge run`` with a small bundle on a camera; ends what still runs after the test."""
    make_bundle(tmp_path / "bundle")
    started: list[subprocess.Popen[str]] = []

    def start(url: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mien", "edge", "run", "--bundle", str(tmp_path / "bundle"), "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
        with (tmp_path / "said.txt").open("w") as said:
            started.append(
                subprocess.Popen(
                    [*command, "--camera", url, *options],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                )
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=10)


def _until(holds: Callable[[], bool], what: str, said: Path) -> None:
    end_s = time.monotonic() + 120
    while not holds():
        if time.monotonic() > end_s:
            pytest.fail(f"{what} did not come; said: {said.read_text()[-2000:]}")
        time.sleep(0.05)


def test_a_bundle_runs_on_a_network_camera(
    camera: NetworkCamera, run_on: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """What the stream shows is found where it is, and the password is nowhere in what is said or written."""
    found = tmp_path / "found.jsonl"
    run = run_on(camera.url, "--frames", "20", "--save-detections", str(found))
    out, _ = run.communicate(timeout=120)
    said = (tmp_path / "said.txt").read_text()
    assert run.returncode == 0, said
    summary = json.loads(out)
    assert summary["camera"] == f"rtsp://***@127.0.0.1:{camera.port}/cam"
    best = json.loads(found.read_text().splitlines()[-1])["detections"][0]
    assert best["label"] == "sad"
    assert np.allclose(best["box"], [32, 32, 64, 64], atol=2)
    assert PASSWORD not in out + said + found.read_text()


def test_a_network_camera_that_comes_back_is_read_again(
    camera: NetworkCamera, run_on: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """After the camera's loss the run waits, opens it again on the same address and goes on."""
    found, said = tmp_path / "found.jsonl", tmp_path / "said.txt"
    run = run_on(camera.url, "--save-detections", str(found))
    _until(lambda: found.is_file() and found.stat().st_size > 0, "the first frames", said)
    camera.switch_off()
    _until(lambda: "gives no frames; opening it again" in said.read_text(), "the loss", said)
    assert run.poll() is None
    size = found.stat().st_size
    camera.switch_on()
    _until(lambda: found.stat().st_size > size, "frames after the return", said)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said.read_text()
    assert json.loads(out)["frames"] >= len(found.read_text().splitlines()) > 0


@pytest.mark.parametrize(
    ("change", "because", "remedy"),
    [
        ((PASSWORD, "shut"), "401 Unauthorized", "check user and password"),
        (("/cam", "/attic"), "404 Not Found", "check the path"),
    ],
    ids=["wrong-password", "no-such-stream"],
)
def test_a_camera_that_refuses_is_told(
    camera: NetworkCamera,
    run_on: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    change: tuple[str, str],
    because: str,
    remedy: str,
) -> None:
    """Exit code 10 with the camera's own answer and what to check."""
    run = run_on(camera.url.replace(*change))
    out, _ = run.communicate(timeout=120)
    said = (tmp_path / "said.txt").read_text()
    assert run.returncode == 10
    assert because in json.loads(out)["found"]
    assert remedy in json.loads(out)["remedy"]
    assert PASSWORD not in out + said


def test_a_device_sends_telemetry_of_a_network_camera(
    camera: NetworkCamera,
    enrolled: tuple[DeviceProcess, Any],
    listener: Listener,
    repository: TufRepository,
    tmp_path: Path,
) -> None:
    """Windows have frames, then none while the camera is away, then frames again, all from one process."""
    device = enrolled[0]
    settings = json.loads(device.config.read_text())
    device.config.write_text(json.dumps({**settings, "camera": {"source": camera.url}}))
    make_bundle(tmp_path / "bundle")
    sha256 = repository.add_bundle(tmp_path / "bundle", "faces", "1.0.0")
    device.start()
    listener.desire("faces@1.0.0", sha256, "d-1")
    listener.ended("d-1", "committed", 120)

    def newest(frames: bool, after: int) -> int:
        """The number of a later window with or without frames, 0 when there is none yet."""
        fitting = (w.sequence for w in listener.windows() if w.sequence > after and bool(w.frames) == frames)
        return next(fitting, 0)

    with_frames = listener.wait(lambda: newest(True, 0), "a window with frames", 120)
    camera.switch_off()
    without = listener.wait(lambda: newest(False, with_frames), "a window without frames", 120)
    camera.switch_on()
    listener.wait(lambda: newest(True, without), "a window with frames after the return", 120)
    assert device.end() == 0
    assert len({window.boot_id for window in listener.windows()}) == 1
    assert PASSWORD not in device.log.read_text()
