"""The page ``docs/performance.md``: every device class, estimated and as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mien.devices import DeviceClass, HardwarePrecision, Published
from optimize.estimate import Compared, compare
from optimize.outlook import Outlook, outlook
from optimize.workload import Workload

MODEL = "yolov8n"
SIZE = 640
_PRECISIONS: tuple[HardwarePrecision, ...] = ("fp32", "fp16", "int8")
_OPENING = f"""# Performance of the device classes

<!-- Written by "mien optimize targets --page docs/performance.md"; a test compares it with what that writes. -->

**None of these figures was measured with mien.** The first table is arithmetic on published peaks, the second one
quotes other people's measurements. What mien measures on a device stands in its telemetry and in the bundle's report.

## Estimates: {MODEL} at {SIZE} × {SIZE}, one image at a time

- **roofline**: estimate, a lower bound. For each layer the longer of operations over the GPU's dense peak and bytes
  over the memory's rate, summed up ([Williams et al. 2009](https://doi.org/10.1145/1498765.1498785)); no efficiency is
  assumed. FP32 is counted at the TF32 peak where there is one, since TensorRT allows TF32 there. INT8 counts every
  layer as INT8.
- **bound**: what takes longer in most of that time.
- **scaled**: estimate. The roofline times the median of what published measurements of *other* classes with the same
  kind of GPU were above theirs; in brackets with the smallest and largest such ratio. Where fewer than two were
  published, there is none. In the last table the ratio ("times") is largest on AGX Orin, whose scaled figures are
  therefore likely too low.
- **J at roofline**: estimate. The budget of the power mode for the roofline's time.
- **J, upper**: estimate. The budget of the power mode for the upper end of the scaled time; a module rarely draws its
  whole budget. The published energies below are mean power times latency.

"""
_NOTES = """
Sparse figures, as NVIDIA advertises them, are twice the dense ones used here. Each figure's source stands beside it in
[configs/devices](../configs/devices); some of NVIDIA's data sheets were read as others quote them, and a figure that
follows from another by arithmetic says how. A clock of a power mode that is not known is taken as the module's highest.
"""


def page(classes: Sequence[DeviceClass], workloads: Mapping[str, Workload]) -> str:
    """The whole page as Markdown.

    Args:
        classes: all device classes.
        workloads: by model name at the page's image size; the page's own model among them.
    """
    measured = {name: compare(work, name, SIZE, classes) for name, work in workloads.items()}
    estimates = [_estimate_rows(device, workloads[MODEL], measured[MODEL]) for device in classes]
    work = workloads[MODEL]
    size = f"{work.flops / 1e9:.2f} GFLOPs, {work.moved_bytes('fp16') / 1e6:.1f} MB moved in FP16."
    head = "| class | power mode | precision | roofline, ms | bound | scaled, ms | J at roofline | J, upper |"
    return "\n".join(
        [
            _OPENING + f"The graph that mien exports: {size}",
            "",
            head,
            "|---|---|---|---:|---|---:|---:|---:|",
            *(row for rows in estimates for row in rows),
            _NOTES,
            *_published(classes, measured),
        ]
    )


def models_published(classes: Sequence[DeviceClass], known: Sequence[str]) -> tuple[str, ...]:
    """The page's model and every other one that somebody measured at its size and mien can export."""
    measured = {row.model for device in classes for row in device.published if row.imgsz == SIZE}
    return (MODEL, *sorted(name for name in measured if name in known and name != MODEL))


def _estimate_rows(device: DeviceClass, workload: Workload, measured: Sequence[Compared]) -> list[str]:
    mode = device.power_mode(device.defaults.power_mode) if device.defaults.power_mode else None
    return [
        _estimate_row(
            device.name,
            mode.name if mode else "not known",
            outlook(device, precision, workload, mode=mode, measured=measured),
        )
        for precision in _PRECISIONS
        if precision in device.precisions
    ]


def _estimate_row(name: str, mode: str, one: Outlook) -> str:
    guess, scaled = one.roofline, one.scaled
    cells = [
        name,
        mode,
        one.precision.upper(),
        f"≥ {guess.roofline_ms:.2f}" if guess else "not known",
        guess.bound if guess else "—",
        f"{scaled.latency_ms:.1f} ({scaled.low_ms:.1f} … {scaled.high_ms:.1f})" if scaled else "—",
        _joules(one.joules_at_roofline),
        _joules(one.joules_upper),
    ]
    return f"| {' | '.join(cells)} |"


def _published(classes: Sequence[DeviceClass], measured: Mapping[str, Sequence[Compared]]) -> list[str]:
    sources: list[str] = []
    rows = [_published_row(device, row, measured, sources) for device in classes for row in device.published]
    return [
        "## Published measurements, beside the roofline",
        "",
        "The roofline is that of the measurement's power mode, or of the highest clocks where the mode was not said.",
        "",
        "| class | model | precision | power mode | published, ms | roofline, ms | times | W | J | source |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|",
        *rows,
        "",
        *(f"{place}. {source}" for place, source in enumerate(sources, 1)),
        "",
    ]


def _published_row(
    device: DeviceClass, row: Published, measured: Mapping[str, Sequence[Compared]], sources: list[str]
) -> str:
    source = f"{row.source} ({row.measured}{'; TensorRT ' + row.tensorrt if row.tensorrt else ''})"
    if source not in sources:
        sources.append(source)
    beside = next(
        (one for one in measured.get(row.model, ()) if one.device == device.name and one.published == row), None
    )
    cells = [
        device.name,
        row.model,
        row.precision.upper(),
        row.power_mode or "not said",
        f"{row.latency_ms:.2f}",
        f"≥ {beside.roofline_ms:.2f}" if beside else "not exported by mien",
        f"{beside.ratio:.1f}" if beside else "—",
        f"{row.power_w:.2f}" if row.power_w else "—",
        _joules(beside.joules if beside else None),
        f"[{sources.index(source) + 1}]",
    ]
    return f"| {' | '.join(cells)} |"


def _joules(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"
