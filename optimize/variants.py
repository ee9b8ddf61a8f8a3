"""Which files a bundle gets, and how each is made from the FP32 graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import onnx

from mien.console import SILENT, Progress
from mien.errors import ConfigError
from mien.release import Precision, Runtime
from optimize.graph.structure import attention_nodes, decode_nodes, output_convolutions
from optimize.quantize.interface import Quantizer, chosen_method

FP32, FP16, INT8, INT8_CPU = "model.fp32.onnx", "model.fp16.onnx", "model.int8.onnx", "model.int8.cpu.onnx"
FP16_FRAMES = 8
"""So many frames show where FP16 would overflow."""
QUANTIZERS = ("onnxruntime", "modelopt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A graph file of the bundle."""

    path: str
    precision: Precision
    runtimes: tuple[Runtime, ...]


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Read ``fp32,fp16,int8``.

    Raises:
        ConfigError: an unknown precision, or FP32 missing, against which the others are judged.
    """
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    known: tuple[Precision, ...] = get_args(Precision)
    unknown = [name for name in wanted if name not in known]
    if unknown or "fp32" not in wanted:
        raise ConfigError(
            "these precisions cannot be made",
            found=text,
            wanted=f"some of {', '.join(known)}, fp32 among them: the others are judged against it",
        )
    return tuple(name for name in known if name in wanted)


def quantizer_called(name: str) -> Quantizer:
    """The quantiser of that name; its library is imported only now.

    Raises:
        ConfigError: no such quantiser.
    """
    if name == "onnxruntime":
        from optimize.quantize.onnxruntime_qdq import OnnxRuntimeQuantizer

        return OnnxRuntimeQuantizer()
    if name == "modelopt":
        from optimize.quantize.modelopt import ModelOptQuantizer

        return ModelOptQuantizer()
    raise ConfigError("no such quantiser", found=name, wanted=", ".join(QUANTIZERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to INT8."""

    method: str
    first_layer_float: bool = False
    """The first convolution sees pixels of 0 … 255; it is small, and sensitive."""


def int8_attempts(quantizer: Quantizer, method: str | None) -> tuple[Attempt, ...]:
    """The ways to try until one passes the gate: the fastest first, then such that lose less.

    Args:
        quantizer: whose methods are tried.
        method: only this one, when it is given.

    Raises:
        ConfigError: the quantiser knows no such method.
    """
    first = chosen_method(quantizer, method)
    others = () if method else tuple(name for name in quantizer.methods if name != first)
    return (
        Attempt(method=first),
        *(Attempt(method=name, first_layer_float=True) for name in (first, *others)),
    )


def make_fp16(folder: Path, frames: npt.NDArray[np.uint8], *, progress: Progress = SILENT) -> Made:
    """Write the FP16 graph beside the FP32 graph."""
    from optimize.quantize.modelopt import write_fp16

    write_fp16(folder / FP32, folder / FP16, frames=frames, progress=progress)
    return Made(path=FP16, precision="fp16", runtimes=("tensorrt", "onnxruntime"))


def make_int8(
    folder: Path,
    frames: npt.NDArray[np.uint8],
    quantizer: Quantizer,
    attempt: Attempt,
    *,
    progress: Progress = SILENT,
) -> Sequence[Made]:
    """Write the INT8 graph for TensorRT and, where the quantiser's placement allows it, its twin for the CPU.

    The nodes that choose and decode boxes, the convolutions right before them, and attention stay in floating point.
    """
    graph = onnx.load(folder / FP32).graph
    keep = {*decode_nodes(graph), *output_convolutions(graph), *attention_nodes(graph)}
    if attempt.first_layer_float:
        keep.add(next(node.name for node in graph.node if node.op_type == "Conv"))
    quantizer.quantize(
        folder / FP32, folder / INT8, frames=frames, method=attempt.method, keep_float=sorted(keep), progress=progress
    )
    if quantizer.name != "onnxruntime":
        return (Made(path=INT8, precision="int8", runtimes=("tensorrt",)),)
    from optimize.quantize.twin import write_twin

    write_twin(folder / INT8, folder / INT8_CPU)
    return (
        Made(path=INT8, precision="int8", runtimes=("tensorrt",)),
        Made(path=INT8_CPU, precision="int8", runtimes=("onnxruntime",)),
    )
