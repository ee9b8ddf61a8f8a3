"""A Mosquitto on this machine instead of the embedded broker."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.fakes.fake_device import FakeDevice, enrol, wait_until

CONFIG = Path(__file__).parents[3] / "configs" / "broker" / "mosquitto-loopback.conf"


def test_the_service_uses_the_broker_that_is_there(start_mosquitto, new_service):
    """It connects, and devices are told where it is."""
    lines = [
        line for line in CONFIG.read_text().splitlines() if line and not line.startswith(("#", "listener", "persist"))
    ]
    broker = start_mosquitto(*lines)
    service = new_service(mqtt={"broker": "external", "port": broker.port}).start()
    with httpx.Client(base_url=service.url) as http:
        device = FakeDevice(enrol(http, service.token(), "cam-0")).start()
    wait_until(lambda: service.get("/devices/cam-0/windows"), what="windows")
    device.stop()


def test_a_broker_that_went_away_is_said_and_found_again(start_mosquitto, new_service):
    """Health and pages say so; when it is back, orders that it lost are sent again."""
    broker = start_mosquitto()
    service = new_service(mqtt={"broker": "external", "port": broker.port}).start()
    with httpx.Client(base_url=service.url) as http:
        device = FakeDevice(enrol(http, service.token(), "cam-0")).start()
    wait_until(lambda: service.get("/devices/cam-0")["online"], what="online")
    broker.stop()
    wait_until(lambda: httpx.get(f"{service.url}/healthz").status_code == 503, what="health says so")
    assert "broker is not connected" in service.page("/").text
    service.publish("1.0.0")
    number = service.rollout("1.0.0", {"waves": [{"name": "all", "percent": 100}], "analysis": None})
    broker.start()
    assert service.ended(number)["state"] == "finished"
    device.stop()
