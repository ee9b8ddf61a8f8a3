"""The commands of ``mien edge`` as separate processes, and the service file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.fakes.fake_fleet import FakeFleet
from tests.fakes.tiny_bundle import make_bundle
from tests.integration.edge.conftest import REPLAY, ROOT, DeviceProcess


def _mien(*arguments: str, cache: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    return subprocess.run(
        [sys.executable, "-m", "mien", "edge", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        check=False,
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle."""
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Thirty frames with a bright square."""
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (128, 128))
    image = np.full((128, 128, 3), 10, np.uint8)
    image[32:64, 32:64] = 240
    for _ in range(30):
        writer.write(image)
    writer.release()
    return path


def test_a_bundle_runs_on_every_frame_of_a_video(bundle: Path, video: Path, tmp_path: Path) -> None:
    """One JSON document on standard output; detections and a preview where they were asked for."""
    lines, preview = tmp_path / "found.jsonl", tmp_path / "preview.mp4"
    done = _mien(
        *("run", "--bundle", str(bundle), "--camera", str(video), "--json", "--power-replay", str(REPLAY)),
        *("--save-detections", str(lines), "--preview", str(preview)),
        cache=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["release"] == "faces@1.0.0"
    assert (summary["frames"], summary["dropped"], summary["skipped"]) == (30, 0, 0)
    assert summary["power"]["source"] in {"replay", "nvml", "rapl"}
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(found) == 30
    best = found[0]["detections"][0]
    assert best["label"] == "sad"
    assert np.allclose(best["box"], [32, 32, 64, 64], atol=2)
    assert cv2.VideoCapture(str(preview)).get(cv2.CAP_PROP_FRAME_COUNT) == 30


def test_a_fault_is_told_once_and_in_the_words_of_the_command(bundle: Path, video: Path, tmp_path: Path) -> None:
    """A full disk, a port that is taken and a recording that is not there name the option, not a key of a file."""
    common = ("run", "--bundle", str(bundle), "--camera", str(video))
    full = _mien(*common, "--save-detections", "/dev/full", cache=tmp_path)
    assert full.returncode == 10, full.stderr
    assert full.stderr.count("could not write /dev/full") == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = _mien(*common, "--http-port", str(taken.getsockname()[1]), cache=tmp_path)
    assert port.returncode == 10
    assert "--http-port" in port.stderr
    assert "api." not in port.stderr
    power = _mien(*common, "--power-replay", str(tmp_path / "none.log"), "--power", "replay", cache=tmp_path)
    assert power.returncode == 3
    assert "--power-replay" in power.stderr
    assert "power.replay" not in power.stderr


def test_no_library_prints_beside_what_is_told(bundle: Path, tmp_path: Path) -> None:
    """FFmpeg and OpenCV have words of their own for a file that is no video, and for a disk that is full."""
    film = tmp_path / "film.mp4"
    film.write_text("no film" * 100)
    refused = _mien("run", "--bundle", str(bundle), "--camera", str(film), cache=tmp_path)
    assert refused.returncode == 10
    said = [line for line in refused.stderr.splitlines() if line.strip() and "build engine" not in line]
    assert said[0].startswith("error could not read the video")
    assert not any(word in refused.stderr for word in ("moov", "WARN", "ERROR", "OpenCV:"))


def test_a_device_without_an_identity_is_told_both_ways(tmp_path: Path) -> None:
    """Enrol it, or run a bundle without a fleet."""
    done = _mien("run", "--state", str(tmp_path))
    assert done.returncode == 8
    assert "mien edge enroll" in done.stderr
    assert "--bundle FOLDER --camera SOURCE" in done.stderr.replace("\n", " ").replace("          ", "")


def test_an_engine_is_built_once(bundle: Path, video: Path, tmp_path: Path) -> None:
    """The second run takes the engine from the cache."""
    for _ in range(2):
        assert _mien("run", "--bundle", str(bundle), "--camera", str(video), "--json", cache=tmp_path).returncode == 0
    assert len(list((tmp_path / "mien" / "engines").rglob("*.onnxruntime"))) == 1


def test_a_changed_byte_in_a_bundle_is_refused(bundle: Path, video: Path, tmp_path: Path) -> None:
    """Exit code 7, and the file is named."""
    model = bundle / "model.fp32.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    done = _mien("run", "--bundle", str(bundle), "--camera", str(video), cache=tmp_path)
    assert done.returncode == 7
    assert "model.fp32.onnx" in done.stderr


def test_a_precision_that_the_bundle_lacks_is_refused(bundle: Path, video: Path, tmp_path: Path) -> None:
    """Nothing is swapped silently: exit code 9 with the reasons."""
    done = _mien("run", "--bundle", str(bundle), "--camera", str(video), "--precision", "int8", cache=tmp_path)
    assert done.returncode == 9
    assert "fp32 is not allowed here" in done.stderr.replace("\n", " ")


def test_ctrl_c_ends_a_run_with_its_summary(bundle: Path, tmp_path: Path) -> None:
    """SIGINT is an orderly end: the summary is printed and the status is 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    lines = tmp_path / "found.jsonl"
    command = [sys.executable, "-m", "mien", "edge", "run", "--bundle", str(bundle), "--json"]
    command += ["--camera", "synthetic://128x128@100", "--save-detections", str(lines)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        for _ in range(600):
            if lines.is_file() and lines.stat().st_size:
                break
            try:
                run.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=30)
    assert run.returncode == 0
    assert json.loads(out)["frames"] > 0


def test_enrolment_by_a_token_file(fleet: FakeFleet, tmp_path: Path) -> None:
    """The device gets the name it asked for, and its status shows it."""
    token = tmp_path / "token"
    token.write_text(fleet.token())
    state = str(tmp_path / "state")
    done = _mien(
        *("enroll", "--token-file", str(token), "--url", fleet.url, "--state", state, "--device-id", "kiosk-7"),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device_id"] == "kiosk-7"
    assert json.loads(_mien("status", "--state", state, "--json").stdout)["device_id"] == "kiosk-7"
    again = _mien("enroll", "--token-file", str(token), "--url", fleet.url, "--state", state)
    assert again.returncode == 3
    assert "has enrolled already, as kiosk-7" in again.stderr


def test_enrolment_by_standard_input(fleet: FakeFleet, tmp_path: Path) -> None:
    """A hyphen reads TOKEN@URL from standard input."""
    done = _mien("enroll", "-", "--state", str(tmp_path / "state"), stdin=f"{fleet.token()}@{fleet.url}\n")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("token", "code", "words"),
    [
        (lambda fleet: fleet.token()[:-4], 8, "the token is not known"),
        (lambda fleet: fleet.token(ttl_s=-1), 8, "has expired"),
        (lambda fleet: fleet.token(ca_sha256="0" * 64), 8, "is not the fleet that made the token"),
        (lambda _: "hello", 3, "no enrolment token"),
    ],
    ids=["forged", "expired", "other-fleet", "no-token"],
)
def test_a_bad_token_enrols_nobody(
    fleet: FakeFleet, tmp_path: Path, token: Callable[[FakeFleet], str], code: int, words: str
) -> None:
    """Each has its sentence, and no identity is kept."""
    state = tmp_path / "state"
    done = _mien("enroll", f"{token(fleet)}@{fleet.url}", "--state", str(state))
    assert (done.returncode, words in done.stderr.replace("\n", " ")) == (code, True), done.stderr
    assert not (state / "identity" / "identity.json").exists()


def test_a_strange_service_never_sees_the_token(fleet: FakeFleet, tmp_path: Path) -> None:
    """It presents another authority than the token's, so nothing more is sent to it."""
    done = _mien("enroll", f"{fleet.token(ca_sha256='0' * 64)}@{fleet.url}", "--state", str(tmp_path / "state"))
    assert done.returncode == 8
    assert [path for path, _ in fleet.requests] == ["/api/device/v1/ca"]


def test_a_fleet_that_does_not_answer_is_told(fleet: FakeFleet, tmp_path: Path) -> None:
    """Exit code 10: trying again later may work."""
    done = _mien("enroll", f"{fleet.token()}@http://127.0.0.1:9", "--state", str(tmp_path / "state"))
    assert done.returncode == 10


def test_a_second_agent_on_one_state_is_refused(enrolled: tuple[DeviceProcess, Any], listener: Any) -> None:
    """Two agents would fight for the slots."""
    device = enrolled[0]
    device.start()
    listener.wait(lambda: listener.status() == "online", "the device")
    done = _mien("run", "--config", str(device.config))
    assert done.returncode == 10
    assert "another agent runs on" in done.stderr


def test_doctor_names_what_is_missing(tmp_path: Path) -> None:
    """A device that is not enrolled is told how to get an identity; what works is shown as such."""
    done = _mien("doctor", "--state", str(tmp_path / "state"), "--camera", "synthetic://64x48@10", "--json")
    assert done.returncode == 9
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["camera"]["ok"]
    assert findings["runtime"]["ok"]
    assert "mien edge enroll" in findings["identity"]["remedy"]


def test_the_service_file_is_clean(tmp_path: Path) -> None:
    """``systemd-analyze verify`` finds nothing, once the command is where an installation puts it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed: make test installs it")
    text = (ROOT / "configs" / "systemd" / "mien-edge.service").read_text()
    assert "ExecStart=/opt/mien/bin/mien edge run --config /etc/mien/edge.yaml" in text
    unit = tmp_path / "mien-edge.service"
    unit.write_text(text.replace("/opt/mien/bin/mien ", f"{sys.executable} -m mien "))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_options_of_a_bundle_are_refused_without_one() -> None:
    """None of them is dropped silently, not even one that repeats the default; all are named."""
    lone = _mien("run", "--bundle", "b", "--camera", "c", "--show-faces")
    assert lone.returncode == 3
    assert "--preview FILE" in lone.stderr
    done = _mien("run", "--frames", "3", "--threads", "1", "--preview", "out.mp4")
    assert done.returncode == 3
    assert "--frames, --threads, --preview" in done.stderr.replace("\n", " ")
