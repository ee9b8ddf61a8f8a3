"""Windows made coarser: what is counted is kept, and what is a mean or a percentile says no more than it knows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.telemetry.thinning import groups_to_merge, may_merge, merge_windows, merged
from mien.messages import Percentiles, Power, Window, decode, encode
from mien.release import ReleaseRef

LABELS = ("happy", "sad")
FACES = ReleaseRef(name="faces", version="1.0.0")


def window(sequence: int = 1, started_at: float = 1_000_000.0, seconds: float = 10.0, **more: object) -> Window:
    """A window of one release."""
    frames = int(more.get("frames", 100))  # type: ignore[call-overload]
    values: dict[str, object] = {
        "window_id": f"w{sequence}",
        "sequence": sequence,
        "boot_id": "b",
        "started_at": started_at,
        "ended_at": started_at + seconds,
        "release": FACES,
        "frames": frames,
        "fps": frames / seconds,
        "power": Power(source="replay", total_w=10.0, energy_j=10.0 * seconds),
        "expressions": dict.fromkeys(LABELS, 0),
    }
    return Window.model_validate({**values, **more})


@st.composite
def rows(draw: st.DrawFn, least: int = 1) -> list[Window]:
    """Windows of one kind, one after the other."""
    made: list[Window] = []
    at, measured = draw(st.floats(1e3, 2e9)), draw(st.booleans())
    for number in range(1, draw(st.integers(least, 6)) + 1):
        seconds, frames = draw(st.floats(0.2, 600)), draw(st.integers(0, 5000))
        seen = [draw(st.integers(0, 1000)) for _ in LABELS]
        watts = draw(st.floats(0, 100))
        p50, p95 = sorted(draw(st.floats(0, 500)) for _ in range(2))
        made.append(
            window(
                number,
                at,
                seconds,
                frames=frames,
                cameras={"door": frames // 3, "yard": frames - frames // 3},
                dropped=draw(st.integers(0, 100)),
                latency_ms={"total": Percentiles(p50=p50, p95=p95, p99=p95)} if frames else {},
                power=Power(source="x", total_w=watts, energy_j=watts * seconds) if measured else Power(source="x"),
                temperature_c={"tj": draw(st.floats(20, 100))},
                cpu_percent=draw(st.floats(0, 400)),
                detections=sum(seen),
                expressions=dict(zip(LABELS, seen, strict=True)),
                confidence_mean=draw(st.floats(0, 1)) if sum(seen) else None,
                confidence_histogram=(0, sum(seen)),
                brightness_histogram=(frames,),
                dropped_messages={"window": draw(st.integers(0, 5))},
            )
        )
        at += seconds
    return made


@given(rows())
def test_nothing_that_is_counted_gets_lost(windows: list[Window]) -> None:
    """Frames, detections, histograms, energy, counts of windows and of lost messages, and time are those of the parts."""
    whole = merged(windows)

    for name in ("frames", "dropped", "detections", "merged"):
        assert getattr(whole, name) == sum(getattr(part, name) for part in windows)
    assert whole.expressions == {label: sum(part.expressions[label] for part in windows) for label in LABELS}
    assert whole.cameras["door"] == sum(part.cameras["door"] for part in windows)
    assert sum(whole.cameras.values()) == whole.frames
    assert whole.confidence_histogram[1] == whole.detections
    assert whole.brightness_histogram == (whole.frames,)
    assert whole.dropped_messages["window"] == sum(part.dropped_messages["window"] for part in windows)
    assert (whole.started_at, whole.ended_at) == (windows[0].started_at, windows[-1].ended_at)
    seconds = whole.ended_at - whole.started_at
    assert whole.fps * seconds == pytest.approx(whole.frames)
    assert (whole.sequence - whole.merged + 1, whole.sequence) == (1, len(windows))
    if windows[0].power.energy_j is not None:
        assert whole.power.energy_j == pytest.approx(sum(part.power.energy_j or 0 for part in windows))
        assert whole.power.total_w == pytest.approx(whole.power.energy_j / seconds, rel=1e-3, abs=1e-3)
    else:
        assert (whole.power.energy_j, whole.power.total_w) == (None, None)
    assert decode(Window, encode(whole), source="test") == whole


@given(rows())
def test_means_and_percentiles_lie_where_the_parts_allow(windows: list[Window]) -> None:
    """A mean lies between the parts; p95 is the largest of them, which no true one exceeds."""
    whole, seen = merged(windows), [part for part in windows if part.frames]

    assert set(whole.latency_ms) == ({"total"} if seen else set())
    if seen:
        p50s = [part.latency_ms["total"].p50 for part in seen]
        assert min(p50s) - 1e-6 <= whole.latency_ms["total"].p50 <= max(p50s) + 1e-6
        assert whole.latency_ms["total"].p95 == max(part.latency_ms["total"].p95 for part in seen)
    means = [part.confidence_mean for part in windows if part.confidence_mean is not None]
    assert (whole.confidence_mean is None) == (not means)
    if whole.confidence_mean is not None:
        assert min(means) - 1e-6 <= whole.confidence_mean <= max(means) + 1e-6
    assert whole.temperature_c["tj"] == max(part.temperature_c["tj"] for part in windows)


@given(rows(least=3))
def test_the_order_of_merging_changes_no_figure(windows: list[Window]) -> None:
    """Two and then one, or one and then two: only the id tells which."""
    first, second, third = windows[:3]
    left = merge_windows(merge_windows(first, second), third)
    right = merge_windows(first, merge_windows(second, third))

    one, other = _flat(left.model_dump(exclude={"window_id"})), _flat(right.model_dump(exclude={"window_id"}))
    assert one == {
        key: pytest.approx(value, rel=1e-6, abs=1e-6) if isinstance(value, float) else value
        for key, value in other.items()
    }
    assert len({left.window_id, right.window_id, *(part.window_id for part in windows)}) == len(windows) + 2


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@pytest.mark.parametrize(
    "second",
    [
        window(3, 1_000_010.0),
        window(2, 1_000_012.0),
        window(2, 1_000_010.0 + 86_400),
        window(2, 1_000_010.0 - 86_400),
        window(2, 1_000_010.0, boot_id="c"),
        window(2, 1_000_010.0, release=ReleaseRef(name="faces", version="1.1.0")),
        window(2, 1_000_010.0, power=Power(source="none")),
        window(2, 1_000_010.0, nvpmodel="MAXN"),
    ],
    ids=["number-left-out", "hole", "clock-on", "clock-back", "other-boot", "other-release", "no-power", "other-mode"],
)
def test_what_does_not_belong_together_stays_apart(second: Window) -> None:
    """A hole in numbers or time, another boot, release, power source or mode: no merging."""
    assert may_merge(window(1), window(2, 1_000_010.0))
    assert not may_merge(window(1), second)


def test_an_absent_figure_is_not_guessed() -> None:
    """A mean that one of the windows lacks is absent; a rail of one window alone is left out."""
    first = window(1, cpu_percent=None, power=Power(source="x", total_w=4, energy_j=40, rails_w={"A": 1, "B": 2}))
    second = window(
        2, 1_000_010.0, 30.0, cpu_percent=50, power=Power(source="x", total_w=8, energy_j=240, rails_w={"A": 5})
    )
    whole = merge_windows(first, second)
    assert whole.cpu_percent is None
    assert whole.power.rails_w == {"A": pytest.approx(4.0)}
    assert whole.power.total_w == pytest.approx(7.0)
    assert whole.power.energy_per_inference_j == pytest.approx(280 / 200)


@given(rows(), st.floats(1, 3600))
def test_groups_keep_order_and_length(windows: list[Window], longest_s: float) -> None:
    """Every group has neighbours only, at least two, within the length; no window is in two."""
    groups = groups_to_merge(windows, longest_s=longest_s)
    for before, after in pairwise(groups):
        assert before.stop <= after.start
    for group in groups:
        assert len(group) >= 2
        assert windows[group[-1]].ended_at - windows[group[0]].started_at <= longest_s


def test_fields_of_a_later_version_are_kept() -> None:
    """What this version does not know stays as the later window has it."""
    whole = merge_windows(window(1, novelty="old"), window(2, 1_000_010.0, novelty="new"))
    assert whole.model_dump()["novelty"] == "new"
