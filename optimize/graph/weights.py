"""Opens weights and refuses everything but a YOLOv8 or YOLO11 detector whose numbers are finite."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import ModelError
from mien.files import sha256_of
from optimize.graph.classes import check_classes
from optimize.mistaken import DETECTORS, WEIGHTS, check_weights
from optimize.torch_runtime import prepare

_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, ImportError),
    pickle.UnpicklingError,
)
_DEFAULT_SIZE = 640
_COPY_AGAIN = f"copy it again from where it was trained, or {DETECTORS}"
_DAMAGED = ("truncated or corrupted", "zip archive", "Ran out of input", "UnpicklingError", "invalid load key")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """A detector ready to be exported."""

    path: Path
    sha256: str
    model: Any
    """ultralytics' ``DetectionModel``, in evaluation mode, on the CPU."""
    names: tuple[str, ...]
    stride: int
    trained_size: int
    """Side of the training images in pixels."""


def open_weights(path: Path) -> Weights:
    """Load weights.

    Raises:
        ModelError: no such file, not a checkpoint, not a detector of these families, or numbers that are not finite.
    """
    check_weights(path)
    prepare()
    from ultralytics.nn.tasks import load_checkpoint

    try:
        model, checkpoint = load_checkpoint(str(path))
    except _UNREADABLE as error:
        raise ModelError(
            f"{path} is no checkpoint", found=_unreadable(path, error), wanted=WEIGHTS, remedy=_COPY_AGAIN
        ) from error
    _refuse_other_heads(path, model)
    _refuse_broken_numbers(path, model)
    return Weights(
        path=path,
        sha256=sha256_of(path),
        model=model,
        names=_names(model),
        stride=int(max(model.stride)),
        trained_size=_trained_size(checkpoint, model),
    )


def check_labels(weights: Weights, labels: Sequence[str]) -> None:
    """Hold the classes of weights against those of the data they are to be judged with.

    Raises:
        ModelError: number or names differ.
    """
    check_classes("weights", weights.path, weights.names, labels)


def _refuse_other_heads(path: Path, model: Any) -> None:  # noqa: ANN401 - ultralytics' model
    layers = getattr(model, "model", None)
    head = layers[-1] if layers is not None else model
    name, task = type(head).__name__, getattr(model, "task", "unknown")
    end_to_end = getattr(head, "one2one_cv2", None) is not None
    if task != "detect" or name != "Detect" or end_to_end:
        end = " (end to end, without non-maximum suppression)" if end_to_end else ""
        raise ModelError(
            f"{path} is no detector that can be optimised",
            found=f"task {task}, head {name}{end}",
            wanted=WEIGHTS,
            remedy=DETECTORS,
        )


def _refuse_broken_numbers(path: Path, model: Any) -> None:  # noqa: ANN401 - ultralytics' model
    broken = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ModelError(
            f"{path} holds numbers that are not finite",
            found=f"{len(broken)} tensors, first {broken[0]}",
            wanted="finite weights",
            remedy="take an earlier checkpoint; lower the learning rate and train again",
        )


def _names(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - ultralytics' model
    names = model.names
    return tuple(str(names[index]) for index in sorted(names)) if isinstance(names, dict) else tuple(map(str, names))


def _trained_size(checkpoint: dict[str, Any], model: Any) -> int:  # noqa: ANN401 - ultralytics' model
    arguments = checkpoint.get("train_args") or getattr(model, "args", {})
    size = arguments.get("imgsz", _DEFAULT_SIZE) if isinstance(arguments, dict) else _DEFAULT_SIZE
    return int(max(size)) if isinstance(size, list | tuple) else int(size)


def _unreadable(path: Path, error: BaseException) -> str:
    """Why weights could not be read; what the libraries say of a damaged file is long and names their own remedies."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    said = " ".join([str(error), str(error.__cause__ or "")])
    size_bytes = path.stat().st_size
    if not size_bytes:
        return "an empty file"
    if any(word in said for word in _DAMAGED):
        return f"{size_bytes} bytes that are no whole checkpoint: the file is cut off or damaged, or was never one"
    first = next(iter(str(error).splitlines()), "").removeprefix("ERROR ❌️").strip()
    return first.partition(" (")[0] or type(error).__name__
