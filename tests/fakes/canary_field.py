"""A site in numbers: devices that differ, windows that hang together, light that changes, and a release that is worse.

What a device shows is its own level, times a disturbance that fades from window to window (an autoregressive process),
times a slow change that the whole site shares. The sizes are chosen, not measured: they are told in ``docs/analysis.md``
beside the error rates that follow from them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleet.rollouts.analysis import Reference, Sample, Verdict, consequence, judge
from fleet.rollouts.analysis_policy import AnalysisPolicy
from mien.messages import CONFIDENCE_BINS

WINDOW_S = 10.0
BEFORE = 90
"""Windows of each device before the update: fifteen minutes."""
LABELS = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
LEVELS = {
    "fps": 30.0,
    "latency_p95_ms": 20.0,
    "energy_per_inference_j": 0.3,
    "confidence": 0.7,
    "detections_per_frame": 2.0,
}
DEVICES_DIFFER = {
    "fps": 0.1,
    "latency_p95_ms": 0.15,
    "energy_per_inference_j": 0.1,
    "confidence": 0.05,
    "detections_per_frame": 0.3,
}
WINDOWS_DIFFER = {
    "fps": 0.04,
    "latency_p95_ms": 0.12,
    "energy_per_inference_j": 0.05,
    "confidence": 0.05,
    "detections_per_frame": 0.3,
}
HANGS_TOGETHER = 0.7
SITE_DRIFTS = 0.01
SEEN_IN_WINDOW = 200


@dataclass
class Camera:
    """One device."""

    name: str
    random: random.Random
    hardware: str = "orin"
    level: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    mix: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, value in LEVELS.items():
            self.level[name] = value * math.exp(self.random.gauss(0, DEVICES_DIFFER[name]))
            self.noise[name] = self.random.gauss(0, WINDOWS_DIFFER[name])
        self.level["confidence"] = min(0.9, self.level["confidence"])
        self.heat = self.random.gauss(55, 4)
        self.mix = [self.random.gammavariate(2.0, 1.0) for _ in LABELS]

    def window(self, drift: float, worse: Mapping[str, float]) -> Sample:
        """The next window, with a release that multiplies levels by ``worse``."""
        values = {}
        for name, sigma in WINDOWS_DIFFER.items():
            fresh = self.random.gauss(0, sigma * math.sqrt(1 - HANGS_TOGETHER**2))
            self.noise[name] = HANGS_TOGETHER * self.noise[name] + fresh
            values[name] = self.level[name] * math.exp(self.noise[name] + drift) * worse.get(name, 1.0)
        values["confidence"] = min(0.98, values["confidence"])
        return Sample(
            device=self.name,
            hardware=self.hardware,
            temperature_c=self.heat + self.random.gauss(0, 1) + worse.get("temperature_c", 0.0),
            expressions=self._expressions(worse),
            confidence_histogram=self._confidences(values["confidence"]),
            **values,
        )

    def _expressions(self, worse: Mapping[str, float]) -> dict[str, int]:
        shares = [self.random.gammavariate(20 * share / sum(self.mix) + 0.05, 1.0) for share in self.mix]
        shares[4] *= worse.get("happy", 1.0)
        return {label: round(SEEN_IN_WINDOW * share / sum(shares)) for label, share in zip(LABELS, shares, strict=True)}

    def _confidences(self, mean: float) -> list[int]:
        counts = [0] * CONFIDENCE_BINS
        for _ in range(SEEN_IN_WINDOW // 4):
            value = self.random.betavariate(8 * mean, 8 * (1 - mean))
            counts[min(CONFIDENCE_BINS - 1, int(value * CONFIDENCE_BINS))] += 4
        return counts


def soak(seed: int, policy: AnalysisPolicy, worse: Mapping[str, float], *, stable: int = 5) -> tuple[str, Verdict]:
    """Update one canary and look after each window, as the service does; how the wave ended, and the last verdict."""
    chance = random.Random(seed)
    canary, *others = (Camera(f"cam-{number}", random.Random(chance.random())) for number in range(stable + 1))
    drifts = _drifts(chance)
    before, earlier = [], []
    for _ in range(BEFORE):
        drift = next(drifts)
        before.append(canary.window(drift, {}))
        earlier += [other.window(drift, {}) for other in others]
    new: list[Sample] = []
    now: list[Sample] = []
    while True:
        drift = next(drifts)
        new.append(canary.window(drift, worse))
        now += [other.window(drift, {}) for other in others]
        if len(new) < policy.min_windows:
            continue
        verdict = judge(new, Reference(stable=now, before=before, stable_before=earlier), policy)
        end = consequence(verdict, policy, waited_s=len(new) * WINDOW_S)
        if end != "wait":
            return end, verdict


def _drifts(chance: random.Random) -> Iterator[float]:
    drift = 0.0
    while True:
        drift += chance.gauss(0, SITE_DRIFTS / 3)
        drift *= 0.995
        yield drift
