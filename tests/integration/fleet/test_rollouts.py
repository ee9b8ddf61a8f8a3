"""Whole rollouts between a real service and devices over a real broker."""

from __future__ import annotations

import json

from mien.release import ReleaseRef
from tests.fakes.fake_device import Behaviour, Figures, wait_until
from tests.integration.fleet.conftest import AT_ONCE, FAST

OLD = ReleaseRef(name="faces", version="1.0.0")


def on_the_first(service, devices):
    service.publish("1.0.0")
    rollout = service.ended(service.rollout("1.0.0", AT_ONCE))
    assert rollout["state"] == "finished"
    wait_until(
        lambda: all(
            sum(w["release"] is not None for w in service.get(f"/devices/{d.id}/windows?limit=50")) >= 5
            for d in devices
        ),
        what="a past of every device",
    )


def test_a_good_release_reaches_everyone(service, start_devices):
    """Canary, verdict, rest; the command line waits and shows it."""
    devices = start_devices(3)
    on_the_first(service, devices)
    service.publish("1.1.0")
    policy = service.data.parent / "fast.yaml"
    policy.write_text(json.dumps(FAST))
    done = service.cli(
        "rollout", "create", "--release", "faces@1.1.0", "--policy", str(policy), "--start", "--wait", "--json"
    )
    rollout = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert rollout["state"] == "finished"
    assert (rollout["devices_reached"], rollout["devices_succeeded"], rollout["devices_rolled_back"]) == (3, 3, 0)
    assert rollout["waves"][0]["verdict"]["outcome"] == "pass"
    assert {device["release"] for device in service.get("/devices")} == {"faces@1.1.0"}


def test_a_release_that_fails_its_probe_stops_at_the_canary(service, start_devices):
    """The canary takes it back itself; nobody else hears of it, and the canary never takes it again."""
    devices = start_devices(3, Behaviour(probe_fails=frozenset({"1.2.0"})))
    on_the_first(service, devices)
    service.publish("1.2.0")
    rollout = service.ended(service.rollout("1.2.0", FAST))
    assert rollout["state"] == "stopped"
    assert (rollout["devices_reached"], rollout["devices_succeeded"], rollout["devices_rolled_back"]) == (1, 0, 1)
    assert "agreement" in rollout["halted_because"]
    assert {str(device.release) for device in devices} == {"faces@1.0.0"}
    canary = rollout["executions"][0]["device"]
    assert service.get(f"/devices/{canary}")["known_bad"] == ["faces@1.2.0"]
    assert service.get(f"/devices/{canary}")["desired"] is None


def test_a_release_whose_figures_are_bad_is_taken_back(service, start_devices):
    """It passes the probe, but the canary sees less surely than before: the fleet tells it to return."""
    devices = start_devices(3, Behaviour(figures={"1.3.0": Figures(confidence=0.4)}))
    on_the_first(service, devices)
    service.publish("1.3.0")
    policy = service.data.parent / "fast.yaml"
    policy.write_text(json.dumps(FAST))
    done = service.cli(
        "rollout", "create", "--release", "faces@1.3.0", "--policy", str(policy), "--start", "--wait", "--json"
    )
    rollout = json.loads(done.stdout)
    assert done.returncode == 6
    assert rollout["state"] == "stopped"
    assert (rollout["devices_reached"], rollout["devices_succeeded"], rollout["devices_rolled_back"]) == (1, 0, 1)
    assert "confidence" in rollout["halted_because"]
    wait_until(lambda: {str(device.release) for device in devices} == {"faces@1.0.0"}, what="all on the old release")


def test_a_silent_canary_pauses_the_rollout(service, start_devices):
    """It commits and then sends nothing: no data is no pass."""
    devices = start_devices(2)
    on_the_first(service, devices)
    service.publish("1.1.0")
    quick = FAST | {"analysis": {"min_windows": 4, "timeout_s": 2}}
    for device in devices:
        device._window_s = 3600.0
    rollout = service.ended(service.rollout("1.1.0", quick))
    assert rollout["state"] == "paused"
    assert "inconclusive" in rollout["paused_because"]
    number = str(rollout["id"])
    assert "inconclusive" in service.cli("rollout", "explain", number).stdout
    assert service.cli("rollout", "approve", number).returncode == 0
    assert service.ended(rollout["id"])["state"] == "finished"


def test_a_killed_service_goes_on_with_its_rollout(service, start_devices):
    """SIGKILL in the middle of the canary's update; the restarted service finishes, and tells no device twice."""
    devices = start_devices(3, Behaviour(step_s=0.6))
    on_the_first(service, devices)
    service.publish("1.1.0")
    number = service.rollout("1.1.0", FAST)
    wait_until(lambda: _busy(service, number), what="the canary is under way")
    service.kill()
    service.start()
    rollout = service.ended(number, timeout_s=60)
    assert rollout["state"] == "finished", rollout
    assert rollout["devices_succeeded"] == 3
    assert [len(device.done) for device in devices] == [2, 2, 2]


def test_a_device_that_was_away_converges_when_it_returns(service, start_devices):
    """The order waits at the broker; the wave waits for the device."""
    first, second = start_devices(2)
    on_the_first(service, [first, second])
    service.publish("1.1.0")
    second.stop()
    wait_until(lambda: not service.get("/devices/cam-1")["online"], what="its will")
    number = service.rollout("1.1.0", AT_ONCE)
    wait_until(lambda: str(first.release) == "faces@1.1.0", what="the device that is there")
    assert service.get(f"/rollouts/{number}")["state"] == "running"
    assert "offline: cam-1" in service.cli("rollout", "explain", str(number)).stdout


def _busy(service, number):
    executions = service.get(f"/rollouts/{number}")["executions"]
    return any(execution["state"] == "IN_PROGRESS" for execution in executions)


def test_a_dry_run_names_the_devices_that_the_rollout_will_choose(service, start_devices):
    """With its seed; nothing is made by it, and the command line says the seed."""
    start_devices(3)
    service.publish("1.0.0")
    policy = service.data.parent / "fast.yaml"
    policy.write_text(json.dumps(FAST))
    asked = ("rollout", "create", "--release", "faces@1.0.0", "--policy", str(policy))
    found = json.loads(service.cli(*asked, "--dry-run", "--json").stdout)
    assert service.get("/rollouts") == []
    assert f"--seed {found['seed'][:4]}" in service.cli(*asked, "--dry-run", "--seed", found["seed"]).stdout
    made = json.loads(service.cli(*asked, "--seed", found["seed"], "--start", "--json").stdout)
    wait_until(lambda: service.get(f"/rollouts/{made['id']}")["executions"], what="the canary is chosen")
    chosen = service.get(f"/rollouts/{made['id']}")["executions"][0]["device"]
    assert [chosen] == found["waves"][0]["devices"]
