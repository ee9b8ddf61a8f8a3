"""What an engine is: a loaded graph that turns letterboxed frames into candidate boxes.

Rules for implementations: one thread calls ``infer`` at a time; the arrays it returns belong to the caller and are not
overwritten by the next call; library errors become :class:`EngineError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from mien.console import SILENT, Progress
from mien.errors import ExitCode, MienError
from mien.release import Precision, Runtime

INPUT = "frames"
OUTPUTS = ("boxes", "scores", "classes")
"""Names of the graph's tensors, the same in every release (see ``mien.release``)."""
PRECISION_KEY = "mien.precision"
"""Key of the graph's metadata that names its precision."""
MAX_BATCH_KEY = "mien.max_batch"
"""Key that names the most frames of one call, where the graph's batch is open; absent where it is fixed."""


class EngineError(MienError):
    """An engine could not be built, opened or run."""

    exit_code = ExitCode.MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What was opened."""

    runtime: Runtime
    runtime_version: str
    precision: Precision | None
    """As the file says it; ``None`` when it does not."""
    path: Path
    input_shape: tuple[int, int, int, int]
    """Frames, height, width, 3. The first is the most frames that one call takes."""
    top_k: int
    threads: int
    fixed_batch: bool = True
    """Whether every call takes exactly that many frames."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawOutput:
    """Candidates of a batch, best first, before non-maximum suppression."""

    boxes: npt.NDArray[np.float32]
    """``float32[N, K, 4]`` xyxy in input pixels."""
    scores: npt.NDArray[np.float32]
    """``float32[N, K]``."""
    classes: npt.NDArray[np.int32]
    """``int32[N, K]``."""


class Engine(Protocol):
    """A loaded graph; also a context manager that closes it."""

    @property
    def info(self) -> EngineInfo:
        """What was opened."""

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawOutput:
        """Run letterboxed frames ``uint8[N, H, W, 3]``, blue-green-red.

        Raises:
            EngineError: wrong shape or type, or the runtime failed.
        """

    def close(self) -> None:
        """Free what the engine holds; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class OverlappingEngine(Engine, Protocol):
    """An engine that works on several batches at once: copies one while it computes another, or computes both.

    ``infer`` may be called between ``submit`` and ``collect``: it has buffers of its own.
    """

    depth: int
    """Batches that may be submitted before one is collected; their answers are collected in the same order."""

    def submit(self, frames: npt.NDArray[np.uint8]) -> int:
        """Take a batch ``uint8[N, H, W, 3]`` and begin with it; its ticket. The frames stay until it is collected.

        Raises:
            EngineError: wrong shape or type, too many batches under way, or the runtime failed.
        """

    def collect(self, ticket: int) -> RawOutput:
        """Wait for a batch and return its answer.

        Raises:
            EngineError: no such batch is under way, or the runtime failed.
        """


class EngineBuilder(Protocol):
    """Makes this machine's own engine from a portable model."""

    def build(self, model: Path, out: Path, *, progress: Progress = SILENT) -> Path:
        """Build ``model`` (ONNX) into the file ``out``, which appears only when it is whole.

        Raises:
            EngineError: the model cannot be built here.
            UnavailableError: the disk is full or read-only.
        """


def infer_one(engine: Engine, frame: npt.NDArray[np.uint8]) -> RawOutput:
    """The answer for one letterboxed frame ``uint8[H, W, 3]``, whatever the engine's batch: blank frames fill it up.

    Raises:
        EngineError: wrong shape or type, or the runtime failed.
    """
    info = engine.info
    if not info.fixed_batch or info.input_shape[0] == 1:
        return engine.infer(frame[None])
    block = np.zeros((info.input_shape[0], *frame.shape), frame.dtype)
    block[0] = frame
    raw = engine.infer(block)
    return RawOutput(boxes=raw.boxes[:1], scores=raw.scores[:1], classes=raw.classes[:1])


def checked_frames(
    frames: npt.NDArray[np.uint8], input_shape: tuple[int, int, int, int], *, fixed_batch: bool
) -> npt.NDArray[np.uint8]:
    """Frames as one contiguous block.

    Raises:
        EngineError: they do not fit the input.
    """
    most, *one = input_shape
    fits = (
        frames.dtype == np.uint8
        and list(frames.shape[1:]) == one
        and (frames.shape[0] == most if fixed_batch else 1 <= frames.shape[0] <= most)
    )
    if not fits:
        raise EngineError(
            "frames do not fit the engine's input",
            found=f"{frames.dtype}{list(frames.shape)}",
            wanted=f"uint8[{most if fixed_batch or most == 1 else f'1 to {most}'}, {', '.join(map(str, one))}]",
        )
    return np.ascontiguousarray(frames)


def largest_batch(path: Path, metadata: Mapping[str, str]) -> int:
    """The most frames that a graph with an open batch takes in a call.

    Raises:
        EngineError: what it says is no number of frames.
    """
    stated = metadata.get(MAX_BATCH_KEY, "1")
    if not stated.isascii() or not stated.isdecimal() or int(stated) < 1:
        raise EngineError(
            f"{path} names no batch that can be run", found=f"{MAX_BATCH_KEY} = {stated!r}", wanted="1 or more"
        )
    return int(stated)


def check_names(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Hold a graph's tensor names against the contract.

    Raises:
        EngineError: they differ.
    """
    if list(inputs) != [INPUT] or set(outputs) != set(OUTPUTS):
        raise EngineError(
            f"{path} is not a mien graph",
            found=f"inputs {', '.join(inputs) or 'none'}; outputs {', '.join(outputs) or 'none'}",
            wanted=f"input {INPUT}; outputs {', '.join(OUTPUTS)}",
            remedy="make it with 'mien optimize run'",
        )
