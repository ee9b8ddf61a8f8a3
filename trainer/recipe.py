"""What a training is told, apart from data and weights: read from ``configs/training/*.yaml``.

The names are those of ultralytics' own training arguments where they mean the same.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mien.config import Settings


class Augmentation(Settings):
    """How images are varied; the renderer varies its faces already, so the demo's recipe keeps most of this at zero."""

    hsv_h: float = Field(default=0.015, ge=0, le=1)
    hsv_s: float = Field(default=0.7, ge=0, le=1)
    hsv_v: float = Field(default=0.4, ge=0, le=1)
    degrees: float = Field(default=0.0, ge=0, le=180)
    translate: float = Field(default=0.1, ge=0, le=1)
    scale: float = Field(default=0.5, ge=0, le=1)
    fliplr: float = Field(default=0.5, ge=0, le=1)
    mosaic: float = Field(default=1.0, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0, le=1)
    erasing: float = Field(default=0.4, ge=0, le=1)


class Recipe(Settings):
    """One way to train."""

    model: str = "yolov8n.yaml"
    """A model description (from scratch) or weights (fine-tuning)."""
    epochs: int = Field(default=100, gt=0)
    imgsz: int = Field(default=640, gt=0, multiple_of=32)
    batch: int = Field(default=16, gt=0)
    nbs: int = Field(default=64, gt=0)
    """Nominal batch: ultralytics adds up gradients until it has seen about so many images, then takes one step."""
    optimizer: Literal["auto", "SGD", "Adam", "AdamW"] = "auto"
    lr0: float = Field(default=0.01, gt=0)
    lrf: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.937, gt=0, lt=1)
    weight_decay: float = Field(default=0.0005, ge=0)
    warmup_epochs: float = Field(default=3.0, ge=0)
    warmup_bias_lr: float = Field(default=0.1, ge=0)
    cos_lr: bool = False
    box: float = Field(default=7.5, gt=0)
    cls: float = Field(default=0.5, gt=0)
    dfl: float = Field(default=1.5, gt=0)
    close_mosaic: int = Field(default=10, ge=0)
    patience: int = Field(default=100, gt=0)
    augmentation: Augmentation = Augmentation()
    validate_every: int = Field(default=1, gt=0)
    """Validation runs every so many epochs, and always at the early epoch and at the last one."""
    early_fraction: float = Field(default=0.5, gt=0, lt=1)
    """After this share of the epochs a copy of the weights is kept as ``early.pt``."""

    @model_validator(mode="after")
    def _early_before_end(self) -> Recipe:
        if self.epochs < 2:  # noqa: PLR2004 - one early and one last epoch
            raise ValueError("epochs must be at least 2, so that early weights differ from final ones")
        return self

    def early_epoch(self) -> int:
        """The epoch, counted from one, after which the early weights are kept."""
        return min(max(1, round(self.epochs * self.early_fraction)), self.epochs - 1)

    def validates(self, epoch: int) -> bool:
        """Whether validation runs after this epoch, counted from one."""
        return epoch in {self.early_epoch(), self.epochs} or epoch % self.validate_every == 0
