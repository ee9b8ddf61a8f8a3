"""``mien train``: synth, data check, data hash, run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make and check data sets, train a detector.")
data_app = typer.Typer(no_args_is_help=True, help="Look at a data set.")
app.add_typer(data_app, name="data")

JSON = typer.Option(False, "--json", help="Print one JSON document instead of a table.")


@app.command()
def synth(
    out: Path = typer.Option(None, help="Folder of the data set."),
    video: Path = typer.Option(None, help="Render a video (.mp4) instead, with its ground truth beside it (.json)."),
    preview: Path = typer.Option(None, help="Render a contact sheet (.png) of all expressions instead."),
    train: int = typer.Option(900, min=1, help="Training images."),
    val: int = typer.Option(200, min=1, help="Validation images."),
    size: str = typer.Option("160", help="Side of the images in pixels; WIDTHxHEIGHT for a video."),
    seconds: float = typer.Option(30.0, min=0.5, help="Length of the video."),
    fps: int = typer.Option(10, min=1, help="Frames a second of the video."),
    seed: int = typer.Option(0, help="Same seed, same bytes."),
    faces: str = typer.Option("1-3", help="Faces in an image: a number, or the fewest and the most."),
    jobs: int = typer.Option(0, min=0, help="Processes; 0 takes one for each core."),
    as_json: bool = JSON,
) -> None:
    """Render labelled faces that show the eight expressions, driven by facial action units."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from trainer.synth.order import Options, parse_order, render

    order = parse_order(
        Options(
            out=out,
            video=video,
            preview=preview,
            size=size,
            train=train,
            val=val,
            seconds=seconds,
            fps=fps,
            seed=seed,
            jobs=jobs,
            faces=faces,
        )
    )
    with progress_bar() as progress:
        written = render(order, progress)
    if as_json:
        print_json(written)
    else:
        stdout().print("\n".join(f"{key}: {value}" for key, value in written.items()), highlight=False)


@data_app.command("check")
def data_check(
    data: Path = typer.Argument(help="A data.yaml, or the folder that holds one."),
    report_file: Path = typer.Option(None, "--report", help="Write the findings as a page (.html) too."),
    as_json: bool = JSON,
) -> None:
    """Validate a data set; exit code 4 when it is not fit to train on."""
    from mien.console import out, print_json, progress_bar
    from mien.dataset import read_dataset
    from mien.errors import DataError
    from mien.files import write_text
    from trainer.data.check import refuse_broken
    from trainer.data.report import html_of
    from trainer.data.show import tables
    from trainer.run import check

    dataset = read_dataset(data)
    with progress_bar() as progress:
        report = check(dataset, progress)
    if report_file is not None:
        write_text(report_file, html_of(report, title=str(dataset.yaml)))
    if not as_json:
        out().print(tables(report))
        refuse_broken(report, dataset)
        return
    try:
        refuse_broken(report, dataset)
    except DataError as error:
        print_json(report.as_dict() | error.as_dict())
        raise typer.Exit(error.exit_code) from error
    print_json(report.as_dict())


@data_app.command("hash")
def data_hash(
    data: Path = typer.Argument(help="A data.yaml, or the folder that holds one."), as_json: bool = JSON
) -> None:
    """Print the data set's version: one SHA-256 over names, images and labels."""
    from mien.console import print_json
    from mien.dataset import hash_of, read_dataset

    version = hash_of(read_dataset(data))
    if as_json:
        print_json({"data": str(data), "sha256": version})
    else:
        typer.echo(version)


@app.command()
def run(
    data: Path = typer.Option(..., help="A data.yaml, or the folder that holds one."),
    out: Path = typer.Option(Path("runs/train"), help="Folder for weights, record and curves."),
    recipe: Path = typer.Option(None, help="A recipe file; options below win over it."),
    model: str = typer.Option(None, help="yolov8n.yaml (from scratch), yolov8s.pt, yolo11n.yaml, your-weights.pt …"),
    epochs: int = typer.Option(None, help="Passes over the training images."),
    imgsz: int = typer.Option(None, help="Side of the network's input in pixels, a multiple of 32."),
    batch: int = typer.Option(None, help="Images in a step."),
    early_fraction: float = typer.Option(None, help="Share of the epochs after which early weights are kept."),
    seed: int = typer.Option(0, help="Of the weights and of the order of images."),
    time_budget_s: float = typer.Option(None, min=1, help="End after the epoch that would pass this many seconds."),
    allow_download: bool = typer.Option(False, help="Let ultralytics fetch weights that are not on this disk."),
    as_json: bool = JSON,
) -> None:
    """Train a YOLOv8 or YOLO11 detector for real, on every core, without network look-ups."""
    from mien.config import read_settings, settings_from
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from trainer.data.show import run_table
    from trainer.recipe import Recipe
    from trainer.run import TrainingOrder
    from trainer.run import run as train

    given: dict[str, Any] = {
        "model": model, "epochs": epochs, "imgsz": imgsz, "batch": batch, "early_fraction": early_fraction,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    settings = (
        read_settings(Recipe, recipe, given) if recipe else settings_from(Recipe, given, source="the command line")
    )
    order = TrainingOrder(data=data, out=out, seed=seed, allow_download=allow_download, time_budget_s=time_budget_s)
    with progress_bar() as progress:
        record = train(order, settings, progress)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        stdout().print(run_table(record, out))
