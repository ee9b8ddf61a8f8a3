"""A rollout's policy: waves, thresholds, analysis limits. Read from YAML; every fault is reported at once.

Decides what a sensible policy is. Who falls into which wave is decided in :mod:`fleet.rollouts.cohorts`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from pydantic import Field, model_validator

from fleet.rollouts.analysis_policy import AnalysisPolicy, Share
from mien.config import Settings, read_settings
from mien.configs import CONFIGS, find_config
from mien.messages import ProbePolicy


class WavePolicy(Settings):
    """One wave: a number of devices, a share of all, or those with certain labels."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9 %_-]{0,39}$")
    count: int | None = Field(default=None, ge=1)
    percent: float | None = Field(default=None, gt=0, le=100)
    """Share of all devices that have the release when the wave is done; cumulative over waves."""
    labels: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> WavePolicy:
        given = [name for name in ("count", "percent", "labels") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a wave needs exactly one of count, percent, labels; found {', '.join(given) or 'none'}")
        return self


class ProbeSettings(Settings):
    """What a device must see of a new engine before it commits; see :class:`mien.messages.ProbePolicy`."""

    reference_margin: Share = 0.05
    live_seconds: float = Field(default=5.0, ge=0)
    min_live_frames: int = Field(default=10, ge=0)
    min_fps_ratio: Share = 0.7
    max_latency_ratio: float = Field(default=1.5, ge=1)
    max_power_ratio: float = Field(default=1.5, ge=1)
    min_confidence_ratio: Share = 0.7

    def message(self) -> ProbePolicy:
        """The same, for the wire."""
        return ProbePolicy.model_validate(self.model_dump())


class RolloutPolicy(Settings):
    """How a release is rolled out."""

    name: str = Field(default="custom", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    group: str | None = None
    """Only devices of this group; ``None`` means all."""
    waves: tuple[WavePolicy, ...] = Field(min_length=1, max_length=50)
    success_threshold: float = Field(default=1.0, gt=0, le=1)
    """Share of a wave that must succeed before the next begins."""
    error_threshold: float = Field(default=0.0, ge=0, lt=1)
    """Share of a wave that may fail; one more and the rollout halts."""
    timeout_s: float = Field(default=600.0, gt=0)
    """How long one device may take, from its first answer on."""
    revert: bool = True
    """Take the release back from devices that have it when the rollout halts by itself."""
    approval: bool = False
    """Whether a person must approve before it may start."""
    analysis: AnalysisPolicy | None = AnalysisPolicy()
    probe: ProbeSettings = ProbeSettings()

    @model_validator(mode="after")
    def _waves_rise(self) -> RolloutPolicy:
        shares = [wave.percent for wave in self.waves if wave.percent is not None]
        if any(later <= earlier for earlier, later in itertools.pairwise(shares)):
            raise ValueError(f"percentages of waves are cumulative and must rise; found {shares}")
        if len({wave.name for wave in self.waves}) != len(self.waves):
            raise ValueError("two waves share a name")
        return self


def find_policy(given: str, folder: Path) -> RolloutPolicy:
    """Read a policy by path, or by name from a folder.

    Raises:
        ConfigError: no such policy, or it has faults; names those which exist.
        UnsupportedError: a name was given, and mien was installed without its checkout.
    """
    return read_settings(RolloutPolicy, find_config(given, folder, what="rollout policy", option="--policy"))


def policies_folder() -> Path:
    """Where the policies that come with mien are: ``configs/rollouts`` of the checkout."""
    return CONFIGS / "rollouts"
