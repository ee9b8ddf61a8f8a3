"""The real agent where only the broker's port is open: it boots, connects, updates and reports without HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from edge.identity.enrol import enrol
from edge.identity.token import parse_token
from tests.fakes.fake_device import wait_until
from tests.fakes.tiny_bundle import make_bundle
from tests.integration.fleet.conftest import AT_ONCE, ROOT, free_port
from tests.integration.fleet.test_mosquitto import new_site  # noqa: F401 - a fixture


@contextmanager
def agent(tmp_path, service, **fleet):
    """``mien edge run`` of an enrolled device, for which the fleet's HTTP port is shut."""
    state, config = tmp_path / "device", tmp_path / "device.yaml"
    enrol(parse_token(service.token()), service.url, state, device_id="cam-1")
    settings = {
        "state": str(state),
        "camera": {"source": "synthetic://160x120@20"},
        "telemetry": {"window_s": 0.5},
        "power": {"source": "none"},
        "fleet": {"url": f"http://127.0.0.1:{free_port()}", "download_attempts": 1, **fleet},
        "probe": {"settle_s": 0.1},
    }
    config.write_text(json.dumps(settings))
    log = tmp_path / "device.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "mien", "edge", "run", "--config", str(config)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    try:
        yield log
    finally:
        process.terminate()
        assert process.wait(40) == 0, log.read_text()


def rolled_out(service, tmp_path):
    """Publish a release that runs, roll it out, and wait for its end."""
    bundle = tmp_path / "bundle"
    make_bundle(bundle, ballast=400_000)
    assert service.cli("publish", str(bundle)).returncode == 0
    policy = AT_ONCE | {"probe": {"live_seconds": 0.5, "min_live_frames": 3}}
    return service.ended(service.rollout("1.0.0", policy), timeout_s=90)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["auto", "mqtt"])
def test_a_site_with_nothing_but_the_brokers_port_is_updated(new_site, tmp_path, transport):  # noqa: F811
    """HTTP is shut for the device: the release comes in blocks through Mosquitto, and the fleet sees how and that it runs."""
    service = new_site().service
    with agent(tmp_path, service, transport=transport, https_failures=1) as log:
        wait_until(lambda: _device(service)["online"], what="the device is online", timeout_s=40)
        assert rolled_out(service, tmp_path)["state"] == "finished", log.read_text()
        wait_until(lambda: _device(service)["release"] == "faces@1.0.0", what="the release runs")
        wait_until(lambda: service.get("/devices/cam-1/windows"), what="telemetry")
        capabilities = _device(service)["twin"]["capabilities"]
        assert {"streams", f"transport:{transport}", "way:mqtt"} <= set(capabilities)
        told = "over mqtt from now on" in log.read_text()
    assert told is (transport == "auto")


@pytest.mark.slow
def test_the_brokers_port_alone_serves_a_demo_too(service, tmp_path):
    """The embedded broker knows shared subscriptions and carries blocks."""
    with agent(tmp_path, service, transport="mqtt") as log:
        wait_until(lambda: _device(service)["online"], what="the device is online", timeout_s=40)
        assert rolled_out(service, tmp_path)["state"] == "finished", log.read_text()


@pytest.mark.slow
def test_a_site_that_allows_https_alone_waits_for_it(new_site, tmp_path):  # noqa: F811
    """Nothing is changed silently: with transport https the device reports the network, and takes no other way."""
    service = new_site().service
    with agent(tmp_path, service, transport="https") as log:
        wait_until(lambda: _device(service)["online"], what="the device is online", timeout_s=40)
        bundle = tmp_path / "bundle"
        make_bundle(bundle)
        assert service.cli("publish", str(bundle)).returncode == 0
        number = service.rollout("1.0.0", AT_ONCE | {"timeout_s": 4})
        assert service.ended(number, timeout_s=60)["state"] in {"stopped", "paused"}
        assert _device(service)["release"] is None
        assert "streams" not in _device(service)["twin"]["capabilities"]
        assert "over mqtt" not in log.read_text()


def _device(service):
    return service.get("/devices/cam-1")
