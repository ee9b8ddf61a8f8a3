"""NVIDIA Model Optimizer: where TensorRT wants INT8, and FP16 by AutoCast."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from mien.console import SILENT, Progress
from mien.files import scratch, write_bytes
from optimize.graph.metadata import metadata_of, set_metadata, with_precision
from optimize.quantize.interface import QuantizeError
from optimize.quantize.placement import Placement, placement_of

_REMEDY = "try the other --quantizer, or leave this precision out"
_ERRORS = (ValueError, TypeError, RuntimeError, LookupError, AttributeError)


class ModelOptQuantizer:
    """``modelopt.onnx.quantization.quantize`` on the CPU."""

    name = "modelopt"
    for_cpu = False

    def place(
        self,
        model: Path,
        *,
        frames: npt.NDArray[np.uint8],
        keep_float: Collection[str],
        progress: Progress = SILENT,
    ) -> Placement:
        """See :class:`optimize.quantize.interface.Quantizer`."""
        progress.start("place INT8 (Model Optimizer)")
        with scratch("quantize") as folder, _quiet():
            from modelopt.onnx.quantization import quantize

            draft, copy = folder / "int8.onnx", folder / "model.onnx"
            shutil.copyfile(model, copy)  # the library writes beside what it reads
            try:
                quantize(
                    onnx_path=str(copy),
                    output_path=str(draft),
                    quantize_mode="int8",
                    calibration_data=frames,
                    calibration_method="max",
                    calibration_eps=["cpu"],
                    nodes_to_exclude=[re.escape(name) for name in keep_float],
                    high_precision_dtype="fp32",
                    dq_only=True,
                    log_level="ERROR",
                )
            except _ERRORS as error:
                raise QuantizeError(
                    f"Model Optimizer could not quantise {model}", found=str(error)[:300], remedy=_REMEDY
                ) from error
            return placement_of(onnx.load(draft).graph, onnx.load(model).graph)


def write_fp16(model: Path, out: Path, *, frames: npt.NDArray[np.uint8], progress: Progress = SILENT) -> Path:
    """Convert the FP32 graph to FP16 where its numbers allow; inputs and outputs keep their types.

    Args:
        model: the FP32 graph.
        out: where the FP16 graph is written, whole or not at all.
        frames: ``uint8[n, height, width, 3]``; a layer whose activations on these are too large for FP16 stays FP32.
        progress: told that it began; the library does not say how far it is.

    Raises:
        QuantizeError: Model Optimizer could not convert it.
    """
    progress.start("FP16 (AutoCast)")
    with scratch("fp16") as folder, _quiet():
        from modelopt.onnx.autocast import convert_to_mixed_precision

        inputs = folder / "frames.npz"
        np.savez(inputs, frames=frames)  # named as the graph's input
        try:
            made = convert_to_mixed_precision(
                onnx_path=str(model),
                low_precision_type="fp16",
                keep_io_types=True,
                calibration_data=str(inputs),
                providers=["cpu"],
            )
        except _ERRORS as error:
            raise QuantizeError(
                f"Model Optimizer could not convert {model} to FP16", found=str(error)[:300], remedy=_REMEDY
            ) from error
    set_metadata(made, with_precision(metadata_of(onnx.load(model, load_external_data=False)), "fp16"))
    write_bytes(out, made.SerializeToString())
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Model Optimizer's words to itself: it prints, and logs to handlers of its own."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
