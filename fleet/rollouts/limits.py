"""How many of a wave must succeed, how many may fail, how many may be away at once. Read from a policy; pure."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from mien.config import Settings

Failure = Literal["FAILED", "TIMED_OUT", "REJECTED"]
_ROUNDING = 1e-9
"""Shares such as 0.05 have no exact form; without this, 5 % of 20 would be less than 1."""


class Limit(Settings):
    """A number of devices, or a share of a group of them."""

    count: int | None = Field(default=None, ge=0)
    percent: float | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Limit:
        if (self.count is None) == (self.percent is None):
            raise ValueError("a limit needs exactly one of count and percent")
        return self

    @classmethod
    def share(cls, share: float) -> Limit:
        """A limit of 0..1 of a group."""
        return cls(percent=100 * share)

    def at_most(self, size: int) -> int:
        """So many of a group of ``size`` and no more."""
        return self.count if self.count is not None else math.floor((self.percent or 0) / 100 * size + _ROUNDING)

    def at_least(self, size: int) -> int:
        """So many of a group of ``size`` or more; never more than all of them."""
        wanted = self.count if self.count is not None else math.ceil((self.percent or 0) / 100 * size - _ROUNDING)
        return min(wanted, size)

    def __str__(self) -> str:
        """``3`` or ``5 %``."""
        return str(self.count) if self.count is not None else f"{self.percent:g} %"


class ErrorLimit(Limit):
    """How many devices of a wave may fail; one more and the rollout halts.

    Without ``count`` and ``percent`` only the limits by type hold.
    """

    min_sample: int = Field(default=1, ge=1)
    """So many devices of the wave must have ended before failures are counted; all of them in a smaller wave."""
    by_type: dict[Failure, Limit] = Field(default_factory=dict)
    """Limits for one kind of failure, besides the one for all."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> ErrorLimit:
        given = [name for name in ("count", "percent") if getattr(self, name) is not None]
        if len(given) > 1 or not (given or self.by_type):
            raise ValueError("an error threshold needs one of count and percent, or limits by_type")
        return self

    @property
    def limits_all(self) -> bool:
        """Whether there is a limit on failures of every kind together."""
        return self.count is not None or self.percent is not None


class Budget(Settings):
    """How many devices of one site may be away at once: offline, or busy with the update.

    Exactly one of ``max_unavailable`` and ``min_available``.
    """

    by: str = Field(min_length=1, max_length=63)
    """The label whose values are the sites; devices without it form one site together."""
    max_unavailable: Limit | None = None
    min_available: Limit | None = None

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Budget:
        if (self.max_unavailable is None) == (self.min_available is None):
            raise ValueError("a budget needs exactly one of max_unavailable and min_available")
        return self

    def away_at_most(self, size: int) -> int:
        """So many devices of a site of ``size`` may be away."""
        if self.max_unavailable is not None:
            return self.max_unavailable.at_most(size)
        least = self.min_available
        return size if least is None else size - (least.count if least.count is not None else least.at_least(size))


class Retry(Settings):
    """How often a device is asked again. One that refused, or took the release back itself, is never asked again."""

    failed: int = Field(default=0, ge=0, le=10)
    """After an update that ended before the device had switched."""
    timed_out: int = Field(default=0, ge=0, le=10)
    pause_s: float = Field(default=60.0, ge=0, le=7 * 86_400)
    """Before the next attempt; doubled with each."""


class Offline(Settings):
    """What becomes of a device that is chosen and cannot be reached."""

    then: Literal["wait", "skip", "count"] = "wait"
    """``wait`` for it; ``skip`` it, so that the wave goes on without it and it gets the release when it returns; or
    ``count`` it as TIMED_OUT."""
    after_s: float = Field(default=3600.0, gt=0)
