"""INT8 scales found by TensorRT itself, for those who ask for them on a version that still can (before 11).

The graph's own Q/DQ is the way everywhere else: it is measured before a device sees it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from edge.engine.cuda import Cuda
from edge.engine.interface import EngineError
from mien.errors import UnavailableError, UnsupportedError
from mien.files import write_bytes

if TYPE_CHECKING:
    import tensorrt as trt

    from edge.engine.tensorrt.library import TensorRt

_talk = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What TensorRT finds scales with."""

    frames: npt.NDArray[np.uint8]
    """``uint8[n, height, width, 3]``, letterboxed."""
    cache: Path | None = None
    """Folder in which scales are kept, by graph and frames; those that stand there are used again."""

    def file_for(self, graph: bytes) -> Path | None:
        """Where a graph's scales stand. Other frames or another graph have another file: TensorRT would not notice."""
        if self.cache is None:
            return None
        digest = hashlib.sha256(hashlib.sha256(graph).digest() + np.ascontiguousarray(self.frames).tobytes())
        return self.cache / f"{digest.hexdigest()[:32]}.scales"


def check_calibration(calibration: Calibration, shape: tuple[int, ...], *, explicit: bool) -> None:
    """Refuse a graph that brings scales of its own, or frames that do not fit it.

    Raises:
        UnsupportedError: the graph has Q/DQ.
        EngineError: the frames do not fit the graph's input.
    """
    if explicit:
        raise UnsupportedError(
            "the graph brings its own INT8 scales, so TensorRT cannot find others",
            found="QuantizeLinear in the graph",
            wanted="the fp32 or fp16 graph of the release",
            remedy="name that graph, or leave --implicit-int8 out",
        )
    found = calibration.frames.shape
    if found[1:] != shape[1:] or calibration.frames.dtype != np.uint8 or found[0] < shape[0]:
        raise EngineError(
            "the calibration frames do not fit the graph's input",
            found=f"{calibration.frames.dtype}{list(found)}",
            wanted=f"uint8{list(shape)}, at least one batch",
        )


def refuse_calibration(version: str) -> UnsupportedError:
    """This TensorRT finds no scales."""
    return UnsupportedError(
        "this TensorRT has no implicit INT8 calibration",
        found=f"TensorRT {version}, without IInt8EntropyCalibrator2",
        wanted="a TensorRT before 11, or the int8 graph of the release, which carries its scales as Q/DQ",
        remedy="build model.int8.onnx and leave --implicit-int8 out",
    )


def calibrator_of(
    library: TensorRt, calibration: Calibration, scales: Path | None, batch: int, cuda: Cuda
) -> trt.IInt8EntropyCalibrator2:
    """TensorRT's calibrator over the frames. Only where there is the capability; ``cuda`` must outlive it."""
    size_bytes = batch * calibration.frames[0].nbytes
    address = cuda.allocate(size_bytes)
    batches = iter(range(0, len(calibration.frames) - batch + 1, batch))

    class Frames(library.IInt8EntropyCalibrator2):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            library.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return batch

        def get_batch(self, names: Sequence[str]) -> list[int] | None:  # noqa: ARG002 - one input
            first = next(batches, None)
            if first is None:
                return None
            cuda.upload(address, np.ascontiguousarray(calibration.frames[first : first + batch]))
            cuda.synchronise()
            return [address]

        def read_calibration_cache(self) -> bytes | None:
            return _kept(scales)

        def write_calibration_cache(self, cache: Any) -> None:  # noqa: ANN401 - a buffer
            _keep(scales, bytes(cache))

    return cast("trt.IInt8EntropyCalibrator2", Frames())


def _kept(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError:
        return None


def _keep(path: Path | None, content: bytes) -> None:
    if path is None:
        return
    try:
        write_bytes(path, content)
    except UnavailableError as error:
        _talk.warning("the calibration's scales are lost: %s", error)
