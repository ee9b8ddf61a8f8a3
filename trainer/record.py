"""The training record: what went in, what came out, on what it ran. Written once, as ``run.json``."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mien.files import sha256_of

TOOLS = ("torch", "torchvision", "ultralytics", "numpy", "opencv-python")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Metrics(_Part):
    """Validation metrics of one set of weights, as ultralytics measured them; fractions, not percent."""

    epoch: int
    map50: float
    map50_95: float
    precision: float
    recall: float
    per_class: dict[str, float] = {}
    """mAP50-95 by class."""


class Weights(_Part):
    """A weights file beside the record."""

    path: str
    sha256: str
    size_bytes: int
    metrics: Metrics | None = None


class TrainingRun(_Part):
    """All of one training."""

    schema_version: int = 1
    run_id: str
    started_at: str
    seconds: float
    model: str
    labels: tuple[str, ...]
    data: str
    data_sha256: str
    seed: int
    recipe: dict[str, Any]
    epochs_done: int
    early: Weights
    final: Weights
    device: str
    threads: int
    tools: dict[str, str]
    python: str
    git_commit: str | None = None


def weights_of(path: Path, metrics: Metrics | None) -> Weights:
    """Describe a weights file."""
    return Weights(path=f"weights/{path.name}", sha256=sha256_of(path), size_bytes=path.stat().st_size, metrics=metrics)


def tool_versions() -> dict[str, str]:
    """Versions of the libraries that decide about the result."""
    found = {}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found | {"python": platform.python_version()}


def git_commit(folder: Path) -> str | None:
    """The checkout's commit, with ``-dirty`` when files differ from it; ``None`` outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
