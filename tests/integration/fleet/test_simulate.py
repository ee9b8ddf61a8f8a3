"""``mien fleet simulate`` against a running service: enrolled, connected, updated, verified, remembered."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fleet.simulator.profile import profiles_folder
from tests.fakes.fake_device import wait_until
from tests.integration.fleet.conftest import AT_ONCE, ROOT

DEVICES = 12
TOLERANT = AT_ONCE | {"success_threshold": 0.5, "error_threshold": 0.5}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The one that comes with mien, in a hurry; every device checks its release."""
    found = yaml.safe_load((profiles_folder() / "jetsons.yaml").read_text())
    quick = {"window_s": 0.5, "steps_s": {"downloading": 0.2, "probing": 0.2}, "verified": 1.0}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(found | quick | {"fails_in": {"probing": 1}}))
    return path


@pytest.fixture
def start_simulation(service, profile, tmp_path):
    """Starts the command; gives a function that ends it and reads its summary."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str):
        where = ["--data", str(service.data), "--url", service.url, "--state", str(tmp_path / "devices")]
        command = [sys.executable, "-m", "mien", "fleet", "simulate", "--devices", str(DEVICES)]
        command += ["--profile", str(profile), "--json", *where, *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)

        def end():
            process.send_signal(signal.SIGINT)
            said, complaints = process.communicate(timeout=30)
            assert process.returncode == 0, complaints
            return json.loads(said)

        return end

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.communicate()


def online(service) -> int:
    return sum(device["online"] for device in service.get("/devices"))


@pytest.mark.parametrize("way", ["api", "store"])
def test_simulated_devices_join_update_and_say_goodbye(service, start_simulation, way):
    """They are the fleet's own devices: with groups, windows, executions; what failed failed on the device, too."""
    service.publish("1.0.0")
    end = start_simulation("--enrol", way, "--fail", "20%", "--seed", "6")
    wait_until(lambda: online(service) == DEVICES, what="all are online", timeout_s=40)
    rollout = service.ended(service.rollout("1.0.0", TOLERANT))
    wait_until(
        lambda: all(e["ended_at"] for e in service.get(f"/rollouts/{rollout['id']}")["executions"]),
        what="all executions ended",
    )
    rollout = service.get(f"/rollouts/{rollout['id']}")
    said = end()

    assert rollout["state"] == "finished"
    states = [execution["state"] for execution in rollout["executions"]]
    assert 0 < states.count("FAILED") < DEVICES / 2
    assert states.count("SUCCEEDED") == DEVICES - states.count("FAILED")
    assert said["updates"] == {"committed": states.count("SUCCEEDED"), "rolled_back": states.count("FAILED")}
    assert (said["verified"], said["refused"], said["denied"]) == (DEVICES, {}, 0)
    assert said["verified_bytes"] > DEVICES * 3000
    assert {device["group"] for device in service.get("/devices")} >= {"north", "south"}
    assert said["messages"]["m"] >= DEVICES
    wait_until(lambda: online(service) == 0, what="all said goodbye")


def test_devices_keep_their_identity_and_memory(service, start_simulation):
    """A second run enrols nobody and runs what the first one installed."""
    service.publish("1.0.0")
    end = start_simulation("--fail", "0%")
    wait_until(lambda: online(service) == DEVICES, what="all are online", timeout_s=40)
    service.ended(service.rollout("1.0.0", TOLERANT))
    wait_until(lambda: all(d["release"] for d in service.get("/devices")), what="all run it")
    end()
    again = start_simulation("--fail", "0%")
    wait_until(lambda: online(service) == DEVICES, what="all are online again", timeout_s=40)
    assert again()["releases"] == {"faces@1.0.0": DEVICES}
    assert len(service.get("/devices")) == DEVICES


def test_devices_that_stay_away_are_missing(service, start_simulation):
    """They are enrolled and never seen."""
    end = start_simulation("--offline", "50%", "--seed", "2")
    wait_until(lambda: len(service.get("/devices")) == DEVICES, what="all are enrolled", timeout_s=40)
    wait_until(lambda: online(service) > 0, what="some are online")
    said = end()
    assert 0 < said["stayed_away"] < DEVICES
    assert said["connections"] == DEVICES - said["stayed_away"]


def test_a_command_that_cannot_be_meant_is_refused(service):
    """With the option and what would be right."""
    done = service.cli("simulate", "--devices", "3", "--fail", "120%")
    assert done.returncode == 3
    assert "--fail" in done.stderr
    done = service.cli("simulate", "--devices", "3", "--profile", "jetson")
    assert done.returncode == 3
    assert "jetsons" in done.stderr
