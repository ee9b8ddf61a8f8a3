"""The local API on the loopback interface."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from edge.api.server import LocalApi
from edge.api.state import DeviceState
from edge.config import ApiSettings
from mien.errors import UnavailableError
from mien.messages import Power, Window

WINDOW = Window(
    window_id="w",
    sequence=1,
    boot_id="b",
    started_at=0,
    ended_at=1,
    frames=10,
    fps=9.5,
    power=Power(source="replay", total_w=12.5),
    latency_ms={"total": {"p50": 1, "p95": 2, "p99": 3}},  # type: ignore[dict-item]
)


@pytest.fixture
def state() -> DeviceState:
    """A device with three messages waiting."""
    return DeviceState(device_id="lab-1", spool_length=lambda: 3)


@pytest.fixture
def url(state: DeviceState) -> Iterator[str]:
    """The API, answering."""
    api = LocalApi(ApiSettings(enabled=True, port=0), state)
    api.start()
    address = f"http://127.0.0.1:{api.port}"
    for _ in range(100):
        try:
            httpx.get(f"{address}/healthz")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield address
    api.close()


def test_a_device_is_ready_once_frames_flow(url: str, state: DeviceState) -> None:
    """Healthy at once, ready with the first window that has frames."""
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert httpx.get(f"{url}/readyz").status_code == 503
    state.window = WINDOW
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert httpx.get(f"{url}/status.json").json()["window"]["fps"] == 9.5


def test_metrics_name_the_power_source(url: str, state: DeviceState) -> None:
    """Watts carry where they were read, each family has one header, and absent figures are left out."""
    state.window = WINDOW
    text = httpx.get(f"{url}/metrics").text
    assert 'mien_power_watts{source="replay"} 12.5' in text
    assert "mien_spool_messages 3" in text
    state.window = WINDOW.model_copy(update={"power": Power(source="none")})
    assert "mien_power_watts" not in httpx.get(f"{url}/metrics").text


def test_a_port_in_use_is_told(url: str, state: DeviceState) -> None:
    """One sentence that says what to do."""
    with pytest.raises(UnavailableError) as caught:
        LocalApi(ApiSettings(enabled=True, port=int(url.rpartition(":")[2])), state)
    assert "api.port" in caught.value.remedy


def test_it_is_off_unless_asked_for(state: DeviceState) -> None:
    """Without the setting no port is opened."""
    api = LocalApi(ApiSettings(), state)
    api.start()
    api.close()
    assert api.port == 8330
