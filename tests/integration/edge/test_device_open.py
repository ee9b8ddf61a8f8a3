"""What a whole device lets others see of it: its local API while frames flow, and events of faces where a site asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.tiny_bundle import SIZE, bright_square, make_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.integration.conftest import free_port
from tests.integration.edge.conftest import Listener
from tests.integration.edge.faulty import (
    FaultyDevice,
    event,
    events,
    last_window,
    run_release,
    until,
    window_after,
)

pytestmark = pytest.mark.slow


def _answer(url: str, **given: Any) -> httpx.Response | None:
    """The API's answer; ``None`` while nobody listens."""
    try:
        return httpx.get(url, timeout=10, **given)
    except httpx.TransportError:
        return None


def _metrics(url: str) -> dict[str, float]:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=10).text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def _infer(url: str, frame: np.ndarray) -> dict[str, list[float]]:
    data = {"name": "frames", "datatype": "UINT8", "shape": [1, *frame.shape], "data": frame.reshape(-1).tolist()}
    answer = httpx.post(f"{url}/v2/models/faces/infer", json={"inputs": [data]}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def test_the_local_api_of_a_running_device(faulty: FaultyDevice, listener: Listener, repository: TufRepository) -> None:
    """Alive from the start, ready with the first release, figures that rise, and answers between two frames."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    faulty.change(api={"enabled": True, "port": port}, limits={"enabled": False})
    faulty.start()
    until(lambda: (alive := _answer(f"{url}/healthz")) and alive.status_code == 200, faulty)
    early = httpx.get(f"{url}/readyz")
    assert (early.status_code, early.json()["ready"]) == (503, False)
    assert "no model is loaded" in early.json()["reasons"]
    assert _metrics(url)["mien_ready"] == 0

    make_bundle(faulty.state.parent / "bundle")
    sha256 = repository.add_bundle(faulty.state.parent / "bundle", "faces", "1.0.0")
    listener.desire("faces@1.0.0", sha256, "d-1")
    listener.ended("d-1", "committed")
    until(lambda: httpx.get(f"{url}/readyz").status_code == 200, faulty)
    before, dropped = _metrics(url), last_window(listener)
    for column in range(3):
        found = _infer(url, bright_square(column, 2))
        assert found["boxes"][:4] == [16.0 * column, 32.0, 16.0 * column + 16, 48.0]
    window_after(listener, dropped, lambda window: window.frames > 0)
    after = _metrics(url)

    assert after["mien_ready"] == after["mien_broker_connected"] == after["mien_camera_live"] == 1
    assert after["mien_frames_total"] > before["mien_frames_total"] > 0
    assert after["mien_model_errors_total"] == 0
    assert faulty.end() == 0
    assert faulty.said.splitlines()[-1] == "threads: MainThread"
    assert _answer(f"{url}/healthz") is None


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture in which the model finds one face: the brightest cell of its grid."""
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), bright_square(1, 2, size=SIZE))
    return path


def test_events_of_faces_reach_the_fleet_where_a_site_asks(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, picture: Path
) -> None:
    """One face before the camera: one event, with what it shows and the camera's name, and no picture."""
    faulty.change(camera={"source": str(picture)}, faces={"events": True, "dwell_s": 0.5}, limits={"enabled": False})
    run_release(faulty, listener, repository)

    told = event(listener, "face_appeared")
    window_after(listener, last_window(listener) + 1, lambda window: window.detections > 0)

    assert told.details["camera"] == "camera"
    assert told.details["expression"] == "sad"
    assert set(told.details) == {"camera", "face", "expression", "lasted_s"}
    assert len(events(listener, "face_appeared")) == 1
    assert faulty.end() == 0


def test_unasked_no_event_of_a_face_leaves_the_device(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, picture: Path
) -> None:
    """The same face with the settings as they come: windows count it, and nothing tells of it."""
    faulty.change(camera={"source": str(picture)}, limits={"enabled": False})
    run_release(faulty, listener, repository)

    window_after(listener, last_window(listener) + 5, lambda window: window.expressions.get("sad", 0) > 0)

    assert faulty.end() == 0
    assert [told.kind for told in events(listener) if "face" in told.kind or "expression" in told.kind] == []
