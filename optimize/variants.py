"""Which files a bundle gets, and how each is made from the FP32 graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import onnx

from mien.console import SILENT, Progress
from mien.errors import ConfigError
from mien.files import write_bytes
from mien.release import Precision, Runtime
from optimize.calibration.thresholds import METHODS
from optimize.int8 import Workshop
from optimize.quantize.half import halve
from optimize.quantize.interface import Quantizer
from optimize.quantize.twin import shift_activations

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
            remedy="name them so: --precision fp32,int8, or leave it out to make all",
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
    raise ConfigError(
        "no such quantiser", found=name, wanted=", ".join(QUANTIZERS), remedy="name one of these with --quantizer"
    )


def parse_methods(text: str | None) -> tuple[str, ...]:
    """Read ``percentile,mse``; all methods when nothing is given.

    Raises:
        ConfigError: an unknown method; names the valid ones.
    """
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()] if text is not None else list(METHODS)
    unknown = [name for name in wanted if name not in METHODS]
    if unknown or not wanted:
        raise ConfigError(
            "INT8 scales cannot be found that way",
            found=", ".join(unknown) or "no method",
            wanted=f"one or more of {', '.join(METHODS)}",
            remedy="name them with --method, or leave it out to compare all",
        )
    return tuple(dict.fromkeys(wanted))


def parse_method(text: str) -> str:
    """Read one method.

    Raises:
        ConfigError: none or several, or an unknown one; names the valid ones.
    """
    methods = parse_methods(text)
    if len(methods) > 1:
        raise ConfigError(
            "one graph has one set of scales",
            found=text,
            wanted=f"one of {', '.join(METHODS)}",
            remedy="compare them with: mien optimize calibrate",
        )
    return methods[0]


def make_fp16(folder: Path, frames: npt.NDArray[np.uint8], *, progress: Progress = SILENT) -> Made:
    """Write the FP16 graph beside the FP32 graph."""
    from optimize.quantize.modelopt import write_fp16

    write_fp16(folder / FP32, folder / FP16, frames=frames, progress=progress)
    return Made(path=FP16, precision="fp16", runtimes=("tensorrt", "onnxruntime"))


def make_int8(
    folder: Path, shop: Workshop, quantizer: Quantizer, scales: Mapping[str, float], floats: Collection[str]
) -> tuple[Made, ...]:
    """Write the INT8 graph for TensorRT and, where the quantiser's placement allows it, its twin for the CPU.

    What is not INT8 calculates in FP16 in the one and in FP32 in the other; their scales are the same.

    Args:
        folder: of the bundle in the making.
        shop: placement and scales' origin.
        quantizer: whose placement it is.
        scales: the threshold of every quantised tensor.
        floats: layers that stay in floating point.
    """
    graph = shop.graph(scales, floats)
    if quantizer.for_cpu:
        twin = onnx.ModelProto()
        twin.CopyFrom(graph)
        shift_activations(twin.graph)
        write_bytes(folder / INT8_CPU, twin.SerializeToString())
    halve(graph.graph)
    write_bytes(folder / INT8, graph.SerializeToString())
    made = [Made(path=INT8, precision="int8", runtimes=("tensorrt",))]
    if quantizer.for_cpu:
        made.append(Made(path=INT8_CPU, precision="int8", runtimes=("onnxruntime",)))
    return tuple(made)
