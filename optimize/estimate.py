"""How fast a graph could run on a device class, by arithmetic: the roofline model, beside published measurements.

For each layer the time is the longer of two: its operations over the peak rate of the arithmetic, and its bytes over
the rate of the memory; a graph is the sum of its layers (Williams, Waterman, Patterson: Roofline, an insightful visual
performance model, CACM 52(4), 2009, https://doi.org/10.1145/1498765.1498785)::

    seconds = Σ max(operations / peak, bytes / bandwidth)

No efficiency is assumed and no constant fitted, so the figure is a lower bound of the latency as long as layers run one
after the other and pass their results through memory; ``floor_ms`` holds even without that. Kernel launches,
reformatting and tiles that fit badly come on top: published measurements lie several times higher, and
:class:`Compared` says how much. Nothing here was measured on a device.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mien.devices import DeviceClass, HardwarePrecision, PowerMode, Published
from optimize.workload import Workload

FEWEST_FOR_CALIBRATION = 2
"""One measurement has no spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One layer on the roofline."""

    name: str
    ms: float
    intensity: float
    """Operations for each byte."""
    ops_per_s: float
    """What the roofline allows this layer."""
    bound: str
    """``compute`` or ``memory``, whichever takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the roofline says of a graph on a device class in a power mode. An estimate, never a measurement."""

    precision: HardwarePrecision
    unit: HardwarePrecision
    """The arithmetic whose peak was taken: TensorRT lets FP32 layers run as TF32 where there is TF32."""
    power_mode: str | None
    peak_ops: float
    bandwidth: float
    flops: float
    moved_bytes: float
    roofline_ms: float
    """Sum over the layers."""
    floor_ms: float
    """The whole graph as if no result between layers ever left the chip; nothing can be faster."""
    compute_share: float
    """Share of the time in layers that the arithmetic bounds; the memory bounds the rest."""
    layers: tuple[LayerTime, ...]

    @property
    def bound(self) -> str:
        """What bounds most of the time: ``compute`` or ``memory``."""
        return "compute" if self.compute_share >= 0.5 else "memory"  # noqa: PLR2004 - half of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A published measurement beside the roofline of the same class, power mode and precision."""

    device: str
    architecture: str
    published: Published
    roofline_ms: float

    @property
    def ratio(self) -> float:
        """How many times longer the measurement is."""
        return self.published.latency_ms / self.roofline_ms

    @property
    def joules(self) -> float | None:
        """Energy of one inference as published: mean power of the module times latency."""
        return self.published.power_w * self.published.latency_ms / 1e3 if self.published.power_w else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The roofline times what measurements of *other* classes were above theirs. An estimate with a spread."""

    latency_ms: float
    """With the median of the ratios."""
    low_ms: float
    high_ms: float
    sources: tuple[str, ...]
    """The classes whose measurements were used."""


def unit_of(device: DeviceClass, precision: HardwarePrecision) -> HardwarePrecision:
    """The arithmetic that TensorRT may use for a precision: TF32 for FP32 where the hardware has it."""
    return "tf32" if precision == "fp32" and "tf32" in device.precisions else precision


def estimate(
    workload: Workload, device: DeviceClass, precision: HardwarePrecision, mode: PowerMode | None = None
) -> Estimate | None:
    """The roofline of a graph.

    Args:
        workload: operations and bytes of each layer.
        device: with published peaks.
        precision: of all layers; layers that stay in floating point make the true figure longer.
        mode: whose clocks are taken; the module's highest unless given.

    Returns:
        The estimate, or ``None`` where no peak of that precision is known.
    """
    unit = unit_of(device, precision)
    peak = device.peak_ops(unit, mode)
    if peak is None:
        return None
    bandwidth = device.bandwidth(mode)
    layers = tuple(
        _layer_time(layer.name, layer.flops, layer.bytes_in(precision), peak, bandwidth) for layer in workload
    )
    total = sum(layer.ms for layer in layers)
    computing = sum(layer.ms for layer in layers if layer.bound == "compute")
    flops = workload.flops
    return Estimate(
        precision=precision,
        unit=unit,
        power_mode=mode.name if mode else None,
        peak_ops=peak,
        bandwidth=bandwidth,
        flops=flops,
        moved_bytes=workload.moved_bytes(precision),
        roofline_ms=total,
        floor_ms=1e3 * max(flops / peak, workload.least_bytes(precision) / bandwidth),
        compute_share=computing / total if total else 0.0,
        layers=layers,
    )


def compare(workload: Workload, model: str, imgsz: int, classes: Sequence[DeviceClass]) -> tuple[Compared, ...]:
    """Every published measurement of a model and image size, beside the roofline of its class and power mode."""
    rows = []
    for device in classes:
        for row in device.published:
            if (row.model, row.imgsz, row.batch) != (model, imgsz, 1):
                continue
            mode = device.power_mode(row.power_mode) if row.power_mode else None
            guess = estimate(workload, device, row.precision, mode)
            if guess is not None:
                rows.append(
                    Compared(
                        device=device.name,
                        architecture=device.gpu.architecture,
                        published=row,
                        roofline_ms=guess.roofline_ms,
                    )
                )
    return tuple(rows)


def calibrated(guess: Estimate, device: DeviceClass, measured: Sequence[Compared]) -> Calibrated | None:
    """Scale a roofline by what measurements of other classes with the same kind of GPU were above theirs.

    The class's own measurements are left out, so that a figure can be held against them.

    Returns:
        The scaled estimate, or ``None`` where fewer than two of the kind were published.
    """
    used = [
        row
        for row in measured
        if row.device != device.name
        and row.architecture == device.gpu.architecture
        and row.published.precision == guess.precision
    ]
    if len(used) < FEWEST_FOR_CALIBRATION:
        return None
    ratios = [row.ratio for row in used]
    return Calibrated(
        latency_ms=guess.roofline_ms * statistics.median(ratios),
        low_ms=guess.roofline_ms * min(ratios),
        high_ms=guess.roofline_ms * max(ratios),
        sources=tuple(sorted({row.device for row in used})),
    )


def joules_of_budget(latency_ms: float, mode: PowerMode | None) -> float | None:
    """Energy of one inference if the module drew a mode's whole budget meanwhile: ``watts · latency``.

    An upper estimate for that latency, since a module rarely draws its whole budget; ``None`` where the mode has none.
    """
    return mode.watts * latency_ms / 1e3 if mode and mode.watts else None


def _layer_time(name: str, flops: float, moved: float, peak: float, bandwidth: float) -> LayerTime:
    computing, moving = flops / peak, moved / bandwidth
    intensity = flops / moved if moved else 0.0
    return LayerTime(
        name=name,
        ms=1e3 * max(computing, moving),
        intensity=intensity,
        ops_per_s=min(peak, intensity * bandwidth),
        bound="compute" if computing >= moving else "memory",
    )
