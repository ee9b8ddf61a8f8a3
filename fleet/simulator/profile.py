"""What simulated devices are like: hardware, sites, how long their steps take, how often they fail. Read from YAML.

Decides what a sensible profile is. What one device does with it is decided in :mod:`fleet.simulator.device`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mien.config import Settings, read_settings
from mien.configs import CONFIGS, find_config
from mien.facts import DeviceFacts
from mien.release import ReleaseRef

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
FailsIn = Literal["downloading", "verifying", "building", "installing", "probing"]
_PROBING: dict[FailsIn, float] = {"probing": 1.0}
STEPS: tuple[FailsIn, ...] = ("downloading", "verifying", "building", "installing", "probing")


class HardwareProfile(Settings):
    """One class of boards, and what it measures with a healthy release."""

    name: str
    share: Positive
    """Its weight among all; shares need not add up to one."""
    facts: DeviceFacts
    fps: Positive = 30.0
    latency_ms: Positive = 20.0
    power_w: Positive = 7.0
    temperature_c: float = 50.0
    confidence: Share = 0.8
    pace: Positive = 1.0
    """How long its update steps take, against the profile's."""


class SiteProfile(Settings):
    """A place; its devices join a group of that name."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")
    share: Positive
    latency_s: float = Field(default=0.02, ge=0)
    """Before an answer leaves the device, on average."""


class ReleaseProfile(Settings):
    """How one release differs from a healthy one on every device; factors of what the hardware shows."""

    fps: Positive = 1.0
    latency: Positive = 1.0
    power: Positive = 1.0
    confidence: Positive = 1.0
    fail: Share | None = None
    """Share of devices on which it fails; ``None``: as the profile says."""


class ReconnectProfile(Settings):
    """How a device comes back after the broker was lost: pauses that double, each with jitter."""

    first_s: Positive = 1.0
    longest_s: Positive = 60.0


class SimulationProfile(Settings):
    """All of a simulated fleet."""

    name: str = Field(default="custom", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    hardware: tuple[HardwareProfile, ...] = Field(min_length=1)
    sites: tuple[SiteProfile, ...] = Field(min_length=1)
    release: ReleaseRef | None = None
    """What devices run that were never told anything."""
    window_s: float = Field(default=10.0, ge=0.1, le=600)
    noise: Share = 0.03
    """How far figures vary from window to window."""
    steps_s: dict[FailsIn, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """How long each step of an update takes, on average; 0 where it is not named."""
    spread: float = Field(default=0.3, ge=0, le=2)
    """Of these times and of latencies: the standard deviation of their logarithm."""
    fail: Share = 0.0
    """Share of devices on which a release fails; which ones is decided by the seed."""
    fails_in: dict[FailsIn, Positive] = Field(default_factory=lambda: dict(_PROBING))
    """In which step, by weight."""
    offline: Share = 0.0
    """Share of devices that stay away."""
    returns_after_s: float | None = Field(default=None, gt=0)
    """When these come; ``None``: never."""
    verified: Share = 0.01
    """Share of devices that check each release with the TUF client and download what they would run."""
    releases: dict[str, ReleaseProfile] = Field(default_factory=dict)
    """By ``name@version``."""
    reconnect: ReconnectProfile = ReconnectProfile()

    @model_validator(mode="after")
    def _names_differ(self) -> SimulationProfile:
        for what, names in (("hardware", [h.name for h in self.hardware]), ("sites", [s.name for s in self.sites])):
            if len(set(names)) != len(names):
                raise ValueError(f"two of {what} share a name")
        for ref in self.releases:
            ReleaseRef.parse(ref)
        return self

    @property
    def steps(self) -> dict[FailsIn, float]:
        """Each step with its time."""
        return {step: self.steps_s.get(step, 0.0) for step in STEPS}


Pace = Callable[[], float]
"""A factor on the time of all update steps; may change while the simulation runs."""


def find_profile(given: str) -> SimulationProfile:
    """Read a profile by path, or by name from ``configs/simulations``.

    Raises:
        ConfigError: no such profile, or it has faults; names those which exist.
        UnsupportedError: a name was given, and mien was installed without its checkout.
    """
    return read_settings(
        SimulationProfile, find_config(given, profiles_folder(), what="simulation", option="--profile")
    )


def profiles_folder() -> Path:
    """Where the profiles that come with mien are."""
    return CONFIGS / "simulations"
