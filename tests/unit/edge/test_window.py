"""Windows from tallies and readings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.pipeline.meter import FrameTally
from edge.power.interface import PowerSample
from edge.telemetry.recorder import figures_of
from edge.telemetry.window import WindowContext, build_window, percentiles_of
from mien.messages import Window, decode, encode
from mien.release import ReleaseRef

LABELS = ("happy", "sad", "anger")


def _tally(frames: int, seconds: float, counts: dict[int, int], scores: float = 0.8) -> FrameTally:
    classes = np.zeros(1024, np.int64)
    for index, count in counts.items():
        classes[index] = count
    return FrameTally(
        started_at_s=100.0,
        ended_at_s=100.0 + seconds,
        frames=frames,
        latency_ms=np.tile(np.array([1, 2, 3, 4, 10], np.float32), (frames, 1)),
        class_counts=classes,
        confidence_sum=scores * sum(counts.values()),
        confidence_histogram=np.zeros(20, np.int64),
        brightness_histogram=np.zeros(16, np.int64),
    )


def _context(**more: object) -> WindowContext:
    values: dict[str, object] = {
        "window_id": "w",
        "sequence": 1,
        "boot_id": "b",
        "ended_at": 1000.0,
        "power_source": "replay",
        "release": ReleaseRef(name="faces", version="1.0.0"),
        "labels": LABELS,
    }
    return WindowContext(**{**values, **more})  # type: ignore[arg-type]


def _readings(watts: float, seconds: float) -> list[PowerSample]:
    return [PowerSample(at_s=100.0 + at_s, total_w=watts, rails_w={"VDD_IN": watts}) for at_s in (0.0, seconds)]


@settings(max_examples=50)
@given(
    st.integers(0, 500),
    st.floats(0.5, 600),
    st.dictionaries(st.integers(0, 2), st.integers(0, 1000)),
    st.floats(0, 100),
)
def test_a_window_keeps_its_accounts(frames: int, seconds: float, counts: dict[int, int], watts: float) -> None:
    """Counts, rates and energies of any window belong together, and it survives the wire."""
    window = build_window(_tally(frames, seconds, counts), _readings(watts, seconds), _context())
    assert sum(window.expressions.values()) == window.detections == sum(counts.values())
    assert set(window.expressions) == set(LABELS)
    assert window.fps * (window.ended_at - window.started_at) == pytest.approx(frames, rel=1e-6, abs=1e-3)
    assert window.power.energy_j == pytest.approx(watts * seconds, rel=1e-6, abs=1e-9)
    if frames:
        assert window.power.energy_per_inference_j is not None
        assert window.power.energy_per_inference_j * frames == pytest.approx(window.power.energy_j)
    assert decode(Window, encode(window), source="test") == window


def test_without_a_source_figures_are_absent() -> None:
    """No readings: no watts and no joules, rather than zero."""
    window = build_window(_tally(10, 1.0, {}), [], _context(power_source="none"))
    assert (window.power.source, window.power.total_w, window.power.energy_j) == ("none", None, None)


def test_what_the_board_says_travels_with_the_window() -> None:
    """Clocks as means, the rest as it was last; flags and what raised them from any reading."""
    samples = [
        PowerSample(at_s=100.0, total_w=5, clocks_hz={"gpu": 4e8}, throttled=True, alarms=("gpu-throttle-alert",)),
        PowerSample(
            at_s=101.0,
            total_w=5,
            clocks_hz={"gpu": 6e8, "emc": 2e9},
            fan_percent=20.0,
            fan_rpm=1786.0,
            nvpmodel="MAXN_SUPER",
            ram_total_bytes=8 << 30,
            limits_a={"VDD_IN": 5.0},
            alarms=("gpu-throttle-alert", "x" * 100),
        ),
    ]
    window = build_window(_tally(10, 1.0, {}), samples, _context())
    assert window.clocks_hz == {"gpu": 5e8, "emc": 2e9}
    assert (window.fan_percent, window.fan_rpm, window.nvpmodel) == (20.0, 1786.0, "MAXN_SUPER")
    assert (window.ram_total_bytes, window.power.limits_a) == (8 << 30, {"VDD_IN": 5.0})
    assert (window.throttled, window.alarms) == (True, ("gpu-throttle-alert", "x" * 64))
    assert decode(Window, encode(window), source="test") == window


def test_a_window_of_an_older_device_still_parses() -> None:
    """A message without the newer fields is whole; they are absent, not zero."""
    old = (
        b'{"window_id":"w","sequence":1,"boot_id":"b","started_at":0,"ended_at":10,"frames":1,"fps":0.1,'
        b'"power":{"source":"rapl","total_w":20.5,"rails_w":{"package-0":20.5}},"ram_bytes":1}'
    )
    window = decode(Window, old, source="test")
    assert (window.power.total_w, window.power.limits_a, window.clocks_hz) == (20.5, {}, {})
    assert (window.fan_rpm, window.nvpmodel, window.ram_total_bytes, window.alarms) == (None, None, None, ())


def test_without_frames_there_is_no_latency() -> None:
    """An idle window has no percentiles and no energy per inference."""
    window = build_window(_tally(0, 1.0, {}), _readings(10, 1.0), _context())
    assert window.latency_ms == {}
    assert window.power.energy_per_inference_j is None


def test_percentiles_are_by_stage() -> None:
    """Each column is a stage, in the order of the pipeline."""
    found = percentiles_of(np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 8]], np.float32))
    assert list(found) == ["capture", "letterbox", "infer", "decode", "total"]
    assert found["total"].p50 == pytest.approx(6.0)


def test_several_windows_make_one_look() -> None:
    """Rates are weighted by time, confidence by detections."""
    first = build_window(_tally(100, 10.0, {0: 10}, scores=0.9), _readings(10, 10), _context())
    second = build_window(_tally(10, 2.0, {1: 30}, scores=0.5), _readings(20, 2), _context())
    figures = figures_of([first, second])
    assert figures is not None
    assert figures.fps == pytest.approx(110 / 12)
    assert figures.confidence_mean == pytest.approx((0.9 * 10 + 0.5 * 30) / 40)
    assert figures.latency_p95_ms == pytest.approx(10.0)


def test_no_window_is_no_look() -> None:
    """Before the first window there is nothing to compare with."""
    assert figures_of([]) is None


@pytest.mark.parametrize(
    ("unfit", "shown"),
    [
        ({"fan_percent": 101.0}, 100.0),
        ({"fan_percent": math.nan}, None),
        ({"fan_percent": -1.0}, None),
        ({"fan_rpm": -3.0}, 40.0),
        ({"gpu_percent": math.inf}, 40.0),
        ({"clocks_hz": {"gpu": -1.0, "cpu": 1e9}}, 40.0),
        ({"temperature_c": {"tj": math.nan, "cpu": 50.0}}, 40.0),
        ({"rails_w": {"VDD_IN": math.nan, "VDD_CPU": 2.0}, "total_w": math.nan}, 40.0),
        ({"limits_a": {"VDD_IN": -1.0}, "ram_bytes": -1, "ram_total_bytes": -1}, 40.0),
    ],
)
def test_one_bad_sensor_costs_no_window(unfit: dict[str, Any], shown: float | None) -> None:
    """A figure that cannot be true is absent, a fan beyond its full rate is at it, and the window travels."""
    good = PowerSample(at_s=100.0, total_w=5.0, fan_percent=40.0)
    window = build_window(_tally(10, 1.0, {}), [good, replace(good, at_s=101.0, **unfit)], _context(cpu_percent=-0.5))
    assert (window.fan_percent, window.frames, window.cpu_percent) == (shown, 10, None)
    assert window.power.total_w == pytest.approx(5.0)
    kept = [*window.power.rails_w.values(), *window.temperature_c.values(), *window.clocks_hz.values()]
    assert all(math.isfinite(value) and value >= 0 for value in kept)
    assert decode(Window, encode(window), source="test") == window
