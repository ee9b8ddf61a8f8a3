"""``mien edge bench`` and ``mien edge snapshot``: what this device can do, and what its camera sees."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from edge.config import CameraSettings, EdgeSettings
    from edge.pipeline.model import LoadedModel

_JSON = typer.Option(False, "--json", help="Print one JSON document.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(bench)
    app.command()(snapshot)


def bench(
    bundle: Path = typer.Option(..., help="A release bundle."),
    video: Path | None = typer.Option(None, help="Measure on its first frames; by default the bundle's own, at 720p."),
    precision: str | None = typer.Option(None, help="Measure these variants only: int8, fp16, fp32, with commas."),
    seconds: float = typer.Option(5.0, min=0.5, max=600, help="For engine and pipeline of each variant."),
    threads: int = typer.Option(1, min=1, help="CPU threads of onnxruntime."),
    power: str = typer.Option("auto", help="Power source."),
    as_json: bool = _JSON,
) -> None:
    """Measure each variant of a bundle on this device: engine, whole pipeline, latency, power, agreement."""
    from edge.device_bench import BenchOrder, bench_bundle
    from edge.power.chooser import open_power
    from edge.power.sampler import PowerSampler
    from mien.console import out, print_json, progress_bar

    order = BenchOrder(bundle=bundle, video=video, precisions=_precisions(precision), seconds=seconds, threads=threads)
    with ExitStack() as closing:
        sampler = PowerSampler(open_power(power), interval_s=0.2)
        closing.callback(sampler.close)
        sampler.start()
        progress = closing.enter_context(progress_bar())
        found = bench_bundle(order, sampler, progress=progress)
    if as_json:
        print_json(found)
        return
    out().print(_bench_table(found))
    for reason in found["passed_over"]:
        out().print(f"not measured: {reason}", highlight=False, soft_wrap=True)


def snapshot(
    out_file: Path = typer.Option(..., "--out", help="The picture to write: .jpg or .png."),
    config: Path | None = typer.Option(None, help="Settings file of the device; its camera and its release are taken."),
    camera: str | None = typer.Option(None, help="A camera's name in the settings, or a source such as /dev/video0."),
    bundle: Path | None = typer.Option(None, help="The release that finds the faces, instead of the device's own."),
    show_faces: bool = typer.Option(False, "--show-faces", help="Leave faces as they are; otherwise they are covered."),
    as_json: bool = _JSON,
) -> None:
    """Take one picture, to aim and focus a camera. It stays on this machine, readable by its owner only."""
    from edge.config import read_edge_settings, with_camera
    from edge.snapshot import take, write
    from mien.console import out, print_json, table_of

    settings = with_camera(read_edge_settings(config), camera)
    wanted = _only_camera(settings)
    with ExitStack() as closing:
        model = _model_of(settings, bundle, closing)
        found = take(wanted.source, wanted.options().impatient(), model, show_faces=show_faces)
    write(found, out_file)
    facts = {"picture": str(out_file), **found.facts()}
    if as_json:
        print_json(facts)
    else:
        out().print(table_of("snapshot", ("what", "value"), list(facts.items())))


def _only_camera(settings: EdgeSettings) -> CameraSettings:
    from mien.errors import ConfigError

    cameras = settings.all_cameras
    if len(cameras) > 1:
        names = ", ".join(camera.name for camera in cameras)
        raise ConfigError("which camera?", wanted=names, remedy="add --camera NAME, one of those in the settings")
    return cameras[0]


def _model_of(settings: EdgeSettings, bundle: Path | None, closing: ExitStack) -> LoadedModel | None:
    """The bundle's model, else that of the device's active release, else none."""
    from edge.bundle_run import chosen, open_model
    from edge.engine.chooser import open_engine
    from edge.facts import read_facts
    from edge.pipeline.model import LoadedModel
    from edge.update.slots import SlotStore
    from mien.bundle import verify_bundle
    from mien.release import VariantPolicy

    if bundle is not None:
        manifest, facts = verify_bundle(bundle), read_facts()
        choice = chosen(manifest, facts, VariantPolicy())
        model = open_model(bundle, manifest, choice, facts)
        closing.callback(model.engine.close)
        return model
    slots = settings.state / "slots"
    active = SlotStore(slots).active() if slots.is_dir() else None
    if active is None:
        return None
    active.verify()
    record = active.record
    graph = active.variant().sha256 if record.built else None
    engine = closing.enter_context(open_engine(active.engine_path, record.runtime, graph_sha256=graph))
    return LoadedModel.of(active.manifest(), record.precision, record.runtime, engine)


def _precisions(text: str | None) -> Any:  # noqa: ANN401 - imports happen in commands
    from typing import get_args

    from mien.errors import ConfigError
    from mien.release import Precision

    known = get_args(Precision)
    if text is None:
        return ("int8", "fp16", "fp32")
    asked = tuple(part.strip() for part in text.split(","))
    wrong = [part for part in asked if part not in known]
    if wrong:
        raise ConfigError(f"'{', '.join(wrong)}' is no precision", wanted=", ".join(known))
    return asked


def _bench_table(found: dict[str, Any]) -> Any:  # noqa: ANN401 - rich is imported in commands
    from mien.console import table_of

    rows = [
        (
            one["precision"],
            f"{one['engine_fps']:.1f}",
            f"{one['engine_ms_p95']:.1f}",
            f"{one['pipeline_fps']:.1f}",
            f"{one['frame_ms_p95']:.1f}",
            f"{one['power_w']:.1f}" if one["power_w"] is not None else None,
            f"{one['energy_per_inference_j'] * 1e3:.0f}" if one["energy_per_inference_j"] is not None else None,
            f"{one['agreement']:.3f}" if one["agreement"] is not None else None,
        )
        for one in found["variants"]
    ]
    columns = ("variant", ">engine fps", ">p95 ms", ">pipeline fps", ">frame p95 ms", ">W", ">mJ/frame", ">agree")
    runtime, source = found["variants"][0]["runtime"], found["variants"][0]["power_source"]
    return table_of(f"{found['release']} on {runtime}, power: {source}", columns, rows)
