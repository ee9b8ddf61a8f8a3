"""``mien optimize``: run, export, inspect, check, pack, unpack, drill; the others stand in ``optimize.cli_*``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from optimize import cli_build, cli_plan, cli_steps

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Compile, calibrate, measure and pack a release.")
for part in (cli_steps, cli_build, cli_plan):
    part.add_to(app)

JSON = typer.Option(False, "--json", help="Print one JSON document instead of a table.")
BUNDLE = typer.Argument(help="Folder of a bundle, or its archive (.tar.zst).")
WEIGHTS = typer.Option(..., help="A YOLOv8 or YOLO11 detector (.pt).")
_RUNTIMES = {"tensorrt": "TRT", "onnxruntime": "CPU"}
TOP_K = typer.Option(None, help="Boxes that the graph gives, before non-maximum suppression; 100 unless given.")
MAX_BATCH = typer.Option(
    1, help="Frames of one call at most: above 1 for devices whose cameras share calls (engine.batching: throughput)."
)
METHOD = typer.Option(None, help="How INT8 scales are found: some of percentile, mse, entropy, max; all unless given.")
IMGSZ = typer.Option(None, help="N or HEIGHTxWIDTH in pixels; the training size unless given.")


@app.command()
def run(
    weights: Path = WEIGHTS,
    data: Path = typer.Option(..., help="The data.yaml that the weights were trained on."),
    out: Path = typer.Option(..., help="Folder of the bundle; it must not exist."),
    name: str = typer.Option("faces", help="Name of the release."),
    version: str = typer.Option("1.0.0", help="Version of the release, major.minor.patch."),
    imgsz: str = IMGSZ,
    target: str = typer.Option(
        None, help="A device class by name or file; what it lacks is refused. Image size stays --imgsz."
    ),
    jetpack: str = typer.Option(None, help="The JetPack of the target; its default unless given."),
    precision: str = typer.Option("fp32,fp16,int8", help="Precisions to make, fp32 among them."),
    quantizer: str = typer.Option("onnxruntime", help="onnxruntime or modelopt."),
    method: str = METHOD,
    sensitivity: bool = typer.Option(
        True,
        help="Measure what INT8 costs in each layer for the report; where the gate refuses, it is measured anyway.",
    ),
    calibration_images: int = cli_steps.IMAGES,
    top_k: int | None = TOP_K,
    max_batch: int = MAX_BATCH,
    gate: Path = typer.Option(None, help="Limits (YAML); those of docs/optimizer.md unless given."),
    training_record: Path = typer.Option(None, help="The run.json of the training."),
    intended_use: str = typer.Option("Not stated.", help="What the model is for; stands on its card."),
    seed: int = typer.Option(0, help="Chooses the calibration images."),
    keep_passing: bool = typer.Option(False, "--keep-passing", help="Pack what passes when a precision is refused."),
    archive: bool = typer.Option(False, "--archive", help="Write the bundle as one .tar.zst too."),
    as_json: bool = JSON,
) -> None:
    """Weights to a bundle: export, calibrate, quantise, measure, gate, pack."""
    from mien.config import read_settings
    from mien.console import progress_bar
    from optimize.bundle.archive import write_archive
    from optimize.calibration.images import notes_on
    from optimize.gate import GateLimits
    from optimize.mistaken import check_pair
    from optimize.release_name import check_release
    from optimize.run import Order, optimize
    from optimize.target import aim, size_note
    from optimize.variants import parse_methods, parse_precisions

    check_pair("--weights", weights, data)
    release = check_release(name, version)
    order = Order(
        weights=weights,
        data=data,
        out=out,
        name=release.name,
        version=release.version,
        target=aim(target, jetpack, [part.strip().lower() for part in precision.split(",") if part.strip()]),
        precisions=parse_precisions(precision),
        limits=read_settings(GateLimits, gate) if gate else GateLimits(),
        intended_use=intended_use,
        imgsz=imgsz,
        top_k=top_k,
        max_batch=max_batch,
        quantizer=quantizer,
        methods=parse_methods(method),
        sensitivity=sensitivity,
        calibration_images=calibration_images,
        seed=seed,
        training_record=training_record,
        keep_passing=keep_passing,
    )
    with progress_bar() as progress:
        result = optimize(order, progress)
        packed = write_archive(out, out.with_name(f"{out.name}.tar.zst"), progress) if archive else None
    note = size_note(target, result.manifest.input) if target and not imgsz else None
    used = result.manifest.calibration
    notes = [*([note] if note else []), *(notes_on(calibration_images, used.images, used.compared_on) if used else ())]
    more = {"seconds": result.seconds, "archive": packed}
    _show(out, result.manifest, as_json=as_json, more=more, notes=notes, commands=_next(out))


@app.command()
def export(
    weights: Path = WEIGHTS,
    out: Path = typer.Option(..., help="The graph (.onnx) to write."),
    imgsz: str = IMGSZ,
    top_k: int | None = TOP_K,
    max_batch: int = MAX_BATCH,
    as_json: bool = JSON,
) -> None:
    """Write the self-contained FP32 graph alone."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from mien.files import sha256_of
    from optimize.graph.export import check_asked, export_fp32, graph_spec
    from optimize.graph.weights import open_weights
    from optimize.outputs import check_out

    check_out(out, weights)
    check_asked(imgsz, top_k, max_batch)
    opened = open_weights(weights)
    spec = graph_spec(opened, imgsz, top_k, max_batch)
    with progress_bar() as progress:
        export_fp32(opened, spec, out, progress=progress)
    answer = {
        "path": str(out),
        "sha256": sha256_of(out),
        "size_bytes": out.stat().st_size,
        "input": [1 if spec.max_batch == 1 else f"1 … {spec.max_batch}", spec.height, spec.width, 3],
        "top_k": spec.top_k,
        "labels": opened.names,
    }
    if as_json:
        print_json(answer)
    else:
        stdout().print("\n".join(f"{key}: {value}" for key, value in answer.items()), highlight=False, soft_wrap=True)


@app.command()
def inspect(bundle: Path = BUNDLE, as_json: bool = JSON) -> None:
    """Check every byte of a bundle against its manifest and show what is in it."""
    from mien.bundle import verify_bundle
    from optimize.archived import opened

    with opened(bundle) as folder:
        manifest = verify_bundle(folder)
    _show(bundle, manifest, as_json=as_json)


@app.command()
def check(bundle: Path = BUNDLE, as_json: bool = JSON) -> None:
    """Check a bundle's bytes, then run its reference frames through every variant that runs here."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar, table_of
    from mien.errors import GateError
    from optimize.archived import opened
    from optimize.check import check_bundle

    with opened(bundle) as folder, progress_bar() as progress:
        rows = check_bundle(folder, progress)
    if as_json:
        print_json({"bundle": str(bundle), "variants": [row.as_dict() for row in rows]})
    else:
        cells = [(row.path, row.agreement, row.recorded, "good" if row.passed else "bad") for row in rows]
        stdout().print(table_of("Reference frames", ("file", ">reproduced here", ">when packed", ""), cells))
    bad = [row.path for row in rows if not row.passed]
    if bad:
        raise GateError(
            f"{bundle} does not see what it saw when it was packed",
            found=", ".join(bad),
            remedy="do not release it; pack it again from its weights",
        )


@app.command()
def pack(
    bundle: Path = typer.Argument(help="Folder of a bundle."),
    out: Path = typer.Option(None, help="The archive; beside the bundle unless given."),
    as_json: bool = JSON,
) -> None:
    """Write a bundle as one .tar.zst; the same bundle gives the same bytes."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from mien.files import sha256_of
    from optimize.bundle.archive import write_archive
    from optimize.outputs import check_archive

    target = out or bundle.with_name(f"{bundle.resolve().name}.tar.zst")
    check_archive(target)
    with progress_bar() as progress:
        written = write_archive(bundle, target, progress)
    answer = {"archive": str(written), "sha256": sha256_of(written), "size_bytes": written.stat().st_size}
    if as_json:
        print_json(answer)
    else:
        stdout().print("\n".join(f"{key}: {value}" for key, value in answer.items()), highlight=False, soft_wrap=True)


@app.command()
def unpack(
    archive: Path = typer.Argument(help="A packed bundle (.tar.zst)."),
    out: Path = typer.Option(..., help="Folder of the bundle; it must not exist."),
    as_json: bool = JSON,
) -> None:
    """Unpack what 'pack' wrote into a new folder, and check every byte of it."""
    from mien.console import progress_bar
    from optimize.archived import unpack as extract

    with progress_bar() as progress:
        manifest = extract(archive, out, progress)
    _show(out, manifest, as_json=as_json, commands=_next(out))


@app.command()
def drill(
    bundle: Path = typer.Argument(help="Folder or archive of a good bundle."),
    version: str = typer.Option(..., help="Version of the damaged release; it must rise."),
    out: Path = typer.Option(..., help="Folder of the damaged bundle; it must not exist."),
    seed: int = typer.Option(0, help="Same seed, same damage."),
    as_json: bool = JSON,
) -> None:
    """Damage a bundle's models on purpose after the gate, to rehearse a bad release."""
    from mien.console import progress_bar
    from optimize.archived import opened
    from optimize.bundle.drill import drill as damage
    from optimize.release_name import check_release

    check_release("drill", version)
    with opened(bundle) as folder, progress_bar() as progress:
        manifest = damage(folder, version, out, seed=seed, progress=progress)
    _show(out, manifest, as_json=as_json)


def _next(bundle: Path) -> list[str]:
    """Commands that a bundle is for: look at it, run it, release it."""
    word = shlex.quote(str(bundle))
    return [
        f"mien optimize inspect {word}",
        f"mien edge run --bundle {word} --camera /dev/video0",
        f"mien fleet publish {word}",
    ]


def _show(
    bundle: Path,
    manifest: Any,  # noqa: ANN401
    *,
    as_json: bool,
    more: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> None:
    from mien.console import out, print_json, show_notes, table_of, wrapped

    rows = [_row(manifest, variant) for variant in manifest.variants]
    if as_json:
        document = {"bundle": str(bundle), "release": str(manifest.ref), "variants": rows}
        said = {"notes": list(notes), "next": list(commands)}
        print_json({**document, **(more or {}), "refused": manifest.gate.refused, **said})
        return
    cells = [
        (
            row["precision"],
            "/".join(_RUNTIMES[runtime] for runtime in row["runtimes"]),
            f"{row['map50']:.3f}",
            f"{row['map50_95']:.3f}",
            f"{row['size_bytes'] / 1e6:.2f} MB",
            f"{row['latency_ms']:.1f} ms" if "onnxruntime" in row["runtimes"] else f"({row['latency_ms']:.1f} ms)",
            f"{row['reference_agreement']:.2f}",
        )
        for row in rows
    ]
    head = ("precision", "runs on", ">mAP50", ">mAP50-95", ">size", ">latency", ">reference")
    console = out()
    console.print(table_of(f"{manifest.ref}  ({bundle})", head, cells))
    if any("onnxruntime" not in row["runtimes"] for row in rows):
        console.print("  in brackets: a CPU's time for a file that is made for TensorRT", highlight=False)
    for limit in manifest.known_limits:
        console.print(f"  {wrapped(limit, console, indent=2)}", markup=False, highlight=False, soft_wrap=True)
    refused = [f"{path}: {reasons}" for path, reasons in manifest.gate.refused.items()]
    show_notes(refused, console, word="refused", style="red")
    show_notes(notes, console)
    for command in commands:
        console.print(f"  [bold green]next[/] {command}", highlight=False, soft_wrap=True)


def _row(manifest: Any, variant: Any) -> dict[str, Any]:  # noqa: ANN401
    accuracy = variant.accuracy
    return {
        "release": str(manifest.ref),
        "precision": variant.precision,
        "path": variant.path,
        "runtimes": list(variant.requires.runtimes),
        "map50": accuracy.map50 if accuracy else 0.0,
        "map50_95": accuracy.map50_95 if accuracy else 0.0,
        "confidence_shift": accuracy.confidence_shift if accuracy else None,
        "size_bytes": variant.size_bytes,
        "latency_ms": variant.latency_ms,
        "latency_on": variant.latency_on,
        "reference_agreement": variant.reference_agreement,
        "sha256": variant.sha256,
    }
