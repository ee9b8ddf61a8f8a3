"""The part of the ``tensorrt`` module that is used here, as a type; finding the module; its logger.

The names of :class:`TensorRt` and the members that are used through it are checked by mypy against NVIDIA's stubs, and
by ``tests/contract`` against the modules themselves.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from edge.engine.tensorrt.capabilities import REQUIRED, missing
from mien.errors import UnsupportedError

if TYPE_CHECKING:
    import tensorrt as trt

_talk = logging.getLogger(__name__)
_KEPT_MESSAGES = 200
_TOLD_MESSAGES = 3
_LOGS: dict[int, tuple[TensorRt, Log]] = {}


class TensorRt(Protocol):
    """What is used of the module. Names of :data:`edge.engine.tensorrt.capabilities.NAMES` may be absent."""

    __name__: str
    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    DeviceType: type[trt.DeviceType]
    IInt8EntropyCalibrator2: type[trt.IInt8EntropyCalibrator2]
    ILogger: type[trt.ILogger]
    IProgressMonitor: type[trt.IProgressMonitor]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    LayerType: type[trt.LayerType]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]
    float16: trt.DataType
    int8: trt.DataType

    def nptype(self, kind: trt.DataType, /) -> type[Any]:
        """The numpy type of a tensor's type."""


class Log:
    """What TensorRT called an error since :meth:`clear`, for the message of an exception.

    Args:
        library: the module; it knows one logger for each process.
    """

    def __init__(self, library: TensorRt) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        self.logger: trt.ILogger = _logger_of(library, self._errors.append)

    def clear(self) -> None:
        """Forget; something new begins."""
        self._errors.clear()

    def errors(self) -> tuple[str, ...]:
        """The errors, oldest first."""
        return tuple(self._errors)

    def told(self, most: int = 600) -> str:
        """The last errors in one line."""
        return "; ".join(list(self._errors)[-_TOLD_MESSAGES:])[-most:]


def load_tensorrt() -> TensorRt:
    """The TensorRT of this device.

    Raises:
        UnsupportedError: it is missing or older than 8.5.
    """
    try:
        module: Any = importlib.import_module("tensorrt")
    except ImportError as error:
        raise _not_installed(str(error)) from error
    if missing(module, ("Builder", "__version__")):
        raise _not_installed(f"a module without a builder: {getattr(module, '__path__', module)}")
    if lacking := missing(module, REQUIRED):
        raise UnsupportedError(
            "this TensorRT is too old",
            found=f"{module.__version__}, without {', '.join(lacking)}",
            wanted="8.5 or later",
            remedy="flash JetPack 5.1 or later",
        )
    return cast("TensorRt", module)


def log_of(library: TensorRt) -> Log:
    """The log of a module; the same each time."""
    if (known := _LOGS.get(id(library))) is not None and known[0] is library:
        return known[1]
    log = Log(library)
    _LOGS[id(library)] = (library, log)
    return log


def builder_of(library: TensorRt) -> trt.Builder:
    """A builder.

    Raises:
        UnsupportedError: TensorRT finds no GPU.
    """
    try:
        return library.Builder(log_of(library).logger)
    except TypeError as error:
        raise _no_gpu(library, error) from error


def runtime_of(library: TensorRt) -> trt.Runtime:
    """A runtime.

    Raises:
        UnsupportedError: TensorRT finds no GPU.
    """
    try:
        return library.Runtime(log_of(library).logger)
    except TypeError as error:
        raise _no_gpu(library, error) from error


def _logger_of(library: TensorRt, on_error: Callable[[str], None]) -> trt.ILogger:
    class Logger(library.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            if severity in {library.ILogger.Severity.INTERNAL_ERROR, library.ILogger.Severity.ERROR}:
                on_error(message)
            _talk.debug("%s", message)

    return cast("trt.ILogger", Logger())


def _no_gpu(library: TensorRt, error: TypeError) -> UnsupportedError:
    """What the bindings raise where the library gives them nothing."""
    return UnsupportedError(
        f"TensorRT {library.__version__} does not start here",
        found=log_of(library).told() or str(error),
        wanted="an NVIDIA GPU and its driver",
        remedy="use the onnxruntime runtime on this machine",
    )


def _not_installed(found: str) -> UnsupportedError:
    return UnsupportedError(
        "TensorRT is not installed here",
        found=found,
        wanted="the tensorrt module of JetPack, 8.5 or later",
        remedy="on a Jetson make the environment with --system-site-packages; elsewhere use onnxruntime",
    )
