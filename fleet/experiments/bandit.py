"""Thompson's way (1933) of sharing devices between two releases: each by its chance of being the better one.

A reward is a metric of windows between 0 and 1, and one device's mean over one round is one observation, however many
windows it sent. What is believed of a release's mean reward is a conjugate posterior: Beta with fractional successes,
or normal with unknown mean and variance (normal-inverse-gamma, whose mean is a Student's t). The chance that one mean
exceeds the other is integrated, not drawn, so that the same rewards always give the same share. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from fleet.experiments.policy import BanditPolicy, Reward

_STEPS = 2000
_WIDE = 9.0
"""Spreads to each side that the integral covers."""
_PRIOR_MEAN, _PRIOR_STRENGTH, _PRIOR_SHAPE, _PRIOR_SCALE = 0.5, 1.0, 1.0, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is believed of one release's mean reward: a prior, and the sums of what was observed."""

    kind: Literal["beta", "normal"]
    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def after(self, rewards: Sequence[float]) -> Belief:
        """The belief with more observations."""
        return Belief(
            kind=self.kind,
            count=self.count + len(rewards),
            total=self.total + sum(rewards),
            squares=self.squares + sum(reward * reward for reward in rewards),
        )

    @property
    def beta(self) -> tuple[float, float]:
        """Alpha and beta of the Beta posterior; the prior is uniform."""
        return 1.0 + self.total, 1.0 + self.count - self.total

    @property
    def student(self) -> tuple[float, float, float]:
        """Degrees of freedom, place and scale of the mean's marginal posterior (Murphy 2007, section 3)."""
        strength = _PRIOR_STRENGTH + self.count
        place = (_PRIOR_STRENGTH * _PRIOR_MEAN + self.total) / strength
        shape = _PRIOR_SHAPE + self.count / 2
        spread = self.squares + _PRIOR_STRENGTH * _PRIOR_MEAN**2 - strength * place**2
        scale = _PRIOR_SCALE + max(0.0, spread) / 2
        return 2 * shape, place, math.sqrt(scale / (shape * strength))

    @property
    def mean(self) -> float:
        """The expected mean reward."""
        if self.kind == "normal":
            return self.student[1]
        alpha, beta = self.beta
        return alpha / (alpha + beta)

    @property
    def spread(self) -> float:
        """How uncertain it is: standard deviation for Beta, scale for Student's t."""
        if self.kind == "normal":
            return self.student[2]
        alpha, beta = self.beta
        return math.sqrt(alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1)))

    def density(self, value: float) -> float:
        """The posterior density at a mean reward."""
        if self.kind == "normal":
            degrees, place, scale = self.student
            z = (value - place) / scale
            log = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(math.pi * degrees) / 2
            return math.exp(log - math.log(scale) - (degrees + 1) / 2 * math.log1p(z * z / degrees))
        alpha, beta = self.beta
        if not 0 < value < 1:
            return 0.0
        log = math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
        return math.exp(log + (alpha - 1) * math.log(value) + (beta - 1) * math.log1p(-value))


def reward_of(value: float, reward: Reward) -> float:
    """A metric's value as a reward between 0 and 1."""
    return min(1.0, max(0.0, (value - reward.worst) / (reward.best - reward.worst)))


def chance_better(candidate: Belief, control: Belief) -> float:
    """The chance that the candidate's mean reward is the higher one: the integral of p(x) F(x)."""
    low = min(belief.mean - _WIDE * belief.spread for belief in (candidate, control))
    high = max(belief.mean + _WIDE * belief.spread for belief in (candidate, control))
    if candidate.kind == "beta":
        low, high = max(0.0, low), min(1.0, high)
    step = (high - low) / _STEPS
    places = [low + (index + 0.5) * step for index in range(_STEPS)]
    mine, theirs = _masses(candidate.density, places), _masses(control.density, places)
    below = [0.0, *accumulate(theirs)]
    return sum(mass * (before + own / 2) for mass, before, own in zip(mine, below, theirs, strict=False))


def next_share(share: float, chance: float, policy: BanditPolicy) -> float:
    """The share of the next round: towards the chance, by one step at most, and never below the least share."""
    wanted = min(1 - policy.min_share, max(policy.min_share, chance))
    moved = min(share + policy.max_step, max(share - policy.max_step, wanted))
    return round(moved, 6)


def curve(belief: Belief, points: int = 101) -> list[tuple[float, float]]:
    """The posterior density over rewards 0..1, for a plot."""
    places = [(index + 0.5) / points for index in range(points)]
    return [(round(place, 4), round(belief.density(place), 4)) for place in places]


def _masses(density: Callable[[float], float], places: Sequence[float]) -> list[float]:
    found = [density(place) for place in places]
    total = sum(found)
    return [value / total for value in found]
