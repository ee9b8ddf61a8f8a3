"""Opens a self-contained FP32 graph that was exported before, and refuses every other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from edge.engine.chooser import open_engine
from mien.dataset import Dataset
from mien.errors import ModelError
from optimize.graph.classes import check_classes
from optimize.graph.export import GraphSpec
from optimize.graph.metadata import LABELS_KEY, metadata_of
from optimize.mistaken import check_graph


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedGraph:
    """An FP32 graph on disk."""

    path: Path
    spec: GraphSpec
    labels: tuple[str, ...]


def open_graph(path: Path) -> ExportedGraph:
    """Read what a graph takes and gives.

    Raises:
        EngineError: not a graph, or not one of mien's.
        ModelError: it is weights or a folder, is quantised already, or does not name its classes.
    """
    check_graph(path)
    with open_engine(path, "onnxruntime") as engine:
        info = engine.info
    model = onnx.load(path)
    labels = metadata_of(model).get(LABELS_KEY, "")
    if info.precision != "fp32" or not labels:
        raise ModelError(
            f"{path} is not an FP32 graph of mien",
            found=f"precision {info.precision or 'not stated'}, classes {'named' if labels else 'not named'}",
            wanted="the graph that 'mien optimize export' writes, or model.fp32.onnx of a bundle",
            remedy="make one with: mien optimize export",
        )
    _, height, width, _ = info.input_shape
    return ExportedGraph(
        path=path,
        spec=GraphSpec(height=height, width=width, top_k=info.top_k),
        labels=tuple(labels.split("\n")),
    )


def check_data(graph: ExportedGraph, dataset: Dataset) -> None:
    """Hold a graph's classes against those of a data set.

    Raises:
        ModelError: they differ.
    """
    check_classes("graph", graph.path, graph.labels, dataset.names)
