"""onnxruntime's quantiser: convolutions with their inputs and results in INT8, which its CPU kernels need."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edge.engine.interface import INPUT
from mien.console import SILENT, Progress
from mien.files import scratch
from optimize.quantize.interface import QuantizeError
from optimize.quantize.placement import Placement, placement_of

_REMEDY = "try the other --quantizer, or leave this precision out"
_OPERATORS = ("Conv",)
"""Only these are made INT8, as NVIDIA advises: the rest is fused with them, and each further scale costs accuracy."""


class OnnxRuntimeQuantizer:
    """``onnxruntime.quantization.quantize_static`` with QDQ format."""

    name = "onnxruntime"
    for_cpu = True

    def place(
        self,
        model: Path,
        *,
        frames: npt.NDArray[np.uint8],
        keep_float: Collection[str],
        progress: Progress = SILENT,
    ) -> Placement:
        """See :class:`optimize.quantize.interface.Quantizer`."""
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        progress.start("place INT8 (onnxruntime)")
        with scratch("quantize") as folder, _quiet():
            draft, copy = folder / "int8.onnx", folder / "model.onnx"
            shutil.copyfile(model, copy)  # the library writes beside what it reads
            try:
                quantize_static(
                    str(copy),
                    str(draft),
                    _Frames(frames),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    op_types_to_quantize=list(_OPERATORS),
                    nodes_to_exclude=list(keep_float),
                    extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
                )
            except (ValueError, TypeError, ort_errors.Fail, ort_errors.InvalidGraph) as error:
                raise QuantizeError(
                    f"onnxruntime could not quantise {model}", found=str(error)[:300], remedy=_REMEDY
                ) from error
            return placement_of(onnx.load(draft).graph, onnx.load(model).graph)


class _Frames:
    """A calibration data reader as onnxruntime's quantiser calls it."""

    def __init__(self, frames: npt.NDArray[np.uint8]) -> None:
        self._waiting: Iterator[npt.NDArray[np.uint8]] = iter(frames)

    def get_next(self) -> dict[str, Any] | None:
        frame = next(self._waiting, None)
        return None if frame is None else {INPUT: frame[None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice, which it prints and sends to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
