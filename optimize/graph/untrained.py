"""Detectors with random weights, for what depends on the architecture alone: shapes, operations, bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mien.config import nearest
from mien.console import SILENT, Progress
from mien.errors import ConfigError
from optimize.graph.export import export_fp32, graph_spec
from optimize.graph.weights import Weights
from optimize.torch_runtime import prepare
from optimize.workload import Workload, read_workload

ARCHITECTURES = tuple(f"{family}{size}" for family in ("yolov8", "yolo11") for size in "nsmlx")
_DEFAULT_SIZE = 640


def untrained(architecture: str) -> Weights:
    """A detector of that architecture with COCO's 80 classes and random weights.

    Raises:
        ConfigError: no such architecture; names the nearest.
    """
    if architecture not in ARCHITECTURES:
        alike = nearest(architecture, ARCHITECTURES)
        raise ConfigError(
            f"there is no architecture '{architecture}'" + (f"; did you mean {' or '.join(alike)}?" if alike else ""),
            wanted=", ".join(ARCHITECTURES),
            remedy="see --architecture",
        )
    prepare()
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel(f"{architecture}.yaml", verbose=False).eval()
    return Weights(
        path=Path(f"{architecture}.yaml"),
        sha256="0" * 64,
        model=model,
        names=tuple(str(index) for index in range(model.model[-1].nc)),
        stride=int(max(model.stride)),
        trained_size=_DEFAULT_SIZE,
    )


def untrained_workload(architecture: str, size: str, *, top_k: int = 100, progress: Progress = SILENT) -> Workload:
    """The workload of an architecture: it depends on shapes alone, so random weights serve.

    Raises:
        ConfigError: no such architecture, or it cannot take the image size.
    """
    return exported_workload(untrained(architecture), size, top_k=top_k, progress=progress)


def exported_workload(weights: Weights, size: str | None, *, top_k: int = 100, progress: Progress = SILENT) -> Workload:
    """The workload of weights, exported for the occasion.

    Raises:
        ConfigError: the model cannot take the image size.
    """
    with tempfile.TemporaryDirectory(prefix="mien-workload-") as folder:
        graph = export_fp32(weights, graph_spec(weights, size, top_k), Path(folder) / "model.onnx", progress=progress)
        return read_workload(graph)
