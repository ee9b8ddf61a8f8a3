"""``mien optimize plan`` and ``targets``: what would be built for a device class, and how fast it might run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from mien.console import Progress
    from mien.devices import DeviceClass, PowerMode
    from mien.release import Precision
    from optimize.estimate import Compared
    from optimize.outlook import Outlook
    from optimize.plan import Plan
    from optimize.workload import Workload

_JSON = typer.Option(False, "--json", help="Print one JSON document instead of a table.")


def add_to(app: typer.Typer) -> None:
    """Mount both commands."""
    app.command("plan")(plan)
    app.command("targets")(targets)


def plan(
    target: str = typer.Option(..., help="A device class such as orin-nano-8gb-super, or the path of its YAML file."),
    precision: str = typer.Option(None, help="Precisions such as fp16,int8; all that mien makes unless given."),
    imgsz: str = typer.Option(None, help="N or HEIGHTxWIDTH in pixels; of the weights, graph or class unless given."),
    jetpack: str = typer.Option(None, help="JetPack of the devices, such as 6.2; the class's default unless given."),
    power_mode: str = typer.Option(None, help="Power mode by name; the class's default unless given."),
    weights: Path = typer.Option(None, help="Estimate for these weights (.pt)."),
    model: Path = typer.Option(None, help="Estimate for this graph (.onnx)."),
    architecture: str = typer.Option(None, help="Estimate for an untrained detector, such as yolov8n."),
    plot: Path = typer.Option(None, help="Write the roofline as a picture (.svg or .png)."),
    as_json: bool = _JSON,
) -> None:
    """Say what would be built for a device class, where and why; with a model, estimate how fast it would run."""
    from mien.console import print_json, progress_bar
    from mien.devices import device_class, device_classes, jetpack_for, jetpack_table
    from optimize.plan import make_plan

    device = device_class(target)
    release = jetpack_for(device, jetpack, jetpack_table())
    asked = device.power_mode(power_mode) if power_mode else None
    wanted = _precisions(precision)
    named = _one_model(weights, model, architecture)
    _check_plot(plot, named)
    own = _own_precision(model)
    draft = make_plan(device, release, precisions=wanted, mode=asked, imgsz=imgsz, graph=named, made_in=own)
    outlooks: tuple[Outlook, ...] = ()
    if named:
        with progress_bar() as progress:
            workload = _workload(device, weights, model, architecture, imgsz, progress)
        size = f"{workload.height}x{workload.width}"
        draft = make_plan(device, release, precisions=wanted, mode=asked, imgsz=size, graph=named, made_in=own)
        measured = _measured(workload, architecture, (*device_classes(), device))
        outlooks = _outlooks(device, draft, workload, asked, measured)
    written = _write_plot(plot, draft, outlooks) if plot else None
    if as_json:
        print_json({**draft.as_dict(), "outlook": [one.as_dict() for one in outlooks], "plot": written})
    else:
        _show(draft, outlooks, scaled_for=architecture, plot=written)


def targets(
    page: Path = typer.Option(None, help="Write the table of estimates and published measurements (.md) here."),
    as_json: bool = _JSON,
) -> None:
    """List the device classes, or write the page that compares them."""
    from mien.console import out, print_json, progress_bar, table_of
    from mien.devices import device_classes

    classes = device_classes()
    if page is not None:
        with progress_bar() as progress:
            _write_page(page, classes, progress)
        if as_json:
            print_json({"page": str(page)})
        else:
            out().print(f"written: {page}", highlight=False)
        return
    rows = [_target(device) for device in classes]
    if as_json:
        print_json({"targets": rows})
        return
    cells = [
        (
            *(row["name"], row["compute_capability"], f"{row['memory_gib']} GiB", row["dla_cores"]),
            *(row["int8_dense_tops"], row["default_power_mode"] or "not known"),
        )
        for row in rows
    ]
    head = ("class", "sm", ">memory", ">DLA", ">INT8 TOPS", "power mode")
    out().print(table_of("Device classes (published or derived peaks, dense)", head, cells))


def _precisions(text: str | None) -> list[str] | None:
    from mien.errors import ConfigError

    if text is None:
        return None
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not wanted:
        raise ConfigError(
            "no precision was named", found=repr(text), wanted="such as fp16,int8", remedy="see --precision"
        )
    return wanted


def _one_model(weights: Path | None, model: Path | None, architecture: str | None) -> str | None:
    from mien.errors import ConfigError

    given = [str(name) for name in (weights, model, architecture) if name is not None]
    if len(given) > 1:
        raise ConfigError(
            "a plan is for one model",
            found=" and ".join(given),
            wanted="one of --weights, --model and --architecture",
            remedy="leave the others out",
        )
    return (f"{architecture}, untrained" if architecture else given[0]) if given else None


def _own_precision(model: Path | None) -> Precision | None:
    if model is None:
        return None
    from optimize.mistaken import check_graph
    from optimize.workload import stated_precision

    check_graph(model)
    return stated_precision(model)


def _check_plot(plot: Path | None, named: str | None) -> None:
    from mien.errors import ConfigError

    if plot is None:
        return
    if named is None:
        raise ConfigError(
            "a roofline needs a model",
            wanted="--weights, --model or --architecture",
            remedy="add --architecture yolov8n",
        )
    from optimize.roofline_plot import plot_format

    plot_format(plot)


def _workload(
    device: DeviceClass,
    weights: Path | None,
    model: Path | None,
    architecture: str | None,
    imgsz: str | None,
    progress: Progress,
) -> Workload:
    from mien.errors import ConfigError
    from optimize.workload import read_workload

    if model is not None:
        workload = read_workload(model)
        found = f"{workload.height}x{workload.width}"
        if imgsz is not None and imgsz.lower() not in {
            found,
            str(workload.height) if found == f"{imgsz}x{imgsz}" else "",
        }:
            raise ConfigError(
                f"{model} has its own image size", found=f"--imgsz {imgsz}", wanted=found, remedy="leave --imgsz out"
            )
        return workload
    from optimize.graph.untrained import exported_workload, untrained_workload

    if weights is not None:
        from optimize.graph.weights import open_weights

        return exported_workload(open_weights(weights), imgsz, progress=progress)
    return untrained_workload(str(architecture), imgsz or str(device.defaults.imgsz), progress=progress)


def _measured(workload: Workload, architecture: str | None, classes: Sequence[DeviceClass]) -> tuple[Compared, ...]:
    """Published measurements of the same graph; of weights of one's own there are none."""
    from optimize.estimate import compare

    if architecture is None or workload.height != workload.width:
        return ()
    by_name = {device.name: device for device in classes}
    return compare(workload, architecture, workload.height, tuple(by_name.values()))


def _outlooks(
    device: DeviceClass, draft: Plan, workload: Workload, asked: PowerMode | None, measured: Sequence[Compared]
) -> tuple[Outlook, ...]:
    from optimize.outlook import outlook

    mode = asked or (device.power_mode(draft.power_mode) if draft.power_mode else None)
    return tuple(outlook(device, one.precision, workload, mode=mode, measured=measured) for one in draft.builds)


def _write_plot(path: Path, draft: Plan, outlooks: Sequence[Outlook]) -> str:
    from optimize.roofline_plot import write_roofline

    title = f"{draft.display}, {draft.power_mode or 'highest clocks'}: {draft.graph}, {draft.imgsz}"
    return str(write_roofline(path, title, outlooks))


def _write_page(path: Path, classes: Sequence[DeviceClass], progress: Progress) -> None:
    from mien.files import write_bytes
    from optimize.graph.untrained import ARCHITECTURES, untrained_workload
    from optimize.performance_page import SIZE, models_published, page

    names = models_published(classes, ARCHITECTURES)
    workloads = {name: untrained_workload(name, str(SIZE), progress=progress) for name in names}
    write_bytes(path, page(classes, workloads).encode())


def _target(device: DeviceClass) -> dict[str, Any]:
    peak = device.peaks.get("int8")
    return {
        "name": device.name,
        "display": device.display,
        "modules": list(device.modules),
        "compute_capability": device.compute_capability,
        "memory_gib": device.memory.bytes >> 30,
        "bandwidth_gb_s": device.memory.bandwidth_gb_s,
        "dla_cores": device.dla.cores,
        "int8_dense_tops": peak.tera if peak else None,
        "precisions": list(device.precisions),
        "power_modes": [{"name": mode.name, "id": mode.id, "watts": mode.watts} for mode in device.power_modes],
        "jetpacks": list(device.jetpacks),
        "default_precision": device.defaults.precision,
        "default_imgsz": device.defaults.imgsz,
        "default_power_mode": device.defaults.power_mode,
    }


def _show(draft: Plan, outlooks: Sequence[Outlook], *, scaled_for: str | None, plot: str | None) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from mien.console import out, table_of

    console = out()
    console.print(
        f"[bold]{draft.display}[/]  JetPack {draft.jetpack}, TensorRT {draft.tensorrt}, CUDA {draft.cuda}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"model: {draft.graph}; image {draft.imgsz}; power mode {draft.power_mode or 'not known'}",
        highlight=False,
        soft_wrap=True,
    )
    head = ("precision", "portable file", "what becomes of it")
    rows = [
        (one.precision, one.file, f"holds {one.types}\nengine: {one.engine}\nDLA: {one.dla}") for one in draft.builds
    ]
    console.print(_wide_last(table_of("What would be built", head, rows)))
    console.print(f"where: {draft.where}\nwhy there: {draft.why_there}", highlight=False)
    for reason in draft.reasons:
        console.print(Padding(Text(f"- {reason}"), (0, 0, 0, 2)), highlight=False)
    for warning in draft.warnings:
        console.print(f"  [yellow]careful[/] {warning}", highlight=False)
    if outlooks:
        _show_outlooks(outlooks, scaled_for=scaled_for)
    if plot:
        console.print(f"plot: {plot}", highlight=False, soft_wrap=True)


def _wide_last(table: Table) -> Table:
    """The same table with names whole and the last column taking what is left of the line."""
    for column in table.columns[:-1]:
        column.no_wrap = True
    table.show_lines = True
    return table


def _show_outlooks(outlooks: Sequence[Outlook], *, scaled_for: str | None) -> None:
    from mien.console import out, table_of

    console = out()
    head = ("precision", ">roofline", "bound", ">scaled", ">J", ">published")
    console.print(
        table_of(
            "ESTIMATE in ms and J, beside what was PUBLISHED of this class", head, [_cells(one) for one in outlooks]
        )
    )
    first = next((one.roofline for one in outlooks if one.roofline), None)
    if first:
        console.print(
            f"{first.flops / 1e9:.2f} GFLOPs an image. The roofline is a lower bound; measurements lie several times "
            "above it. J: the power mode's whole budget, from the roofline's time to the upper end of the scaled one.",
            highlight=False,
        )
    if not any(one.scaled for one in outlooks):
        why = "of this very graph nothing was published" if scaled_for is None else "too little was published of others"
        console.print(f"no scaled estimate: {why}", highlight=False)
    for one in outlooks:
        for row in one.published:
            console.print(
                f"published {one.precision}: {row.published.latency_ms} ms, {row.ratio:.1f} times the roofline, in "
                f"{row.published.power_mode or 'a mode not said'}; {row.published.measured}; {row.published.source}",
                highlight=False,
                soft_wrap=True,
            )


def _cells(one: Outlook) -> tuple[object, ...]:
    guess, scaled = one.roofline, one.scaled
    return (
        f"{one.precision} ({guess.unit})" if guess and guess.unit != one.precision else one.precision,
        f"≥ {guess.roofline_ms:.2f}" if guess else "not known",
        guess.bound if guess else None,
        f"{scaled.latency_ms:.1f} ({scaled.low_ms:.1f} … {scaled.high_ms:.1f})" if scaled else None,
        _joules(one),
        ", ".join(f"{row.published.latency_ms}" for row in one.published) or None,
    )


def _joules(one: Outlook) -> str | None:
    if one.joules_at_roofline is None:
        return None
    least = f"{one.joules_at_roofline:.3f}"
    return f"≥ {least}" if one.joules_upper is None else f"{least} … {one.joules_upper:.3f}"
