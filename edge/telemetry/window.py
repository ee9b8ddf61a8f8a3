"""Sums up one telemetry window: what the pipeline counted and what the power source read become one message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.pipeline.meter import FrameTally
from edge.pipeline.model import STAGES
from edge.power.energy import energy_over, mean_power_w
from edge.power.fit import amount, count, fit
from edge.power.interface import PowerSample
from mien.messages import Percentiles, Power, Window
from mien.release import Precision, ReleaseRef

_LONGEST_NAME = 64
_MOST_ALARMS = 64
"""As :class:`mien.messages.Window` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowContext:
    """What a window says about itself besides its figures."""

    window_id: str
    sequence: int
    boot_id: str
    ended_at: float
    """Unix seconds."""
    power_source: str
    release: ReleaseRef | None = None
    precision: Precision | None = None
    labels: tuple[str, ...] = ()
    cpu_percent: float | None = None
    """This machine's, as are the next."""
    ram_bytes: int | None = None


def build_window(
    tally: FrameTally, samples: Sequence[PowerSample], context: WindowContext, *, dropped: int = 0
) -> Window:
    """One window's message; figures that are unfit for it are left out (:mod:`edge.power.fit`).

    Args:
        tally: what was counted in the window.
        samples: power readings of the window, by time; the last one of the window before may come first.
        context: identity, time and release.
        dropped: frames let go for newer ones.
    """
    samples = [fit(sample) for sample in samples]
    newest = samples[-1] if samples else PowerSample(at_s=tally.ended_at_s)
    alarms = dict.fromkeys(alarm[:_LONGEST_NAME] for sample in samples for alarm in sample.alarms)
    counts = {label: int(tally.class_counts[index]) for index, label in enumerate(context.labels)}
    return Window(
        window_id=context.window_id,
        sequence=context.sequence,
        boot_id=context.boot_id,
        started_at=context.ended_at - tally.seconds,
        ended_at=context.ended_at,
        release=context.release,
        precision=context.precision,
        frames=tally.frames,
        dropped=dropped,
        cameras=tally.sources if len(tally.sources) > 1 else {},
        fps=tally.frames / tally.seconds if tally.seconds > 0 else 0.0,
        latency_ms=percentiles_of(tally.latency_ms),
        power=power_of(samples, context.power_source, seconds=tally.seconds, frames=tally.frames),
        temperature_c=dict(newest.temperature_c),
        cpu_percent=amount(context.cpu_percent),
        gpu_percent=newest.gpu_percent,
        ram_bytes=count(context.ram_bytes),
        ram_total_bytes=newest.ram_total_bytes,
        clocks_hz=_means([sample.clocks_hz for sample in samples]),
        fan_percent=newest.fan_percent,
        fan_rpm=newest.fan_rpm,
        nvpmodel=newest.nvpmodel[:_LONGEST_NAME] if newest.nvpmodel else None,
        throttled=any(sample.throttled for sample in samples),
        over_current=any(sample.over_current for sample in samples),
        alarms=tuple(alarms)[:_MOST_ALARMS],
        detections=tally.detections,
        expressions=counts,
        confidence_mean=tally.confidence_mean,
        confidence_histogram=tuple(int(count) for count in tally.confidence_histogram),
        brightness_histogram=tuple(int(count) for count in tally.brightness_histogram),
    )


def percentiles_of(latency_ms: npt.NDArray[np.float32]) -> dict[str, Percentiles]:
    """p50, p95 and p99 of each stage of ``float32[n, 5]``; empty without frames."""
    if not len(latency_ms):
        return {}
    figures = np.maximum(np.percentile(latency_ms.astype(np.float64), (50, 95, 99), axis=0), 0.0)
    return {
        stage: Percentiles(p50=round(p50, 3), p95=round(p95, 3), p99=round(p99, 3))
        for stage, (p50, p95, p99) in zip(STAGES, figures.T.tolist(), strict=True)
    }


def power_of(samples: Sequence[PowerSample], source: str, *, seconds: float, frames: int) -> Power:
    """Mean power of the window, its energy, and the energy of one inference; absent where nothing was read."""
    energy = energy_over(samples, seconds)
    return Power(
        source=source,
        total_w=mean_power_w(samples),
        rails_w=_means([sample.rails_w for sample in samples]),
        limits_a=dict(samples[-1].limits_a) if samples else {},
        energy_j=energy,
        energy_per_inference_j=energy / frames if energy is not None and frames else None,
    )


def _means(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each figure over the readings that have it."""
    names = sorted({name for reading in readings for name in reading})
    return {name: float(np.mean([reading[name] for reading in readings if name in reading])) for name in names}
