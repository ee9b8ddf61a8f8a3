"""An experiment's policy: whom it is about, how the devices are shared out, and what ends it. Read from YAML.

``ab`` keeps the share that it begins with. ``bandit`` moves it, round by round, towards the release that earns more of
a stated reward; how far a round may move it, and how long a device is left alone after a switch, are stated too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fleet.rollouts.analysis_policy import AnalysisPolicy, Share
from fleet.rollouts.policy import ProbeSettings
from mien.config import Settings, read_settings
from mien.configs import CONFIGS, find_config

Number = Annotated[float, Field(allow_inf_nan=False)]
RewardMetric = Literal[
    "fps", "latency_p95_ms", "energy_per_inference_j", "temperature_c", "confidence", "detections_per_frame"
]


class Reward(Settings):
    """A metric of windows, turned into a reward between 0 and 1."""

    metric: RewardMetric
    worst: Number
    """The value that earns nothing, as do all beyond it."""
    best: Number
    """The value that earns 1, as do all beyond it; below ``worst`` where less is better."""

    @model_validator(mode="after")
    def _apart(self) -> Reward:
        if self.worst == self.best:
            raise ValueError(f"worst and best must differ; both are {self.worst:g}")
        return self


class BanditPolicy(Settings):
    """How the share follows the rewards."""

    reward: Reward
    belief: Literal["beta", "normal"] = "beta"
    """The posterior of each release's mean reward: Beta, or normal with unknown variance."""
    round_s: float = Field(default=3600.0, ge=1)
    """Rewards are looked at, and the share is moved, once in this time."""
    min_windows: int = Field(default=6, ge=1)
    """Windows that a device must have sent in a round for its mean to count as one observation."""
    max_step: float = Field(default=0.1, gt=0, le=0.5)
    """How far one round may move the share."""
    min_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Neither release's share falls below it while both are in the experiment, so that both are still learnt about."""
    rest_s: float = Field(default=21_600.0, ge=0)
    """A device is not switched again before this time is over."""
    max_switches: int = Field(default=4, ge=1)
    """Nor more often than this in all."""
    sure: float = Field(default=0.95, gt=0.5, lt=1)
    """The chance of being the better one at which a release is called the winner."""


class ExperimentPolicy(Settings):
    """How two releases are compared."""

    name: str = Field(default="custom", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    kind: Literal["ab", "bandit"] = "ab"
    group: str | None = None
    """Only devices of this group; ``None`` means all."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Only devices with all of these labels."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Of the devices, those that get the candidate; the others get the control."""
    duration_s: float = Field(default=7 * 86_400.0, gt=0)
    looks: int = Field(default=10, ge=1, le=100)
    """Verdicts, spread evenly over the time. Each is given at ``significance`` divided by their number."""
    timeout_s: float = Field(default=900.0, gt=0)
    """How long one device may take to change its release, from its first answer on."""
    max_failed: Share = 0.1
    """A release that more of its devices than this fail to take (their probes among it) is dropped."""
    analysis: AnalysisPolicy = AnalysisPolicy(unit="device", min_windows=30, required=("fps",))
    at_end: Literal["keep", "control", "winner"] = "keep"
    """Where the devices go when the time is over: each stays, all return to the control, all get the better one."""
    probe: ProbeSettings = ProbeSettings()
    bandit: BanditPolicy | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> ExperimentPolicy:
        if (self.kind == "bandit") != (self.bandit is not None):
            raise ValueError(
                "kind: bandit needs a section 'bandit' with a reward"
                if self.bandit is None
                else "a section 'bandit' belongs to kind: bandit"
            )
        if self.bandit is not None and not self.bandit.min_share <= self.share <= 1 - self.bandit.min_share:
            raise ValueError(
                f"share {self.share:g} lies outside what bandit.min_share {self.bandit.min_share:g} allows"
            )
        if self.bandit is not None and self.bandit.round_s > self.duration_s:
            raise ValueError("bandit.round_s is longer than duration_s: the share would never move")
        return self

    @property
    def per_look(self) -> AnalysisPolicy:
        """The limits of one verdict: looking often must not find by chance what one look would not."""
        return self.analysis.model_copy(update={"significance": self.analysis.significance / self.looks})


def find_experiment(given: str, folder: Path) -> ExperimentPolicy:
    """Read a policy by path, or by name from a folder.

    Raises:
        ConfigError: no such policy, or it has faults; names those which exist.
        UnsupportedError: a name was given, and mien was installed without its checkout.
    """
    return read_settings(ExperimentPolicy, find_config(given, folder, what="experiment policy", option="--policy"))


def experiments_folder() -> Path:
    """Where the policies that come with mien are: ``configs/experiments`` of the checkout."""
    return CONFIGS / "experiments"
