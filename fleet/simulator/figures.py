"""The telemetry windows of a simulated device: what its hardware shows with the release that it runs."""

from __future__ import annotations

from fleet.simulator.chance import Chance
from fleet.simulator.profile import HardwareProfile, ReleaseProfile
from mien.expressions import EXPRESSIONS
from mien.messages import CONFIDENCE_BINS, Percentiles, Power, Window
from mien.release import ReleaseRef

_HEALTHY = ReleaseProfile()
_FACES = 1.6
_MIX = (0.03, 0.02, 0.01, 0.02, 0.3, 0.5, 0.07, 0.05)
"""Of the expressions, in their order."""
_SPREAD_OF_SCORES = 3


class Figures:
    """Makes windows.

    Args:
        hardware: what the board shows.
        releases: how releases differ, by ``name@version``.
        chance: the device's.
        noise: how far figures vary.
    """

    def __init__(
        self, hardware: HardwareProfile, releases: dict[str, ReleaseProfile], chance: Chance, *, noise: float
    ) -> None:
        self._hardware, self._releases, self._chance, self._noise = hardware, releases, chance, noise

    def window(self, release: ReleaseRef | None, *, boot_id: str, sequence: int, start: float, end: float) -> Window:
        """One window, between two moments in Unix seconds."""
        hardware, factors = self._hardware, self._releases.get(str(release), _HEALTHY)
        fps = hardware.fps * factors.fps * self._vary("fps", sequence)
        latency = hardware.latency_ms * factors.latency * self._vary("latency", sequence)
        watts = hardware.power_w * factors.power * self._vary("power", sequence)
        confidence = min(1.0, hardware.confidence * factors.confidence * self._vary("confidence", sequence))
        frames = max(1, round(fps * (end - start)))
        faces = round(frames * _FACES * self._vary("faces", sequence))
        expressions = {name: round(faces * part) for name, part in zip(EXPRESSIONS, _MIX, strict=True)}
        energy = watts * (end - start)
        return Window.model_construct(
            window_id=f"{boot_id[:12]}-{sequence}",
            sequence=sequence,
            boot_id=boot_id,
            started_at=start,
            ended_at=end,
            release=release,
            precision="int8" if release else None,
            frames=frames,
            fps=round(fps, 2),
            latency_ms={
                "infer": Percentiles.model_construct(p50=latency * 0.6, p95=latency * 0.7, p99=latency * 0.8),
                "total": Percentiles.model_construct(p50=latency * 0.9, p95=latency, p99=latency * 1.2),
            },
            power=Power.model_construct(
                source="simulated",
                total_w=round(watts, 3),
                rails_w={"VDD_IN": round(watts, 3)},
                energy_j=round(energy, 3),
                energy_per_inference_j=round(energy / frames, 5),
            ),
            temperature_c={"cpu": hardware.temperature_c, "gpu": hardware.temperature_c + 1.5},
            cpu_percent=35.0,
            gpu_percent=60.0,
            ram_bytes=hardware.facts.memory_bytes // 3,
            ram_total_bytes=hardware.facts.memory_bytes,
            nvpmodel="MAXN",
            detections=sum(expressions.values()),
            expressions=expressions,
            confidence_mean=round(confidence, 4),
            confidence_histogram=_histogram(confidence, sum(expressions.values())),
        )

    def _vary(self, figure: str, sequence: int) -> float:
        return 1 + self._noise * (2 * self._chance.share(figure, sequence) - 1)


def _histogram(mean: float, count: int) -> tuple[int, ...]:
    """Scores around a mean, in a triangle that is wide enough to be plausible."""
    middle = min(CONFIDENCE_BINS - 1, int(mean * CONFIDENCE_BINS))
    weights = [max(0, _SPREAD_OF_SCORES + 1 - abs(place - middle)) for place in range(CONFIDENCE_BINS)]
    bins = [count * weight // sum(weights) for weight in weights]
    bins[middle] += count - sum(bins)
    return tuple(bins)
