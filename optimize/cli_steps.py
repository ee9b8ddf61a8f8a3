"""``mien optimize``: calibrate, quantize, sensitivity, bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from optimize.sensitivity import Study

MODEL = typer.Option(..., help="The self-contained FP32 graph (.onnx) that 'mien optimize export' writes.")
DATA = typer.Option(..., help="The data.yaml that the weights were trained on; only its training split is used.")
QUANTIZER = typer.Option("onnxruntime", help="onnxruntime or modelopt.")
IMAGES = typer.Option(128, "--calibration-images", help="Training images to find INT8 scales with.")
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
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar, table_of
    from optimize.steps import CalibrationOrder
    from optimize.steps import calibrate as gather
    from optimize.variants import parse_methods, quantizer_called

    quantizers = [quantizer_called(name.strip()) for name in quantizer.split(",")]
    order = CalibrationOrder(model=model, data=data, images=calibration_images, seed=seed)
    with progress_bar() as progress:
        done = gather(order, out, quantizers, parse_methods(method), progress)
    rows = [one.model_dump() for one in done.compared]
    if as_json:
        print_json(
            {
                "calibration": str(out),
                "images": done.images,
                "data_sha256": done.data_sha256,
                "tensors": done.tensors,
                "methods": rows,
            }
        )
        return
    cells = [
        (
            row["quantizer"],
            row["method"],
            f"{row['map50_95']:.4f}",
            "—" if row["confidence_shift"] is None else f"{row['confidence_shift']:+.4f}",
            f"{row['changed_images']} of {row['images']}",
        )
        for row in rows
    ]
    head = ("quantiser", "method", ">mAP50-95 against FP32", ">confidence shift", ">changed images")
    stdout().print(table_of(f"{done.images} images, {done.tensors} tensors ({out})", head, cells))
    best = rows[0]
    taken = f"--quantizer {best['quantizer']} --method {best['method']}"
    stdout().print(f"  truest to FP32: {taken}; name them to quantize and sensitivity", highlight=False, soft_wrap=True)


def quantize(
    model: Path = MODEL,
    calibration: Path = typer.Option(..., help="What 'mien optimize calibrate' wrote for this graph (.npz)."),
    out: Path = typer.Option(..., help="The INT8 graph (.onnx) to write."),
    quantizer: str = QUANTIZER,
    method: str = typer.Option("percentile", help="percentile, mse, entropy or max."),
    keep_float: list[str] = typer.Option([], help="A layer that stays in floating point; may be given again."),
    unsigned: bool = typer.Option(False, "--unsigned", help="Write the CPU's twin: same scales, uint8."),
    as_json: bool = JSON,
) -> None:
    """Write an INT8 graph with explicit Q/DQ; nothing is judged here, 'run' does that."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from mien.files import sha256_of
    from optimize.steps import quantise
    from optimize.variants import parse_method, quantizer_called

    with progress_bar() as progress:
        done = quantise(
            model,
            calibration,
            out,
            quantizer=quantizer_called(quantizer),
            method=parse_method(method),
            floats=keep_float,
            unsigned=unsigned,
            progress=progress,
        )
    answer = {
        "path": str(out),
        "sha256": sha256_of(out),
        "size_bytes": out.stat().st_size,
        "int8_layers": done.layers,
        "float_layers": list(done.float_layers),
    }
    if as_json:
        print_json(answer)
    else:
        stdout().print("\n".join(f"{key}: {value}" for key, value in answer.items()), highlight=False)


def sensitivity(
    model: Path = MODEL,
    data: Path = DATA,
    quantizer: str = QUANTIZER,
    method: str = typer.Option("percentile", help="percentile, mse, entropy or max."),
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
    from optimize.steps import CalibrationOrder
    from optimize.steps import sensitivity as measure
    from optimize.variants import parse_method, quantizer_called

    if plot is not None and plot.suffix != ".svg":
        raise ConfigError(
            "the curve is drawn as SVG", found=str(plot), wanted="a name that ends in .svg", remedy="mend --plot"
        )
    order = CalibrationOrder(model=model, data=data, images=calibration_images, seed=seed, held_out=frames)
    with progress_bar() as progress:
        found = measure(order, quantizer_called(quantizer), parse_method(method), progress)
    if plot is not None:
        from optimize.report.plots import sensitivity as draw

        write_text(plot, draw(found))
    if as_json:
        print_json(asdict(found))
    else:
        _show_study(found)


def bench(
    bundle: Path = typer.Argument(help="Folder of a bundle."),
    rounds: int = typer.Option(60, min=10, help="Timed inferences of each variant."),
    threads: int = typer.Option(1, min=1, help="Threads of one inference."),
    as_json: bool = JSON,
) -> None:
    """Time every portable variant of a bundle on this machine with onnxruntime, in turns."""
    from dataclasses import asdict

    from mien.console import out as stdout
    from mien.console import print_json, progress_bar, table_of
    from optimize.machine import latency_conditions
    from optimize.timing import time_bundle

    with progress_bar() as progress:
        rows = time_bundle(bundle, rounds=rounds, threads=threads, progress=progress)
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


def _show_study(found: Study) -> None:
    from mien.console import out, table_of

    layers = [
        (one.layer, f"{one.map50_95_lost:.4f}", "—" if one.confidence_shift is None else f"{one.confidence_shift:+.4f}")
        for one in found.layers[:_MOST_ROWS]
    ]
    title = (
        f"The most sensitive of {len(found.layers)} layers, each alone in INT8 ({found.method}, {found.frames} images)"
    )
    out().print(table_of(title, ("layer", ">mAP50-95 lost", ">confidence shift"), layers))
    curve = [
        (point.float_layers, f"{point.map50_95_lost:.4f}", f"{point.size_bytes / 1e6:.2f} MB") for point in found.curve
    ]
    out().print(table_of("Layers in floating point", (">layers", ">mAP50-95 lost", ">size"), curve))
