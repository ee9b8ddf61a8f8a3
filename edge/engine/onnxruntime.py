"""Runs a graph on the CPU with onnxruntime, and builds the "engine": the graph optimised for this CPU.

Graph optimisation at the highest level lays weights out for the CPU it runs on, so a built file is exchanged only
within a hardware class (``DeviceFacts.hardware_class``). It ends with a mark that names the version which made it;
it is loaded without optimising again. Protocol buffers allow this: a field appended to a message is merged into it
(https://protobuf.dev/programming-guides/encoding/#last-one-wins), and the mark is an entry of
``ModelProto.metadata_props``.

Frames go in and boxes come out by plain ``run``. An IO binding made for each call took 3 µs longer; one that is kept
saved 0.4 µs of 14.5 µs on a graph of a few operators, and nothing that could be told on a detector (least 6.8 ms, with
plain ``run`` 6.7 ms; onnxruntime 1.24.4, one thread, calls in turns, November 2026).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from typing_extensions import Self

from edge.engine.interface import (
    INPUT,
    OUTPUTS,
    PRECISION_KEY,
    EngineError,
    EngineInfo,
    RawOutput,
    check_names,
    checked_frames,
    largest_batch,
)
from mien.console import SILENT, Progress
from mien.files import replacing
from mien.parts import folder_beside, sweep
from mien.release import Precision

_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_NAMES = list(OUTPUTS)  # as onnxruntime takes them
_MARK_KEY = b"mien.built-by"
_TAIL_BYTES = 256
_QUIET = 4  # fatal only: what went wrong is raised


class OnnxRuntimeEngine:
    """A graph in onnxruntime on the CPU.

    Args:
        path: a portable model or a built engine.
        threads: of one inference.

    Raises:
        EngineError: no such file, not a graph, not a mien graph, or built by another version.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._session: Any = _open(path, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_names(path, [tensor.name for tensor in inputs], [tensor.name for tensor in outputs])
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._fixed_batch = isinstance(inputs[0].shape[0], int)
        self._info = EngineInfo(
            runtime="onnxruntime",
            runtime_version=ort.__version__,
            precision=_precision(metadata),
            path=path,
            input_shape=_input_shape(path, inputs[0], metadata),
            top_k=_top_k(path, {tensor.name: tensor for tensor in outputs}),
            threads=threads,
            fixed_batch=self._fixed_batch,
        )

    @property
    def info(self) -> EngineInfo:
        """What was opened."""
        return self._info

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """See :class:`edge.engine.interface.Engine`."""
        if self._session is None:
            raise EngineError("the engine was closed", found=str(self._info.path))
        block = checked_frames(frames, self._info.input_shape, fixed_batch=self._fixed_batch)
        try:
            boxes, scores, classes = self._session.run(_NAMES, {INPUT: block})
        except _ERRORS as error:
            raise EngineError(f"{self._info.path} failed on a frame", found=str(error)[:300]) from error
        return RawOutput(boxes=boxes, scores=scores, classes=classes.astype(np.int32, copy=False))

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OnnxRuntimeBuilder:
    """Builds this CPU's engine from a portable model."""

    def build(self, model: Path, out: Path, *, progress: Progress = SILENT) -> Path:
        """See :class:`edge.engine.interface.EngineBuilder`."""
        progress.start("build engine (onnxruntime)", 1)
        options = _options(threads=1)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        sweep(out)
        with replacing(out) as stream, folder_beside(out) as folder:
            optimised = folder / "engine.onnx"
            options.optimized_model_filepath = str(optimised)
            session = _session(model, options)
            names = [[tensor.name for tensor in side] for side in (session.get_inputs(), session.get_outputs())]
            check_names(model, *names)
            stream.write(optimised.read_bytes())
            stream.write(_mark())
        progress.advance()
        return out


def _open(path: Path, threads: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    built_by = _built_by(path)
    if built_by not in {None, ort.__version__}:
        raise EngineError(
            f"{path} was built by another onnxruntime",
            found=str(built_by),
            wanted=ort.__version__,
            remedy="build it again from the portable model of the release",
        )
    options = _options(threads)
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if built_by else levels.ORT_ENABLE_ALL
    return _session(path, options)


def _options(threads: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # whatever the file is called
    return options


def _session(path: Path, options: Any) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    if not path.is_file():
        raise EngineError(f"could not open {path}", found="no such file", wanted="a model or an engine")
    if not os.access(path, os.R_OK):
        raise EngineError(f"could not open {path}", found="permission denied", wanted="a file that this user may read")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        raise EngineError(
            f"onnxruntime could not load {path}",
            found=str(error)[:300],
            wanted="a graph made by 'mien optimize run'",
            remedy="check the file against the manifest: mien optimize inspect",
        ) from error


def _precision(metadata: Mapping[str, str]) -> Precision | None:
    stated = metadata.get(PRECISION_KEY)
    return next((known for known in get_args(Precision) if known == stated), None)


def _input_shape(
    path: Path,
    tensor: Any,  # noqa: ANN401 - onnxruntime is untyped
    metadata: Mapping[str, str],
) -> tuple[int, int, int, int]:
    batch, *rest = tensor.shape
    if tensor.type != "tensor(uint8)" or len(rest) != 3 or rest[2] != 3 or not all(isinstance(n, int) for n in rest):  # noqa: PLR2004
        raise EngineError(
            f"the input of {path} is not one of letterboxed frames",
            found=f"{tensor.type}{tensor.shape}",
            wanted="uint8[N, height, width, 3] with fixed height and width",
        )
    most = batch if isinstance(batch, int) else largest_batch(path, metadata)
    return (most, rest[0], rest[1], rest[2])


def _top_k(path: Path, outputs: dict[str, Any]) -> int:
    boxes, scores, classes = (outputs[name].shape for name in OUTPUTS)
    if len(boxes) != 3 or boxes[2] != 4 or not boxes[1] == scores[-1] == classes[-1] or not isinstance(boxes[1], int):  # noqa: PLR2004
        raise EngineError(
            f"the outputs of {path} do not belong together",
            found=f"boxes{boxes} scores{scores} classes{classes}",
            wanted="boxes[N, K, 4], scores[N, K], classes[N, K]",
        )
    return int(boxes[1])


def _mark() -> bytes:
    """``metadata_props`` (field 14 of ModelProto) with key (field 1) and value (field 2), length-delimited."""
    value = str(ort.__version__).encode()
    entry = bytes([0x0A, len(_MARK_KEY)]) + _MARK_KEY + bytes([0x12, len(value)]) + value
    return bytes([0x72, len(entry)]) + entry


def _built_by(path: Path) -> str | None:
    """The version which built an engine file; ``None`` for a portable model or no file."""
    try:
        with path.open("rb") as stream:
            stream.seek(-min(_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
            tail = stream.read()
    except OSError:
        return None
    _, found, rest = tail.rpartition(_MARK_KEY)
    if not found or rest[:1] != b"\x12" or len(rest) != 2 + rest[1]:
        return None
    version: bytes = rest[2:]
    return version.decode("ascii", errors="replace")
