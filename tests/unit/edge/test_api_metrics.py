"""Metrics, readiness and what the page is told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.api.interface import BrokerStatus, CameraStatus, LimitsStatus, Pulse, UpdateStatus
from edge.api.metrics import exposition
from edge.api.readiness import reasons_against
from edge.api.state import DeviceState
from edge.api.views import beat_json, expressions, plotted
from mien.messages import Event, Power
from tests.fakes.served_api import CARD, device, window

PULSE = Pulse(
    frames=400,
    at_s=50.0,
    power_w=13.0,
    power_source="replay",
    tracks=7,
    faces=2,
    model_errors=1,
    stage_seconds={"infer": 1.5},
)
OTHER_UNITS = re.compile(r"_(ms|milliseconds|percent|mb|kb|khz|mhz|mw|minutes)(_|$)")


@pytest.fixture
def state() -> DeviceState:
    """A device that has everything."""
    full = device()
    full.pulse = lambda: PULSE
    full.broker = lambda: BrokerStatus(connected=False, detail="refused")
    full.limits = lambda: LimitsStatus(step=1, detail="half the frame rate")
    full.update = lambda: UpdateStatus(release="faces@1.2.0", state="committed")
    full.cameras = lambda: (
        CameraStatus(name='the "door"\\1', state="live", frames=500, dropped=3, reconnects=2),
        CameraStatus(name="yard", state="away"),
    )
    full.add_window(window(1))
    full.add_window(window(2, clocks_hz={"gpu": 1.02e9}, nvpmodel="MAXN", ram_bytes=1 << 30, cpu_percent=25))
    full.add_event(Event(event_id="e", at=1, kind="camera_lost", severity="error", message="yard is away"))
    return full


def _families(state: DeviceState, *, ready: bool = True) -> dict[str, Any]:
    text = exposition(state.snapshot(), state.model.card(), ready=ready)
    return {family.name: family for family in text_string_to_metric_families(text)}


def _value(families: dict[str, Any], sample: str, **labels: str) -> float:
    found = [
        s.value for f in families.values() for s in f.samples if s.name == sample and labels.items() <= s.labels.items()
    ]
    assert len(found) == 1, (sample, labels, found)
    return float(found[0])


def test_prometheus_own_parser_reads_every_family(state: DeviceState) -> None:
    """Each has a type and a help text, each series stands once, and names keep the naming rules."""
    families = _families(state)
    series = [(s.name, tuple(sorted(s.labels.items()))) for f in families.values() for s in f.samples]
    assert len(series) == len(set(series)) > 50
    for name, family in families.items():
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "summary"}
        assert name.startswith("mien_")
        assert not OTHER_UNITS.search(name), name
        assert all(s.name.endswith("_total") for s in family.samples) == (family.type == "counter")


def test_figures_are_in_base_units(state: DeviceState) -> None:
    """Seconds, joules, hertz, ratios; totals over both windows."""
    families = _families(state)
    assert _value(families, "mien_stage_latency_seconds", stage="infer", quantile="0.95") == 0.002
    assert _value(families, "mien_stage_latency_seconds_sum", stage="infer") == 1.5
    assert _value(families, "mien_stage_latency_seconds_count", stage="infer") == 400
    assert _value(families, "mien_energy_joules_total", source="replay") == 250
    assert _value(families, "mien_frames_dropped_total") == 10
    assert _value(families, "mien_detections_total", label="happy") == 60
    assert _value(families, "mien_clock_hertz", part="gpu") == 1.02e9
    assert _value(families, "mien_cpu_utilization_ratio") == 0.25
    assert _value(families, "mien_memory_used_bytes") == 1 << 30


def test_a_count_says_what_it_counts(state: DeviceState) -> None:
    """Frames of a camera are those that were finished, errors of the engine are calls."""
    families = _families(state)
    assert families["mien_camera_frames"].documentation == families["mien_frames"].documentation
    assert families["mien_model_errors"].documentation.startswith("Calls")


def test_states_are_told(state: DeviceState) -> None:
    """Cameras with any name, broker, limits, tracker and update."""
    families = _families(state, ready=False)
    assert _value(families, "mien_camera_live", camera='the "door"\\1') == 1
    assert _value(families, "mien_camera_live", camera="yard") == 0
    assert _value(families, "mien_camera_reconnects_total", camera='the "door"\\1') == 2
    assert _value(families, "mien_broker_connected") == 0
    assert _value(families, "mien_limit_step") == 1
    assert _value(families, "mien_tracks_total") == 7
    assert _value(families, "mien_update_state", state="committed") == 1
    assert _value(families, "mien_update_state", state="failed") == 0
    assert _value(families, "mien_ready") == 0
    assert _value(families, "mien_events_total", kind="camera_lost", severity="error") == 1


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    """A device without power source, fleet, tracker or window has no such families."""
    bare = device()
    families = _families(bare)
    gone = (
        "mien_power_watts",
        "mien_energy_joules",
        "mien_temperature_celsius",
        "mien_broker_connected",
        "mien_tracks",
    )
    assert not {name for name in families if name in gone}
    bare.add_window(window(power=Power(source="none"), temperature_c={}))
    assert not {name for name in _families(bare) if name in gone}


def test_a_figure_that_is_no_number_is_left_out(state: DeviceState) -> None:
    """Infinity and NaN would spoil a sum."""
    state.pulse = lambda: replace(PULSE, stage_seconds={"infer": float("nan"), "total": float("inf")})
    assert "mien_stage_latency_seconds_sum" not in exposition(state.snapshot(), CARD, ready=True)


def test_a_device_is_ready_when_frames_flow(state: DeviceState) -> None:
    """One camera of two may be away."""
    assert reasons_against(state.snapshot(), CARD) == ()


@pytest.mark.parametrize(
    ("change", "card", "reason"),
    [
        ({}, None, "no model"),
        ({"window": None}, CARD, "no telemetry window"),
        ({"window": window(frames=0)}, CARD, "no frame went through"),
        ({"window_age_s": 31.0}, CARD, "31 s ago"),
        ({"trouble": "the engine failed 3 times in a row"}, CARD, "3 times in a row"),
        ({"cameras": (CameraStatus(name="door", state="away", detail="timed out"),)}, CARD, "door is away: timed out"),
    ],
)
def test_each_reason_against_is_named(state: DeviceState, change: dict[str, Any], card: Any, reason: str) -> None:
    """One fault, one sentence."""
    found = reasons_against(replace(state.snapshot(), **change), card)
    assert len(found) == 1
    assert reason in found[0]


def test_the_page_is_told_the_frame_rate_of_now(state: DeviceState) -> None:
    """From two pulses where there are two, from the last window otherwise; all of it is JSON."""
    before = replace(PULSE, frames=380, at_s=49.0)
    now = state.snapshot()
    beat = beat_json(now, CARD, ("a reason",), state.events(), before)
    assert beat["figures"]["fps"] == 20
    assert beat["figures"]["power_w"] == 13.0
    assert beat["figures"]["hottest"] == "gpu"
    assert beat["events"][0]["kind"] == "camera_lost"
    assert beat_json(now, CARD, (), (), None)["figures"]["fps"] == 9.5
    json.dumps(beat, allow_nan=False)


def test_plots_and_shares_come_from_windows(state: DeviceState) -> None:
    """A point a window; expressions of the last minute only."""
    for sequence in range(3, 12):
        state.add_window(window(sequence))
    points = plotted(state.windows())
    assert [point["at"] for point in points] == sorted(point["at"] for point in points)
    assert points[-1]["temperature"] == 52.5
    assert expressions(state.windows()) == {"happy": 180, "sad": 60}
    assert expressions(()) == {}
