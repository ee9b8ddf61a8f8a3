"""A whole release bundle around a graph of a few operators, made in milliseconds.

The graph keeps mien's contract. It splits the picture into a grid, scores each cell by its mean brightness and names
the best cells: so a bright square is found where it is, and what is found can be said in advance.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.engine.onnxruntime import OnnxRuntimeEngine
from edge.vision.decode import decode
from edge.vision.letterbox import Geometry
from edge.vision.reference import ReferenceFrame, write_reference
from mien.files import sha256_of, write_text
from mien.release import (
    MANIFEST,
    REFERENCE,
    FileEntry,
    GateResult,
    InputSpec,
    Manifest,
    OutputSpec,
    Precision,
    Provenance,
    Requires,
    Variant,
)

SIZE = 64
GRID = 4
LABELS = ("happy", "sad")
_CELL = SIZE // GRID


def tiny_graph(
    *, gain: float = 1.0, shift_px: float = 0.0, ballast: int = 0, seed: int = 0, eight_bits: bool = False
) -> onnx.ModelProto:
    """The graph.

    Args:
        gain: scores are multiplied with it; 0 makes a model that finds nothing.
        shift_px: boxes are moved by it: a model that sees things elsewhere.
        ballast: so many bytes of noise make the file larger.
        seed: of the noise.
        eight_bits: scores go through eight bits, as in an INT8 variant.
    """
    cells = np.array([(x, y) for y in range(GRID) for x in range(GRID)], np.float32) * _CELL + shift_px
    boxes = np.concatenate([cells, cells + _CELL], axis=1).astype(np.float32)
    classes = np.array([index % len(LABELS) for index in range(len(cells))], np.int32)
    constants = {
        "all_boxes": boxes,
        "all_classes": classes,
        "k": np.array([len(cells)], np.int64),
        "flat": np.array([1, -1], np.int64),
        "gain": np.array(gain / 255, np.float32),
    }
    if ballast:
        constants["ballast"] = np.random.default_rng(seed).random(ballast // 4, np.float32)
    rounded: list[onnx.NodeProto] = []
    if eight_bits:
        constants |= {"step": np.array(1 / 255, np.float32), "zero": np.array(0, np.uint8)}
        rounded = [
            helper.make_node("QuantizeLinear", ["scaled", "step", "zero"], ["bytes"]),
            helper.make_node("DequantizeLinear", ["bytes", "step", "zero"], ["rounded"]),
        ]
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["luma"], axes=[3], keepdims=1),
        helper.make_node("Transpose", ["luma"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["grid"], kernel_shape=[_CELL, _CELL], strides=[_CELL, _CELL]),
        helper.make_node("Reshape", ["grid", "flat"], ["cells"]),
        helper.make_node("Mul", ["cells", "gain"], ["scaled"]),
        *rounded,
        helper.make_node(
            "TopK", ["rounded" if eight_bits else "scaled", "k"], ["scores", "order"], axis=1, largest=1, sorted=1
        ),
        helper.make_node("Gather", ["all_boxes", "order"], ["boxes"], axis=0),
        helper.make_node("Gather", ["all_classes", "order"], ["classes"], axis=0),
    ]
    count = len(cells)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, count, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, count]),
            helper.make_tensor_value_info("classes", TensorProto.INT32, [1, count]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def bright_square(column: int, row: int, *, size: int = SIZE) -> np.ndarray:
    """A dark picture ``uint8[size, size, 3]`` with one bright cell of the grid."""
    cell = size // GRID
    image = np.full((size, size, 3), 10, np.uint8)
    image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 240
    return image


def make_bundle(
    folder: Path,
    version: str = "1.0.0",
    *,
    name: str = "faces",
    damaged: bool = False,
    ballast: int = 0,
    int8: bool = False,
) -> Manifest:
    """Write a bundle and return its manifest.

    Args:
        folder: where; made if needed.
        version: of the release.
        name: of the release.
        damaged: the model is replaced, after its reference was taken, by one that sees things elsewhere.
        ballast: bytes of noise in the model.
        int8: an INT8 variant is there as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.fp32.onnx"
    seed = int(hashlib.sha256(version.encode()).hexdigest()[:8], 16)
    outputs = OutputSpec(top_k=GRID * GRID)
    onnx.save(tiny_graph(ballast=ballast, seed=seed), str(model))
    _write_reference(folder / REFERENCE, model, outputs)
    if damaged:
        onnx.save(tiny_graph(shift_px=2 * _CELL, ballast=ballast, seed=seed), str(model))
    models: dict[Precision, Path] = {"fp32": model}
    if int8:
        models["int8"] = folder / "model.int8.onnx"
        onnx.save(tiny_graph(seed=seed, eight_bits=True), str(models["int8"]))
    manifest = Manifest(
        name=name,
        version=version,
        labels=LABELS,
        input=InputSpec(width=SIZE, height=SIZE),
        outputs=outputs,
        variants=tuple(_variant(precision, path) for precision, path in models.items()),
        files=(
            FileEntry(
                path=REFERENCE, sha256=sha256_of(folder / REFERENCE), size_bytes=(folder / REFERENCE).stat().st_size
            ),
        ),
        provenance=Provenance(created_at="2026-01-01T00:00:00Z"),
        gate=GateResult(passed=True, checks=()),
        intended_use="tests",
    )
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _variant(precision: Precision, path: Path) -> Variant:
    return Variant(
        precision=precision,
        format="onnx",
        path=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        requires=Requires(runtimes=("onnxruntime",)),
        reference_agreement=1.0,
    )


def _write_reference(path: Path, model: Path, outputs: OutputSpec) -> None:
    with OnnxRuntimeEngine(model) as engine:
        frames = []
        for index in range(GRID):
            image = bright_square(index, (index + 1) % GRID)
            found = decode(engine.infer(image[None]), outputs, Geometry.identity(SIZE, SIZE))
            frames.append(ReferenceFrame(frame=image, detections=found))
    write_reference(path, frames)
