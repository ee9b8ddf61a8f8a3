"""``mien optimize build``: this machine's own engine from a graph of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from edge.engine.interface import EngineBuilder
    from edge.engine.tensorrt.calibrator import Calibration
    from mien.console import Progress

_RUNTIMES = ("tensorrt", "onnxruntime")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(build)


def build(
    model: Path = typer.Option(..., help="A graph of a bundle (.onnx); its precision is the engine's."),
    out: Path = typer.Option(..., help="The engine to write; TensorRT's has a record beside it (.json)."),
    runtime: str = typer.Option("tensorrt", help="tensorrt or onnxruntime."),
    dla: int = typer.Option(None, help="Core of the deep learning accelerator to build for."),
    allow_gpu_fallback: bool = typer.Option(
        False, "--allow-gpu-fallback", help="Let layers that DLA cannot take run on the GPU; they are listed."
    ),
    workspace_mb: int = typer.Option(None, min=64, help="The most that the builder may use; half of what is free."),
    timing_cache: Path = typer.Option(None, help="Folder of what TensorRT measures, to make later builds shorter."),
    implicit_int8: bool = typer.Option(
        False, "--implicit-int8", help="Let TensorRT before 11 find INT8 scales itself, from --data."
    ),
    data: Path = typer.Option(None, help="The data.yaml to find these scales with."),
    calibration_images: int = typer.Option(None, help="Images to find these scales with; 128, or all, unless given."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document instead of lines."),
) -> None:
    """Build an engine for this machine and say what became of the graph."""
    from mien.console import out as stdout
    from mien.console import print_json, progress_bar
    from optimize.mistaken import check_graph
    from optimize.outputs import check_out

    check_graph(model)
    check_out(out, model)
    asked = {
        "--dla": dla is not None,
        "--allow-gpu-fallback": allow_gpu_fallback,
        "--workspace-mb": workspace_mb is not None,
        "--timing-cache": timing_cache is not None,
        "--implicit-int8": implicit_int8,
    }
    _check(runtime, [name for name, given in asked.items() if given], has_data=data is not None)
    with progress_bar() as progress:
        if runtime == "onnxruntime":
            builder = _onnxruntime()
        else:
            scales = partial(_calibration, model, data, timing_cache, calibration_images, progress) if data else None
            builder = _tensorrt(
                scales,
                workspace_mb=workspace_mb,
                dla_core=dla,
                allow_gpu_fallback=allow_gpu_fallback,
                timing_cache=timing_cache,
            )
        answer = _described(builder.build(model, out, progress=progress), runtime, model)
    if as_json:
        print_json(answer)
    else:
        lines = [f"{key}: {_shown(value)}" for key, value in answer.items()]
        stdout().print("\n".join(lines), highlight=False, soft_wrap=True)


def _onnxruntime() -> EngineBuilder:
    from edge.engine.chooser import builder_for

    return builder_for("onnxruntime")


def _tensorrt(scales: Callable[[], Calibration] | None, **options: Any) -> EngineBuilder:  # noqa: ANN401
    """TensorRT's builder. It must be there before anything else is done: nobody reads images for nothing.

    Args:
        scales: reads the images to find INT8 scales with.
        options: of :class:`edge.engine.tensorrt.BuildOptions`.
    """
    from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, load_tensorrt

    load_tensorrt()
    return TensorRtBuilder(options=BuildOptions(calibration=scales() if scales else None, **options))


def _check(runtime: str, asked: list[str], *, has_data: bool) -> None:
    from mien.errors import ConfigError

    if runtime not in _RUNTIMES:
        raise ConfigError(
            "no such runtime", found=runtime, wanted=" or ".join(_RUNTIMES), remedy="name one of these with --runtime"
        )
    if runtime == "onnxruntime" and asked:
        raise ConfigError(
            "onnxruntime has none of these",
            found=", ".join(asked),
            wanted="these options with --runtime tensorrt only",
            remedy="leave them out, or build with --runtime tensorrt",
        )
    if ("--implicit-int8" in asked) != has_data:
        raise ConfigError(
            "INT8 scales are found from a data set",
            found="--data without --implicit-int8" if has_data else "--implicit-int8 without --data",
            wanted="both or neither",
            remedy="add the other one",
        )
    if "--allow-gpu-fallback" in asked and "--dla" not in asked:
        raise ConfigError(
            "only layers on DLA fall back",
            found="--allow-gpu-fallback without --dla",
            wanted="both or neither",
            remedy="add --dla CORE, or leave --allow-gpu-fallback out",
        )


def _calibration(model: Path, data: Path, cache: Path | None, images: int | None, progress: Progress) -> Calibration:
    from edge.engine.tensorrt.calibrator import Calibration
    from mien.dataset import read_dataset
    from optimize.calibration.images import calibration_set, count_for
    from optimize.graph.read import check_data, open_graph

    graph, dataset = open_graph(model), read_dataset(data)
    check_data(graph, dataset)
    count = count_for(dataset, images)
    frames = calibration_set(dataset, graph.spec, count=count, seed=0, progress=progress).frames
    return Calibration(frames=frames, cache=cache)


def _described(engine: Path, runtime: str, model: Path) -> dict[str, Any]:
    from mien.files import sha256_of

    answer = {
        "engine": str(engine),
        "runtime": runtime,
        "graph_sha256": sha256_of(model),
        "engine_sha256": sha256_of(engine),
        "size_bytes": engine.stat().st_size,
    }
    if runtime == "tensorrt":
        from edge.engine.tensorrt.sidecar import read_record, sidecar_of

        answer = {**answer, "record": str(sidecar_of(engine)), **read_record(engine).model_dump(mode="json")}
    return answer


def _shown(value: object) -> object:
    """A value in one line; of the layers only their numbers."""
    if isinstance(value, dict) and "by_precision" in value:
        kinds = ", ".join(f"{count} {kind}" for kind, count in value["by_precision"].items())
        return f"{value['layers']} layers: {kinds}, {value['reformats']} reformats"
    if isinstance(value, dict):
        return ", ".join(str(part) for part in value.values())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value
