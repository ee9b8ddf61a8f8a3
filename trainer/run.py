"""``mien train run`` from top to bottom: check, train, keep early and final weights, write the record."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from mien.console import SILENT, Progress
from mien.dataset import Dataset, hash_of, read_dataset
from mien.errors import ModelError, UnavailableError
from mien.files import write_json
from trainer.data.check import Report, refuse_broken
from trainer.data.reading import read_for_check
from trainer.recipe import Recipe
from trainer.record import TrainingRun, git_commit, tool_versions, weights_of

_FREE_MB = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrder:
    """What was asked for on the command line, besides the recipe."""

    data: Path
    out: Path
    seed: int
    allow_download: bool = False
    time_budget_s: float | None = None


def run(order: TrainingOrder, recipe: Recipe, progress: Progress = SILENT) -> TrainingRun:
    """Train and write ``weights/early.pt``, ``weights/final.pt``, ``curves.png`` and ``run.json`` into ``order.out``.

    Raises:
        DataError: the data set fails its check.
        ModelError: the weights are no detector, or the training diverged.
        UnsupportedError: weights would have to be downloaded.
        UnavailableError: too little disk.
    """
    from trainer.ultralytics_adapter import open_model, train

    dataset = read_dataset(order.data)
    _refuse_small_disk(order.out)
    refuse_broken(check(dataset, progress), dataset)
    model = open_model(recipe.model, allow_download=order.allow_download)
    started, clock = datetime.now(timezone.utc), time.monotonic()
    work = _fresh(order.out.resolve() / "work")  # ultralytics reads relative paths in ways of its own
    trained = train(
        model,
        dataset,
        recipe,
        work,
        seed=order.seed,
        time_budget_s=order.time_budget_s,
        progress=progress,
    )
    _refuse_nan(trained.final)
    weights = order.out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    early, final = trained.early.replace(weights / "early.pt"), trained.final.replace(weights / "final.pt")
    record = TrainingRun(
        run_id=f"{started:%Y%m%dT%H%M%SZ}-{order.seed}",
        started_at=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 1),
        model=recipe.model,
        labels=dataset.names,
        data=str(order.data),
        data_sha256=hash_of(dataset),
        seed=order.seed,
        recipe=recipe.model_dump(mode="json"),
        epochs_done=trained.epochs_done,
        early=weights_of(early, trained.early_metrics),
        final=weights_of(final, trained.final_metrics),
        device=trained.device,
        threads=trained.threads,
        tools=tool_versions(),
        python=tool_versions()["python"],
        git_commit=git_commit(Path(__file__).parent),
    )
    write_json(order.out / "run.json", record.model_dump(mode="json"))
    _plot(trained.history, order.out / "curves.png")
    return record


def check(dataset: Dataset, progress: Progress = SILENT) -> Report:
    """Read everything of a data set and judge it."""
    from trainer.data.check import judge

    return judge(read_for_check(dataset, progress))


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _refuse_small_disk(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(out).free // (1 << 20)
    if free_mb < _FREE_MB:
        raise UnavailableError(
            f"too little disk to train in {out}",
            found=f"{free_mb} MB",
            wanted=f"{_FREE_MB} MB",
            remedy="free some space",
        )


def _refuse_nan(weights: Path) -> None:
    import torch

    content = torch.load(weights, map_location="cpu", weights_only=False)
    model = content.get("ema") or content["model"]
    if not all(torch.isfinite(value).all() for value in model.state_dict().values() if value.is_floating_point()):
        raise ModelError(
            "the training diverged: weights are not finite", remedy="lower lr0 in the recipe, or look at the data"
        )


def _plot(history: tuple[dict[str, float], ...], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, loss = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for key, label in (("map50", "mAP50"), ("map50_95", "mAP50-95")):
        accuracy.plot(epochs, [row[key] for row in history], marker="o", label=label)
    accuracy.set(xlabel="epoch", ylim=(0, 1), title="validation accuracy")
    accuracy.legend()
    loss.plot(epochs, [row["loss"] for row in history], marker="o", color="tab:red")
    loss.set(xlabel="epoch", title="training loss")
    for axes in (accuracy, loss):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
