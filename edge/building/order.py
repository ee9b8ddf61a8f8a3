"""What is to be built, and the building itself, in whatever process."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edge.engine.chooser import batch_for, builder_for
from mien.console import SILENT, Progress
from mien.release import Runtime


class BuildOrder(BaseModel):
    """An engine to build."""

    model_config = ConfigDict(frozen=True)

    model: Path
    """The portable model."""
    engine: Path
    """What it becomes."""
    runtime: Runtime
    timing: Path
    """Folder in which TensorRT keeps what it measured."""
    frames_a_call: int = 1


def build_here(order: BuildOrder, *, progress: Progress = SILENT) -> Path:
    """Build in this process.

    Raises:
        MienError: it cannot be built.
    """
    batch = batch_for(order.model, order.frames_a_call)
    builder = builder_for(order.runtime, order.timing, max_batch=batch)
    return builder.build(order.model, order.engine, progress=progress)
