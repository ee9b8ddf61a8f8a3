"""``mien optimize``: calibrate, quantize, sensitivity, bench."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from optimize.quantize.interface import Quantizer
    from optimize.sensitivity import Study

MODEL = typer.Option(..., help="The self-contained FP32 graph (.onnx) that 'mien optimize export' writes.")
DATA = typer.Option(..., help="The data.yaml that the weights were trained on; only its training split is used.")
QUANTIZER = typer.Option(None, help="onnxruntime or modelopt; onnxruntime unless given.")
METHOD = typer.Option(None, help="percentile, mse, entropy or max; percentile unless given.")
IMAGES = typer.Option(
    None, "--calibration-images", help="Training images to find scales with; 128, or all of fewer, unless given."
)
RANK = "loss: mAP50-95 lost against FP32's detections, and confidence moved, added up"
SEED = typer.Option(0, help="Chooses the calibration images.")
JSON = typer.Option(False, "--json", help="Print one JSON document instead of a table.")
_MOST_ROWS = 20


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(calibrate)
    app.command()(quantize)
    app.command()(sensitivity)
    app.command()(bench)


def calibrate(
    model: Path = MODEL,
    data: Path = DATA,
    out: Path = typer.Option(..., help="The calibration (.npz) to write."),
    quantizer: str = typer.Option("onnxruntime,modelopt", help="One quantiser, or both to compare them."),
    method: str = typer.Option(
        None, help="Methods to compare, out of percentile, mse, entropy, max; all unless given."
    ),
    calibration_images: int = IMAGES,
    seed: int = SEED,
    as_json: bool = JSON,
) -> None:
    """Gather what INT8 scales are found from, and compare methods and quantisers side by side."""
    from rich.markup import escape

    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from optimize.calibration.images import notes_on
    from optimize.evaluate.fidelity import lost
    from optimize.mistaken import check_pair
    from optimize.steps import CalibrationOrder
    from optimize.steps import calibrate as gather
    from optimize.variants import parse_methods, quantizer_called

    check_pair("--model", model, data)
    quantizers = [quantizer_called(name.strip()) for name in quantizer.split(",")]
    order = CalibrationOrder(model=model, data=data, images=calibration_images, seed=seed)
    with progress_bar() as progress:
        done = gather(order, out, quantizers, parse_methods(method), progress)
    rows = [{**one.model_dump(), "loss": lost(one.map50_95, one.confidence_shift)} for one in done.compared]
    notes = notes_on(calibration_images, done.images, done.compared_on)
    command = _quantise_with(model, out, rows[0])
    if as_json:
        print_json(
            {
                "calibration": str(out),
                "asked": calibration_images,
                "used": done.images,
                "compared_on": done.compared_on,
                "data_sha256": done.data_sha256,
                "tensors": done.tensors,
                "methods": rows,
                "notes": list(notes),
                "next": [command],
            }
        )
        return
    _show_methods(rows, f"{done.images} images, {done.tensors} tensors ({out})")
    _show_notes(notes)
    stdout().print(f"  [bold green]next[/] {escape(command)}", highlight=False, soft_wrap=True)


def _quantise_with(model: Path, calibration: Path, best: Mapping[str, Any]) -> str:
    """The command that uses the truest way."""
    graph = calibration.with_name(f"{model.stem.removesuffix('.fp32')}.int8.onnx")
    inputs = f"--model {shlex.quote(str(model))} --calibration {shlex.quote(str(calibration))}"
    way = f"--quantizer {best['quantizer']} --method {best['method']}"
    return f"mien optimize quantize {inputs} {way} --out {shlex.quote(str(graph))}"


def _show_methods(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    from rich.padding import Padding

    from mien.console import out, table_of

    cells = [
        (
            row["quantizer"],
            row["method"],
            f"{row['loss']:.4f}",
            f"{row['map50_95']:.4f}",
            "—" if row["confidence_shift"] is None else f"{row['confidence_shift']:+.4f}",
            f"{row['changed_images']} of {row['images']}",
        )
        for row in rows
    ]
    head = ("quantiser", "method", ">loss", ">mAP50-95 against FP32", ">confidence shift", ">changed images")
    out().print(table_of(title, head, cells))
    out().print(Padding(f"truest first, by {RANK}", (0, 0, 0, 2)), highlight=False)


def quantize(
    model: Path = MODEL,
    calibration: Path = typer.Option(..., help="What 'mien optimize calibrate' wrote for this graph (.npz)."),
    out: Path = typer.Option(..., help="The INT8 graph (.onnx) to write."),
    quantizer: str = QUANTIZER,
    method: str = METHOD,
    keep_float: list[str] = typer.Option([], help="A layer that stays in floating point; may be given again."),
    unsigned: bool = typer.Option(False, "--unsigned", help="Write the CPU's twin: same scales, uint8."),
    as_json: bool = JSON,
) -> None:
    """Write an INT8 graph with explicit Q/DQ; nothing is judged here, 'run' does that."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from mien.files import sha256_of
    from optimize.steps import quantise

    way = _way(quantizer, method)
    with progress_bar() as progress:
        done = quantise(
            model,
            calibration,
            out,
            quantizer=way.quantizer,
            method=way.method,
            floats=keep_float,
            unsigned=unsigned,
            progress=progress,
        )
    answer = {
        "path": str(out),
        "sha256": sha256_of(out),
        "size_bytes": out.stat().st_size,
        "quantizer": way.quantizer.name,
        "method": way.method,
        "int8_layers": done.layers,
        "float_layers": list(done.float_layers),
        "notes": list(way.notes),
    }
    if as_json:
        print_json(answer)
    else:
        lines = [f"{key}: {value}" for key, value in answer.items() if key != "notes"]
        stdout().print("\n".join(lines), highlight=False, soft_wrap=True)
        _show_notes(way.notes)


def sensitivity(
    model: Path = MODEL,
    data: Path = DATA,
    quantizer: str = QUANTIZER,
    method: str = METHOD,
    frames: int = typer.Option(32, min=8, help="Training images to measure on; no scale is found with them."),
    calibration_images: int = IMAGES,
    seed: int = SEED,
    plot: Path = typer.Option(None, help="Draw the curve into this file (.svg)."),
    as_json: bool = JSON,
) -> None:
    """Measure what INT8 costs in each layer alone, and what leaving the worst in floating point brings."""
    from dataclasses import asdict

    from mien.console import print_json, progress_bar
    from mien.errors import ConfigError
    from mien.files import write_text
    from optimize.calibration.images import notes_on
    from optimize.mistaken import check_pair
    from optimize.steps import CalibrationOrder
    from optimize.steps import sensitivity as measure

    check_pair("--model", model, data)
    if plot is not None and plot.suffix != ".svg":
        raise ConfigError(
            "the curve is drawn as SVG", found=str(plot), wanted="a name that ends in .svg", remedy="mend --plot"
        )
    way = _way(quantizer, method)
    order = CalibrationOrder(model=model, data=data, images=calibration_images, seed=seed, held_out=frames)
    with progress_bar() as progress:
        done = measure(order, way.quantizer, way.method, progress)
    found = done.study
    notes = [*way.notes, *notes_on(calibration_images, done.calibrated_with, done.compared_on)]
    if plot is not None:
        from optimize.report.plots import sensitivity as draw

        write_text(plot, draw(found))
    if as_json:
        print_json({"quantizer": way.quantizer.name, **asdict(found), "notes": notes})
    else:
        _show_study(found)
        _show_notes(notes)


def bench(
    bundle: Path = typer.Argument(help="Folder of a bundle, or its archive (.tar.zst)."),
    rounds: int = typer.Option(60, min=10, help="Timed inferences of each variant."),
    threads: int = typer.Option(1, min=1, help="Threads of one inference."),
    as_json: bool = JSON,
) -> None:
    """Time every portable variant of a bundle on this machine with onnxruntime, in turns."""
    from dataclasses import asdict

    from mien.console import out as stdout
    from mien.console import print_json, progress_bar, table_of
    from optimize.archived import opened
    from optimize.machine import latency_conditions
    from optimize.timing import time_bundle

    with opened(bundle) as folder, progress_bar() as progress:
        rows = time_bundle(folder, rounds=rounds, threads=threads, progress=progress)
    conditions = latency_conditions(threads)
    if as_json:
        print_json({"bundle": str(bundle), "on": conditions, "variants": [asdict(row) for row in rows]})
        return
    cells = [
        (
            row.path,
            f"{row.median_ms:.1f} ms",
            f"{row.p95_ms:.1f} ms",
            f"{row.throughput:.1f}",
            f"{row.speedup:.2f} ×",
        )
        for row in rows
    ]
    head = ("file", ">median", ">p95", ">frames a second", ">against FP32")
    stdout().print(table_of(f"{bundle}  ({conditions})", head, cells))


class _Way(NamedTuple):
    """How scales are found, and what is to be said of it."""

    quantizer: Quantizer
    method: str
    notes: tuple[str, ...]


def _way(quantizer: str | None, method: str | None) -> _Way:
    """The quantiser and the method asked for; where a default stands in, a note says so and how to find a truer one."""
    from optimize.calibration.thresholds import METHODS
    from optimize.variants import QUANTIZERS, parse_method, quantizer_called

    taken = _Way(
        quantizer=quantizer_called(quantizer or QUANTIZERS[0]),
        method=parse_method(method or next(iter(METHODS))),
        notes=(),
    )
    left = {"--quantizer": (quantizer, taken.quantizer.name), "--method": (method, taken.method)}
    words = [f"{option} {name}" for option, (asked, name) in left.items() if asked is None]
    if not words:
        return taken
    note = (
        f"{' and '.join(words)} by default; another may be truer to FP32: 'mien optimize calibrate' compares all and "
        "names the truest"
    )
    return taken._replace(notes=(note,))


def _show_notes(notes: Sequence[str]) -> None:
    from mien.console import out, show_notes

    show_notes(notes, out())


def _show_study(found: Study) -> None:
    from rich.padding import Padding

    from mien.console import out, table_of

    layers = [
        (
            one.layer,
            f"{one.loss:.4f}",
            f"{1 - one.fidelity:.4f}",
            "—" if one.confidence_shift is None else f"{one.confidence_shift:+.4f}",
        )
        for one in found.layers[:_MOST_ROWS]
    ]
    title = (
        f"The most sensitive of {len(found.layers)} layers, each alone in INT8 "
        f"({found.method}, {found.layer_frames} images)"
    )
    table = table_of(title, ("layer", ">loss", ">mAP50-95 lost", ">confidence shift"), layers)
    table.columns[0].overflow = "fold"  # a name that is cut cannot be given to --keep-float
    out().print(table)
    out().print(Padding(f"worst first, by {RANK}", (0, 0, 0, 2)), highlight=False)
    curve = [
        (point.float_layers, f"{point.map50_95_lost:.4f}", f"{point.size_bytes / 1e6:.2f} MB") for point in found.curve
    ]
    title = f"Layers in floating point, the worst first (against the labels, {found.frames} images)"
    out().print(table_of(title, (">layers", ">mAP50-95 lost", ">size"), curve))
