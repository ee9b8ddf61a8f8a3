"""Weights to the portable FP32 graph. Leaves other precisions to ``optimize.quantize``."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx

from edge.engine.interface import INPUT, MAX_BATCH_KEY, OUTPUTS, PRECISION_KEY
from mien.console import SILENT, Progress
from mien.errors import ConfigError, InternalError
from mien.files import write_bytes
from optimize.graph.metadata import LABELS_KEY, set_metadata
from optimize.graph.structure import name_all
from optimize.graph.weights import Weights

_LARGEST_SIDE = 4096
_LARGEST_BATCH = 64
TOP_K = 100
"""Boxes that a graph gives unless told otherwise, or all anchors where it has fewer."""
OPSET = 17
"""The newest that TensorRT 8.5 (JetPack 5.1) reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """What the graph takes and gives."""

    height: int
    width: int
    top_k: int
    max_batch: int = 1
    """The most frames of one call; with 1, the batch is fixed."""


def graph_spec(weights: Weights, size: str | None, top_k: int | None = None, max_batch: int = 1) -> GraphSpec:
    """Read an image size: ``N``, ``HEIGHTxWIDTH``, or none for the training size.

    Args:
        weights: the model.
        size: as written.
        top_k: boxes that come out; ``None`` for the usual number.
        max_batch: frames of one call at most.

    Raises:
        ConfigError: not such a size, or no multiple of the model's stride; more boxes than anchors, or no such batch.
    """
    check_asked(size, top_k, max_batch)
    height, width = _sides(size or str(weights.trained_size))
    if not height or not width or height % weights.stride or width % weights.stride:
        raise ConfigError(
            "the model cannot take this image size",
            found=f"{height}x{width}",
            wanted=f"multiples of {weights.stride}",
            remedy=f"try {_next(height, weights.stride)}x{_next(width, weights.stride)}",
        )
    anchors = sum((height // int(stride)) * (width // int(stride)) for stride in weights.model.stride)
    if top_k is not None and not 1 <= top_k <= anchors:
        raise ConfigError(
            "the graph cannot give that many boxes",
            found=f"top-k {top_k}",
            wanted=f"1 … {anchors}, the anchors of a model at {height}x{width}",
            remedy="leave --top-k out, or name such a number",
        )
    boxes = min(TOP_K, anchors) if top_k is None else top_k
    return GraphSpec(height=height, width=width, top_k=boxes, max_batch=max_batch)


def check_asked(size: str | None, top_k: int | None, max_batch: int) -> None:
    """Look at what was asked of a graph before its weights are read, as far as that is possible.

    Args:
        size: as written; ``None`` for the training size.
        top_k: boxes that come out; ``None`` for the usual number.
        max_batch: frames of one call at most.

    Raises:
        ConfigError: no image size, number of boxes or batch that any graph takes.
    """
    if not 1 <= max_batch <= _LARGEST_BATCH:
        raise ConfigError(
            "no graph takes that many frames in one call",
            found=f"max-batch {max_batch}",
            wanted=f"1 … {_LARGEST_BATCH}",
            remedy="give the number of cameras that share the engine: --max-batch 4",
        )
    if top_k is not None and top_k < 1:
        raise ConfigError(
            "the graph cannot give that many boxes",
            found=f"top-k {top_k}",
            wanted="1 or more, up to the anchors of the model at its image size",
            remedy=f"leave --top-k out to take {TOP_K}, or name such a number",
        )
    if size is not None:
        _sides(size)


def _sides(text: str) -> tuple[int, int]:
    """Height and width as written."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):  # noqa: PLR2004
        raise ConfigError(
            "no such image size",
            found=text,
            wanted="a side such as 640, or HEIGHTxWIDTH such as 384x640",
            remedy="name such a size with --imgsz",
        )
    height, width = int(parts[0]), int(parts[-1])
    if max(height, width) > _LARGEST_SIDE:
        raise ConfigError(
            "no device takes an image of this size",
            found=f"{height}x{width}",
            wanted=f"sides up to {_LARGEST_SIDE} pixels",
            remedy="name such a size with --imgsz",
        )
    return height, width


def export_fp32(weights: Weights, spec: GraphSpec, out: Path, *, progress: Progress = SILENT) -> Path:
    """Write the self-contained FP32 graph.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    progress.start("export", 3)
    model = _traced(weights, spec)
    progress.advance()
    model = _simplified(model)
    name_all(model.graph)
    set_metadata(model, _metadata(weights, spec))
    onnx.checker.check_model(model, full_check=True)
    progress.advance()
    write_bytes(out, model.SerializeToString())
    progress.advance()
    return out


def _traced(weights: Weights, spec: GraphSpec) -> onnx.ModelProto:
    import torch

    from optimize.graph.module import compact_detector

    detector = compact_detector(weights.model, height=spec.height, width=spec.width, top_k=spec.top_k)
    frames = torch.zeros((1 if spec.max_batch == 1 else 2, spec.height, spec.width, 3), dtype=torch.uint8)
    open_batch = None if spec.max_batch == 1 else {name: {0: "batch"} for name in (INPUT, *OUTPUTS)}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's notes on shapes, which are fixed here
        torch.onnx.export(
            detector,
            (frames,),
            buffer,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            do_constant_folding=True,
            dynamic_axes=open_batch,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    slim = onnxslim.slim(model)
    if not isinstance(slim, onnx.ModelProto):
        raise InternalError("onnxslim gave no graph", found=type(slim).__name__)
    return slim


def _metadata(weights: Weights, spec: GraphSpec) -> dict[str, str]:
    batch = {} if spec.max_batch == 1 else {MAX_BATCH_KEY: str(spec.max_batch)}
    return {
        **batch,
        PRECISION_KEY: "fp32",
        LABELS_KEY: "\n".join(weights.names),
        "mien.input": f"uint8 NHWC bgr letterboxed {spec.height}x{spec.width}",
        "mien.outputs": f"boxes xyxy, scores, classes; top {spec.top_k}",
        "mien.weights_sha256": weights.sha256,
        "licence": "AGPL-3.0-or-later",
    }


def _next(length: int, stride: int) -> int:
    return max(1, -(-length // stride)) * stride
