"""A telemetry process that is killed at random moments, again and again, with a real broker and a real disk."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Broker
from tests.integration.edge.telemetry import Tap, TelemetryProcess, assert_complete

KILLS = 50
SEED = 20261124


@pytest.fixture
def hears(mosquitto: Broker) -> Iterator[Tap]:
    """Hears what the process says."""
    heard = Tap(mosquitto.port)
    yield heard
    heard.close()


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_fifty_kills_lose_nothing_and_change_nothing(mosquitto: Broker, hears: Tap, tmp_path: Path) -> None:
    """It comes back each time; every number arrives, each window with one content, and an orderly end leaves no thread.

    In the second half the broker is away for ten kills and the spool is small, so that windows are merged meanwhile.
    """
    chance = random.Random(SEED)
    device = TelemetryProcess(tmp_path, {"port": mosquitto.port, "most_bytes": 96 * 1024, "window_s": 0.01})
    for kill in range(1, KILLS + 1):
        if kill == 30:
            mosquitto.stop()
        if kill == 40:
            mosquitto.start()
            hears.wait(hears.is_connected, "the listener")  # what nobody hears is sent again, and is merged no more
        device.start()
        device.wait_for("started", times=kill)
        time.sleep(chance.uniform(0.0, 0.6))
        device.kill()
    device.start()
    device.wait_for("started", times=KILLS + 1)
    time.sleep(1.0)
    told = device.end()

    assert told == {"waiting": 0, "lost": {"window": 0, "event": 0, "update": 0}}
    found = assert_complete(hears)
    assert len(found.numbers) > 5 * KILLS
    assert max(window.merged for window in found.windows) > 1
