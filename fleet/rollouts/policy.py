"""A rollout's policy: waves, thresholds, analysis limits. Read from YAML; every fault is reported at once.

Decides what a sensible policy is. Who falls into which wave is decided in :mod:`fleet.rollouts.cohorts`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from fleet.rollouts.analysis_policy import AnalysisPolicy, Share
from fleet.rollouts.limits import Budget, ErrorLimit, Limit, Offline, Retry
from mien.config import Settings, read_settings
from mien.configs import CONFIGS, find_config
from mien.errors import ConfigError
from mien.messages import ProbePolicy
from mien.windows import MaintenanceWindow, zone_named

_Success = Annotated[float, Field(gt=0, le=1)] | Limit
_Errors = Annotated[float, Field(ge=0, lt=1)] | ErrorLimit


class WavePolicy(Settings):
    """One wave: a number of devices, a share of all, or those with certain labels."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9 %_-]{0,39}$")
    count: int | None = Field(default=None, ge=1)
    percent: float | None = Field(default=None, gt=0, le=100)
    """Share of all devices that have the release when the wave is done; cumulative over waves."""
    labels: dict[str, str] | None = None
    success_threshold: _Success | None = None
    """For this wave, in place of the policy's."""
    error_threshold: _Errors | None = None
    """For this wave, in place of the policy's."""
    approval: bool = False
    """Whether a person must approve before this wave begins."""

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
    success_threshold: _Success = 1.0
    """How many of a wave must succeed before the next begins: a share 0..1, or a limit."""
    error_threshold: _Errors = 0.0
    """How many of a wave may fail; one more and the rollout halts: a share 0..1, or a limit."""
    on_error: Literal["halt", "pause"] = "halt"
    """``halt`` ends the rollout; ``pause`` asks a person, whose ``resume`` forgives what failed so far."""
    concurrency: int | None = Field(default=None, ge=1)
    """Devices that work on the update at once, at most."""
    budget: Budget | None = None
    """How many devices of one site may be away at once."""
    timeout_s: float = Field(default=600.0, gt=0)
    """How long one device may take, from its first answer on, without the time in which it waits for a window."""
    offline: Offline = Offline()
    retry: Retry = Retry()
    starts_at: AwareDatetime | None = None
    """Nobody is told before."""
    ends_at: AwareDatetime | None = None
    """Nobody is told from then on; what is left waits for a person."""
    windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When devices may be told, in the service's view (UTC where a window names no time zone); empty: at any time."""
    download_windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When a device may download, in its own time zone; see :class:`mien.messages.Desired`."""
    install_windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=32)
    """When a device may switch, likewise."""
    max_bytes_per_s: int | None = Field(default=None, ge=1024)
    """Of each device's download."""
    jitter_s: float = Field(default=0.0, ge=0, le=7 * 86_400)
    """Devices begin spread over this time. A rollback never waits."""
    revert: bool = True
    """Take the release back from devices that have it when the rollout halts by itself."""
    approval: bool = False
    """Whether a person must approve before it may start."""
    two_person: bool = False
    """Whether who made the rollout may not be the one who approves it."""
    analysis: AnalysisPolicy | None = AnalysisPolicy()
    probe: ProbeSettings = ProbeSettings()

    @model_validator(mode="after")
    def _can_be_met(self) -> RolloutPolicy:
        faults = [*_waves(self), *_thresholds(self), *_times(self)]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def success_of(self, wave: int) -> Limit:
        """How many devices of a wave must succeed."""
        found = self.waves[wave].success_threshold or self.success_threshold
        return found if isinstance(found, Limit) else Limit.share(found)

    def errors_of(self, wave: int) -> ErrorLimit:
        """How many devices of a wave may fail."""
        own = self.waves[wave].error_threshold
        found = self.error_threshold if own is None else own
        return found if isinstance(found, ErrorLimit) else ErrorLimit(percent=100 * found)


def _waves(policy: RolloutPolicy) -> Iterator[str]:
    shares = [wave.percent for wave in policy.waves if wave.percent is not None]
    if any(later <= earlier for earlier, later in itertools.pairwise(shares)):
        yield f"percentages of waves are cumulative and must rise; found {shares}"
    if len({wave.name for wave in policy.waves}) != len(policy.waves):
        yield "two waves share a name"
    if any(wave.percent == 100 for wave in policy.waves[:-1]):  # noqa: PLR2004 - all of them
        yield "a wave of 100 percent leaves no device for the waves after it"
    if policy.two_person and not (policy.approval or any(wave.approval for wave in policy.waves)):
        yield "two_person without an approval asks nobody; set approval as well"


def _thresholds(policy: RolloutPolicy) -> Iterator[str]:
    for number, wave in enumerate(policy.waves):
        if wave.count is None:
            continue
        success, errors = policy.success_of(number), policy.errors_of(number)
        if success.count is not None and success.count > wave.count:
            yield (
                f"wave {wave.name} has {wave.count} devices and can never reach its success_threshold of "
                f"{success.count}"
            )
        if errors.min_sample > wave.count:
            yield (
                f"wave {wave.name} has {wave.count} devices and can never reach the min_sample of {errors.min_sample} "
                "of its error_threshold"
            )
    limit = policy.budget.max_unavailable if policy.budget else None
    if limit is not None and 0 in {limit.count, limit.percent}:
        yield "a budget whose max_unavailable is 0 lets no device update"


def _times(policy: RolloutPolicy) -> Iterator[str]:
    begin, end = policy.starts_at, policy.ends_at
    if begin is not None and end is not None and end <= begin:
        yield f"ends_at ({end.isoformat()}) is not after starts_at ({begin.isoformat()})"
    windows = (*policy.windows, *policy.download_windows, *policy.install_windows)
    named = {window.time_zone for window in windows if window.time_zone}
    for name in sorted(named):
        try:
            zone_named(name)
        except ConfigError as error:
            yield str(error)


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
