"""Counts what the pipeline does between two looks: latencies in a ring that was allocated once, and histograms.

Takes a few microseconds a frame and writes nothing; summing up is the window's work (:mod:`edge.telemetry.window`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.pipeline.model import STAGES, Result
from mien.messages import BRIGHTNESS_BINS, CONFIDENCE_BINS

_RING_FRAMES = 4096
_MOST_CLASSES = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameTally:
    """What was counted from ``started_at_s`` to ``ended_at_s`` (monotonic seconds)."""

    started_at_s: float
    ended_at_s: float
    frames: int
    latency_ms: npt.NDArray[np.float32]
    """``float32[n, 5]`` in the order of STAGES; the newest 4096 frames at most."""
    class_counts: npt.NDArray[np.int64]
    """``int64[1024]``: detections by class index."""
    confidence_sum: float
    confidence_histogram: npt.NDArray[np.int64]
    brightness_histogram: npt.NDArray[np.int64]
    sources: dict[str, int] = field(default_factory=dict)
    """Frames by camera; one that gave none is there as well, if the meter was told of it."""

    @property
    def seconds(self) -> float:
        """The tally's length."""
        return max(self.ended_at_s - self.started_at_s, 0.0)

    @property
    def detections(self) -> int:
        """Detections of all classes."""
        return int(self.class_counts.sum())

    @property
    def confidence_mean(self) -> float | None:
        """Mean score of all detections; ``None`` without any."""
        return min(self.confidence_sum / self.detections, 1.0) if self.detections else None


class FrameMeter:
    """A sink that counts.

    Args:
        clock: monotonic seconds.
        sources: names of the cameras that frames are expected from.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, sources: Sequence[str] = ()) -> None:
        self._clock = clock
        self._expected = tuple(sources)
        self._lock = threading.Lock()
        self._ring = np.zeros((_RING_FRAMES, len(STAGES)), np.float32)
        self._clear()

    def accept(self, result: Result) -> None:
        """Count one result."""
        found = result.detections
        with self._lock:
            self._ring[self._frames % _RING_FRAMES] = result.stages_ms
            self._frames += 1
            self._sources[result.source] = self._sources.get(result.source, 0) + 1
            self._brightness[min(int(result.luma * BRIGHTNESS_BINS / 256), BRIGHTNESS_BINS - 1)] += 1
            if len(found):
                np.add.at(self._classes, np.clip(found.classes, 0, _MOST_CLASSES - 1), 1)
                bins = np.clip((found.scores * CONFIDENCE_BINS).astype(np.int64), 0, CONFIDENCE_BINS - 1)
                np.add.at(self._confidence, bins, 1)
                self._confidence_sum += float(found.scores.sum())

    def take(self) -> FrameTally:
        """What was counted since the last call; counting starts afresh."""
        with self._lock:
            tally = FrameTally(
                started_at_s=self._started_at_s,
                ended_at_s=self._clock(),
                frames=self._frames,
                latency_ms=self._ring[: min(self._frames, _RING_FRAMES)].copy(),
                class_counts=self._classes,
                confidence_sum=self._confidence_sum,
                confidence_histogram=self._confidence,
                brightness_histogram=self._brightness,
                sources=self._sources,
            )
            self._clear()
        return tally

    @property
    def frames(self) -> int:
        """Frames counted since the last ``take``."""
        return self._frames

    @property
    def detections(self) -> int:
        """Detections counted since the last ``take``."""
        return int(self._classes.sum())

    def close(self) -> None:
        """Nothing to end."""

    def _clear(self) -> None:
        self._started_at_s = self._clock()
        self._frames = 0
        self._sources = dict.fromkeys(self._expected, 0)
        self._classes = np.zeros(_MOST_CLASSES, np.int64)
        self._confidence = np.zeros(CONFIDENCE_BINS, np.int64)
        self._brightness = np.zeros(BRIGHTNESS_BINS, np.int64)
        self._confidence_sum = 0.0
