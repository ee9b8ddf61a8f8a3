"""The one place that talks to ultralytics' trainer.

Decides how a recipe becomes its arguments, uses every core, keeps early weights, and hears its progress through
callbacks. Checks every argument before the call, because ultralytics swaps or asserts where we refuse.

Measured on two cores without a GPU (YOLOv8n, 160 px, batch 16): one thread, as ultralytics sets it, 31 ms an image;
two threads 20 ms; two threads and channels-last memory 13 ms.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mien.console import SILENT, Progress
from mien.dataset import Dataset
from mien.errors import ModelError, UnsupportedError
from mien.files import write_text
from optimize.torch_runtime import prepare
from trainer.recipe import Recipe
from trainer.record import Metrics

log = logging.getLogger(__name__)

FAMILIES = ("yolov8", "yolo11")
_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, ImportError),
    pickle.UnpicklingError,
)
"""What torch and ultralytics raise on a file that is no checkpoint of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training leaves: two weights files with the metrics measured at their epochs."""

    early: Path
    early_metrics: Metrics | None
    final: Path
    final_metrics: Metrics
    epochs_done: int
    device: str
    threads: int
    history: tuple[dict[str, float], ...]


@dataclass(slots=True)
class _Ears:
    """The callbacks' memory during one training."""

    recipe: Recipe
    work: Path
    progress: Progress
    time_budget_s: float | None
    threads: int
    started: float = field(default_factory=time.monotonic)
    early_metrics: Metrics | None = None
    epochs_done: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def on_train_start(self, trainer: Any) -> None:  # noqa: ANN401 - ultralytics' trainer
        import torch

        if trainer.device.type == "cpu":
            torch.set_num_threads(self.threads)
            trainer.model.to(memory_format=torch.channels_last)
            trainer.ema.ema.to(memory_format=torch.channels_last)

    def on_train_batch_end(self, trainer: Any) -> None:  # noqa: ANN401 - ultralytics' trainer
        loss = total_loss(trainer)
        self.progress.advance(note=f"epoch {trainer.epoch + 1}/{self.recipe.epochs}  loss {loss:.2f}{self._accuracy()}")

    def on_train_epoch_end(self, trainer: Any) -> None:  # noqa: ANN401 - ultralytics' trainer
        epoch = self.epochs_done = trainer.epoch + 1
        if self.time_budget_s is not None and epoch >= self.recipe.early_epoch():
            spent = time.monotonic() - self.started
            trainer.stop |= spent * (epoch + 1) / epoch > self.time_budget_s
        trainer.args.val = self.recipe.validates(epoch)

    def on_fit_epoch_end(self, trainer: Any) -> None:  # noqa: ANN401 - ultralytics' trainer
        if trainer.args.val and trainer.epoch < self.recipe.epochs and "metrics/mAP50(B)" in trainer.metrics:
            found = metrics_of(trainer.metrics, trainer.epoch + 1)
            row = {"epoch": float(found.epoch), "map50": found.map50, "map50_95": found.map50_95}
            self.history.append(row | {"loss": total_loss(trainer)})

    def on_model_save(self, trainer: Any) -> None:  # noqa: ANN401 - ultralytics' trainer
        stopped_before = trainer.stop and self.early_metrics is None
        if trainer.epoch + 1 == self.recipe.early_epoch() or stopped_before:
            shutil.copyfile(trainer.last, self.work / "early.pt")
            self.early_metrics = metrics_of(trainer.metrics, trainer.epoch + 1, trainer)

    def _accuracy(self) -> str:
        return f"  mAP50 {self.history[-1]['map50']:.3f}" if self.history else ""


def total_loss(trainer: Any) -> float:  # noqa: ANN401 - ultralytics' trainer
    """The running mean of box, class and distribution loss, added up."""
    return float(sum(float(part) for part in (trainer.tloss or {}).values()))


def metrics_of(found: dict[str, Any], epoch: int, trainer: Any = None) -> Metrics:  # noqa: ANN401 - theirs
    """Metric names of ultralytics as ours; per class when a validator is at hand."""
    per_class = {}
    if trainer is not None:
        box = trainer.validator.metrics.box
        per_class = {
            str(trainer.data["names"][int(i)]): float(ap) for i, ap in zip(box.ap_class_index, box.ap, strict=True)
        }
    return Metrics(
        epoch=epoch,
        map50=float(found["metrics/mAP50(B)"]),
        map50_95=float(found["metrics/mAP50-95(B)"]),
        precision=float(found["metrics/precision(B)"]),
        recall=float(found["metrics/recall(B)"]),
        per_class=per_class,
    )


def open_model(name: str, *, allow_download: bool) -> Any:  # noqa: ANN401 - ultralytics' model
    """Load a model description or weights, and refuse everything but a YOLOv8 or YOLO11 detector.

    Args:
        name: ``yolov8n.yaml`` and the like (from scratch), or a weights file.
        allow_download: whether ultralytics may fetch weights that are not on disk.

    Raises:
        UnsupportedError: weights that would have to be downloaded, and that was not allowed.
        ModelError: no such file, not readable, or not a detector of these families.
    """
    stem = Path(name).stem.lower()
    scratch = name.endswith((".yaml", ".yml"))
    known = any(stem.startswith(family) for family in FAMILIES)
    if scratch and not (known or Path(name).is_file()):
        raise ModelError(
            f"no model is called '{name}'", wanted="yolov8{n,s,m,l,x}.yaml, yolo11{n,s,m,l,x}.yaml or a file of yours"
        )
    if not scratch and not Path(name).is_file() and not (known and allow_download):
        if known:
            raise UnsupportedError(
                f"{name} is not on this disk, and nothing is downloaded unasked",
                remedy=f"put the file there, add --allow-download, or train from scratch: --model {stem}.yaml",
            )
        raise ModelError(
            f"no weights file {name}", wanted="a .pt file of a YOLOv8 or YOLO11 detector", remedy="check the path"
        )
    prepare(offline=not allow_download)
    from ultralytics import YOLO

    try:
        model = YOLO(name, verbose=False)
    except _UNREADABLE as error:
        raise ModelError(
            f"{name} is no weights file that ultralytics can read",
            found=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200],
            wanted="a .pt file of a YOLOv8 or YOLO11 detector",
            remedy="check that the file is whole, or train from scratch: --model yolov8n.yaml",
        ) from error
    head = type(model.model.model[-1]).__name__ if hasattr(model.model, "model") else type(model.model).__name__
    end_to_end = hasattr(model.model, "model") and getattr(model.model.model[-1], "end2end", False)
    if model.task != "detect" or head != "Detect" or end_to_end:
        raise ModelError(
            f"{name} is no detector of these families",
            found=f"task {model.task}, head {head}{', end to end' if end_to_end else ''}",
            wanted="a YOLOv8 or YOLO11 detection model",
            remedy="take weights of a detector, or train from scratch: --model yolov8n.yaml",
        )
    return model


def train(
    model: Any,  # noqa: ANN401 - ultralytics' model
    data: Dataset,
    recipe: Recipe,
    work: Path,
    *,
    seed: int,
    time_budget_s: float | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train for real and keep early and final weights in ``work``.

    Args:
        model: from :func:`open_model`.
        data: a data set that has passed the check.
        recipe: how to train.
        work: a folder of its own; ultralytics' output goes below it, its words to ``train.log``.
        seed: of the weights and of the order of images.
        time_budget_s: end after the epoch that would pass it; never before the early weights.
        progress: one unit for each batch.
    """
    import torch

    device = "0" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads() if device != "cpu" else (os.cpu_count() or 1)
    ears = _Ears(recipe, work, progress, time_budget_s, threads)
    for event in ("on_train_start", "on_train_batch_end", "on_train_epoch_end", "on_fit_epoch_end", "on_model_save"):
        model.add_callback(event, getattr(ears, event))
    progress.start("training", -(-len(data.split("train")) // recipe.batch) * recipe.epochs)
    try:
        with _words_to(work / "train.log"):
            model.train(**arguments(recipe, _described(data, work), work, seed=seed, device=device))
    except (RuntimeError, FileNotFoundError) as error:
        raise ModelError(
            "the training broke off",
            found=next(iter(str(error).splitlines()), type(error).__name__)[:300],
            remedy=f"read {work / 'train.log'}; when memory ran out, take a smaller --batch or --imgsz",
        ) from error
    trainer = model.trainer
    final = _stripped(Path(trainer.best if trainer.best.exists() else trainer.last), work / "final.pt")
    return Trained(
        early=_stripped(work / "early.pt", work / "early.pt"),
        early_metrics=ears.early_metrics,
        final=final,
        final_metrics=metrics_of(trainer.metrics, ears.epochs_done, trainer),
        epochs_done=ears.epochs_done,
        device=device,
        threads=threads,
        history=tuple(ears.history),
    )


def _described(data: Dataset, work: Path) -> Path:
    """Describe a data set to ultralytics by absolute paths, whose meaning does not depend on its settings."""
    description: dict[str, Any] = {"names": dict(enumerate(data.names))}
    for split in ("train", "val"):
        listing = work / f"{split}.txt"
        write_text(listing, "".join(f"{sample.image.resolve()}\n" for sample in data.split(split)))
        description[split] = str(listing)
    write_text(work / "data.yaml", yaml.safe_dump(description, sort_keys=False))
    return work / "data.yaml"


def arguments(recipe: Recipe, data: Path, work: Path, *, seed: int, device: str) -> dict[str, Any]:
    """The keyword arguments of ultralytics' ``train`` for a recipe; pure."""
    own = recipe.model_dump(exclude={"model", "augmentation", "validate_every", "early_fraction"})
    return {
        **own,
        **recipe.augmentation.model_dump(),
        "data": str(data.resolve()),
        "project": str(work),
        "name": "ultralytics",
        "exist_ok": True,
        "seed": seed,
        "deterministic": True,
        "device": device,
        "workers": 0 if device == "cpu" else 8,
        "cache": "ram",
        "amp": False,
        "plots": False,
        "verbose": False,
    }


def _stripped(source: Path, target: Path) -> Path:
    from ultralytics.utils.torch_utils import strip_optimizer

    if source != target:
        shutil.copyfile(source, target)
    strip_optimizer(target)
    return target


@contextlib.contextmanager
def _words_to(path: Path) -> Iterator[Callable[[], None]]:
    """Send ultralytics' log and prints to a file while it trains."""
    from ultralytics.utils import LOGGER

    handler = logging.FileHandler(path)
    kept, LOGGER.handlers = LOGGER.handlers, [handler]
    try:
        with path.open("a") as stream, contextlib.redirect_stdout(stream):
            yield handler.flush
    finally:
        LOGGER.handlers = kept
        handler.close()
