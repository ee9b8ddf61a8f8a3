"""What the demo is told: sizes, recipes and policies. Read once from ``configs/demo/*.yaml``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mien.config import Settings, read_settings
from mien.errors import UnsupportedError

ROOT = Path(__file__).resolve().parents[2]


class DataSettings(Settings):
    """How many images are rendered, and their side in pixels."""

    train: int = Field(gt=0)
    val: int = Field(gt=0)
    size: int = Field(gt=0, multiple_of=32)


class OptimizeSettings(Settings):
    """The accuracy gate and the number of calibration images."""

    gate: Path
    calibration_images: int = Field(ge=32)


class DeviceSettings(Settings):
    """How many devices start, and what their cameras show."""

    count: int = Field(ge=2, le=16)
    video_seconds: int = Field(gt=0)
    video_fps: int = Field(gt=0)
    video_size: str = Field(pattern=r"^\d+x\d+$")
    telemetry_window_s: float = Field(gt=0)


class RolloutSettings(Settings):
    """The policy files of the first release and of the two that follow."""

    everyone: Path
    careful: Path


class AccuracySettings(Settings):
    """What the final release must reach on the validation images, as fractions."""

    min_map50: float = Field(ge=0, le=1)
    max_int8_loss: float = Field(ge=0, le=1)
    """Largest loss of mAP50-95 from FP32 to INT8."""


class DemoSettings(Settings):
    """All of the demo."""

    seed: int
    data: DataSettings
    training: Path
    optimize: OptimizeSettings
    accuracy: AccuracySettings
    devices: DeviceSettings
    rollouts: RolloutSettings
    free_disk_mb: int = Field(ge=0)


def read_demo(name: str) -> DemoSettings:
    """Read ``configs/demo/<name>.yaml`` of the checkout.

    Raises:
        UnsupportedError: mien was installed without its checkout.
        ConfigError: the file has faults.
    """
    path = ROOT / "configs" / "demo" / f"{name}.yaml"
    if not path.parent.is_dir():
        raise UnsupportedError(
            "the demo needs a checkout of mien",
            found=f"no {path.parent}",
            remedy="git clone the repository, then make demo",
        )
    return read_settings(DemoSettings, path)
