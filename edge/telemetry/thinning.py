"""Makes old telemetry coarser before any is given up: neighbouring windows become one. Pure.

What is counted adds up: frames, detections, histograms, energy, given-up messages, the windows themselves. What is a
mean is weighted by what it is a mean of: power and load by time, confidence by detections, p50 by frames. Percentiles
of the whole cannot be had from percentiles of its parts: the merged p50 is their mean by frames, an estimate between
the smallest and the largest; p95 and p99 are the largest of the parts, which the true one never exceeds. Temperatures
and memory are the highest. A mean that one part lacks is absent, never guessed. Windows of two boots, releases, power
sources or power modes stay apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import zip_longest

from mien.messages import Percentiles, Power, Window

_MOST_ALARMS = 64
"""As :class:`mien.messages.Window` takes them."""
_LONGEST_GAP_S = 1.0
"""Between the end of one window and the start of the next, either way: more is a stepped clock or a device asleep."""


def may_merge(first: Window, second: Window) -> bool:
    """Whether two windows are of one kind and one follows the other without a hole.

    Args:
        first: the earlier one.
        second: the later one.
    """
    return (
        second.sequence - second.merged == first.sequence
        and abs(second.started_at - first.ended_at) <= _LONGEST_GAP_S
        and _kind(first) == _kind(second)
    )


def merge_windows(first: Window, second: Window) -> Window:
    """One window in place of two; fields that this version does not know are the later one's.

    Args:
        first: the earlier one.
        second: the later one; :func:`may_merge` holds.

    Returns:
        A window with an id of its own, which is that of its parts alone.
    """
    frames = first.frames + second.frames
    started_at, ended_at = first.started_at, max(first.ended_at, second.ended_at)
    seconds = ended_at - started_at
    ram = [figure for figure in (first.ram_bytes, second.ram_bytes) if figure is not None]
    return second.model_copy(
        update={
            "window_id": hashlib.sha256(f"{first.window_id}+{second.window_id}".encode()).hexdigest()[:32],
            "started_at": started_at,
            "ended_at": ended_at,
            "frames": frames,
            "dropped": first.dropped + second.dropped,
            "cameras": _added(first.cameras, second.cameras),
            "fps": frames / seconds if seconds > 0 else 0.0,
            "latency_ms": _latency(first, second),
            "power": _power(first, second),
            "temperature_c": _highest(first.temperature_c, second.temperature_c),
            "cpu_percent": _by_time(first, second, first.cpu_percent, second.cpu_percent),
            "gpu_percent": _by_time(first, second, first.gpu_percent, second.gpu_percent),
            "ram_bytes": max(ram) if ram else None,
            "clocks_hz": _means(first, second, first.clocks_hz, second.clocks_hz),
            "fan_percent": _by_time(first, second, first.fan_percent, second.fan_percent),
            "fan_rpm": _by_time(first, second, first.fan_rpm, second.fan_rpm),
            "alarms": tuple(dict.fromkeys((*first.alarms, *second.alarms)))[:_MOST_ALARMS],
            "throttled": first.throttled or second.throttled,
            "over_current": first.over_current or second.over_current,
            "detections": first.detections + second.detections,
            "expressions": _added(first.expressions, second.expressions),
            "confidence_mean": _confidence(first, second),
            "confidence_histogram": _bins(first.confidence_histogram, second.confidence_histogram),
            "brightness_histogram": _bins(first.brightness_histogram, second.brightness_histogram),
            "merged": first.merged + second.merged,
            "dropped_messages": _added(first.dropped_messages, second.dropped_messages),
        }
    )


def merged(windows: Sequence[Window]) -> Window:
    """All of a group as one, from the left; at least one."""
    return reduce(merge_windows, windows)


def groups_to_merge(windows: Sequence[Window], *, longest_s: float) -> list[range]:
    """Which neighbours become one, as ranges of at least two places.

    Args:
        windows: by number, oldest first.
        longest_s: what a merged window spans at most.
    """
    groups, start = [], 0
    for end in range(1, len(windows) + 1):
        goes_on = (
            end < len(windows)
            and may_merge(windows[end - 1], windows[end])
            and windows[end].ended_at - windows[start].started_at <= longest_s
        )
        if not goes_on:
            if end - start > 1:
                groups.append(range(start, end))
            start = end
    return groups


def _kind(window: Window) -> tuple[object, ...]:
    power = window.power
    known = (power.total_w is not None, power.energy_j is not None)
    runs = (window.boot_id, window.release, window.precision, set(window.expressions))
    return (*runs, power.source, known, window.nvpmodel)


def _by_time(first: Window, second: Window, one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    before, after = first.ended_at - first.started_at, second.ended_at - second.started_at
    return (one * before + other * after) / (before + after) if before + after > 0 else one


def _means(first: Window, second: Window, one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    means = {name: _by_time(first, second, figure, other.get(name)) for name, figure in one.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def _power(first: Window, second: Window) -> Power:
    one, other = first.power, second.power
    energy = one.energy_j + other.energy_j if one.energy_j is not None and other.energy_j is not None else None
    frames = first.frames + second.frames
    return other.model_copy(
        update={
            "total_w": _by_time(first, second, one.total_w, other.total_w),
            "rails_w": _means(first, second, one.rails_w, other.rails_w),
            "energy_j": energy,
            "energy_per_inference_j": energy / frames if energy is not None and frames else None,
        }
    )


def _latency(first: Window, second: Window) -> dict[str, Percentiles]:
    if not (first.frames and second.frames):
        return dict(first.latency_ms if first.frames else second.latency_ms)
    frames = first.frames + second.frames
    return {
        stage: Percentiles(
            p50=(one.p50 * first.frames + other.p50 * second.frames) / frames,
            p95=max(one.p95, other.p95),
            p99=max(one.p99, other.p99),
        )
        for stage, one in first.latency_ms.items()
        if (other := second.latency_ms.get(stage)) is not None
    }


def _confidence(first: Window, second: Window) -> float | None:
    sure = [(w.confidence_mean, w.detections) for w in (first, second) if w.confidence_mean is not None]
    seen = sum(count for _, count in sure)
    return min(sum(mean * count for mean, count in sure) / seen, 1.0) if seen else None


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    total = Counter(one)
    total.update(other)
    return dict(total)


def _highest(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: max(side[name] for side in (one, other) if name in side) for name in {**one, **other}}


def _bins(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(before + after for before, after in zip_longest(one, other, fillvalue=0))
