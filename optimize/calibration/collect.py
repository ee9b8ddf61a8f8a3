"""Runs the FP32 graph over calibration frames and gathers a histogram of every tensor that will be quantised."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from edge.engine.interface import INPUT
from mien.console import SILENT, Progress
from optimize.calibration.histograms import EMPTY, Histogram

_QUIET = 4


def collect_histograms(
    model: Path,
    frames: npt.NDArray[np.uint8],
    tensors: Collection[str],
    *,
    threads: int,
    progress: Progress = SILENT,
) -> dict[str, Histogram]:
    """Run every frame once.

    Args:
        model: the FP32 graph.
        frames: ``uint8[n, height, width, 3]``, letterboxed.
        tensors: names of float tensors inside the graph.
        threads: of one inference.
        progress: told about each frame.
    """
    names = sorted(tensors)
    session = _session(model, names, threads)
    histograms = dict.fromkeys(names, EMPTY)
    progress.start("calibrate", len(frames))
    for frame in frames:
        for name, values in zip(names, session.run(names, {INPUT: frame[None]}), strict=True):
            histograms[name] = histograms[name].with_values(values)
        progress.advance()
    return histograms


def _session(model: Path, tensors: Collection[str], threads: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    proto = onnx.load(model)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
