"""onnxruntime's quantiser, set so that TensorRT's parser takes the result: signed, symmetric, biases left in float."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
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
from mien.files import write_bytes
from optimize.graph.metadata import metadata_of, set_metadata, with_precision
from optimize.quantize.interface import QuantizeError

_METHODS = {"percentile": "Percentile", "entropy": "Entropy", "max": "MinMax"}
"""Our names to those of onnxruntime's ``CalibrationMethod``."""
_OPERATORS = ("Conv",)
"""Only these are made INT8, as NVIDIA advises: the rest is fused with them, and each further scale costs accuracy."""
_MEMORY_BYTES = 1 << 30
"""For the activations of the frames that are looked at together; the more together, the faster the histograms."""


class OnnxRuntimeQuantizer:
    """``onnxruntime.quantization.quantize_static`` with QDQ format."""

    name = "onnxruntime"
    methods = tuple(_METHODS)

    def quantize(
        self,
        model: Path,
        out: Path,
        *,
        frames: npt.NDArray[np.uint8],
        method: str,
        keep_float: Collection[str],
        progress: Progress = SILENT,
    ) -> Path:
        """See :class:`optimize.quantize.interface.Quantizer`."""
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        progress.start(f"calibrate ({method})", len(frames))
        with tempfile.TemporaryDirectory(prefix="mien-quantize-") as folder, _quiet():
            draft = Path(folder) / "int8.onnx"
            try:
                quantize_static(
                    str(model),
                    str(draft),
                    _Frames(frames, progress),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    calibrate_method=CalibrationMethod[_METHODS[method]],
                    op_types_to_quantize=list(_OPERATORS),
                    nodes_to_exclude=list(keep_float),
                    extra_options={
                        "ActivationSymmetric": True,
                        "WeightSymmetric": True,
                        "QuantizeBias": False,
                        "CalibStridedMinMax": frames_at_once(len(frames), activation_bytes(onnx.load(model))),
                    },
                )
            except (ValueError, TypeError, ort_errors.Fail, ort_errors.InvalidGraph) as error:
                raise QuantizeError(f"onnxruntime could not quantise {model}", found=str(error)[:300]) from error
            made = onnx.load(draft)
        set_metadata(made, with_precision(metadata_of(onnx.load(model, load_external_data=False)), "int8"))
        write_bytes(out, made.SerializeToString())
        return out


class _Frames:
    """A calibration data reader as onnxruntime's quantiser calls it."""

    def __init__(self, frames: npt.NDArray[np.uint8], progress: Progress) -> None:
        self._frames = frames
        self._progress = progress
        self._waiting: Iterator[npt.NDArray[np.uint8]] = iter(frames)

    def __len__(self) -> int:
        return len(self._frames)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._waiting = iter(self._frames[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        frame = next(self._waiting, None)
        if frame is None:
            return None
        self._progress.advance()
        return {INPUT: frame[None]}


def activation_bytes(model: onnx.ModelProto) -> int:
    """Memory of all intermediate tensors of one run, as far as shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in inferred.graph.value_info]
    return sum(math.prod(shape) * 4 for shape in shapes)


def frames_at_once(count: int, frame_bytes: int, memory_bytes: int = _MEMORY_BYTES) -> int:
    """The largest divisor of the frame count that fits into memory; the quantiser takes only equal portions."""
    most = min(count, max(1, memory_bytes // max(1, frame_bytes)))
    return next(size for size in range(most, 0, -1) if count % size == 0)


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
