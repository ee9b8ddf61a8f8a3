"""The doctor on an enrolled device, with a real broker: what it says, and that it disturbs nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_fleet import FakeFleet
from tests.integration.edge.conftest import DeviceProcess, Listener

ROOT = Path(__file__).parents[3]


def _doctor(config: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "mien", "edge", "doctor", "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_enrolled_device_is_well_and_stays_as_it_was(enrolled: tuple[DeviceProcess, Any]) -> None:
    """Identity, certificate, fleet and broker are ok, and no file of its state changed."""
    device = enrolled[0]
    before = _files(device.state)
    status, findings = _doctor(device.config)
    wanted = ("identity", "fleet", "broker", "camera", "runtime", "power")
    assert [findings[what]["state"] for what in wanted] == ["ok"] * len(wanted), findings
    assert findings["certificate"]["state"] != "wrong"  # the test's certificate is short-lived: a warning is right
    assert status == 0
    assert _files(device.state) == before


def test_a_running_agent_keeps_its_session(enrolled: tuple[DeviceProcess, Any], listener: Listener) -> None:
    """The doctor takes a name of its own at the broker: the agent is not thrown out, and its windows go on."""
    device = enrolled[0]
    device.start()
    listener.wait(lambda: listener.status() == "online", "the device")
    _, findings = _doctor(device.config)
    seen = len(listener.windows())
    listener.wait(lambda: len(listener.windows()) > seen, "another window")
    assert findings["broker"]["state"] == "ok"
    assert listener.status() == "online"
    assert "the broker is gone" not in device.log.read_text()


@pytest.mark.parametrize("fault", ["broker", "certificate"])
def test_a_fault_is_named_and_no_other(enrolled: tuple[DeviceProcess, Any], fault: str) -> None:
    """A broker that is gone, and a certificate that cannot be read: exit code 9, and the remedy is there."""
    device, broker = enrolled
    if fault == "broker":
        broker.stop()
    else:
        (device.state / "identity" / "cert.pem").write_text("nothing")
    status, findings = _doctor(device.config)
    wrong = {what for what, finding in findings.items() if finding["state"] == "wrong"}
    assert (status, wrong) == (9, {fault})
    assert findings[fault]["remedy"]


@pytest.mark.parametrize(("transport", "state"), [("mqtt", "warning"), ("auto", "wrong")])
def test_a_site_that_has_the_broker_alone_is_warned_and_not_blamed(
    enrolled: tuple[DeviceProcess, Any], fleet: FakeFleet, transport: str, state: str
) -> None:
    """With transport mqtt a fleet that does not answer over HTTPS is a warning about the certificate."""
    device = enrolled[0]
    fleet.close()
    settings = json.loads(device.config.read_text())
    device.config.write_text(json.dumps(settings | {"fleet": {"transport": transport}}))
    _, findings = _doctor(device.config)
    assert findings["fleet"]["state"] == state
    assert ("certificate" in findings["fleet"]["remedy"]) is (transport == "mqtt")
