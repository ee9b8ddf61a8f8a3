"""Closes a telemetry window every few seconds, and whenever the release changes, and puts it into the spool."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import LoadedModel
from edge.power.host import HostLoad
from edge.power.sampler import PowerSampler
from edge.telemetry.spool import Spool
from edge.telemetry.window import WindowContext, build_window
from edge.update.probe import LiveFigures
from mien import topics
from mien.messages import Window, encode

_KEPT_WINDOWS = 3
_LEAST_S = 0.2
"""A window shorter than this, left over at a change of release, says nothing and is not sent."""


class Recorder:
    """Sums up what runs.

    Args:
        meter: counts frames; a sink of the pipeline.
        power: power readings.
        spool: where windows go.
        window_s: length of a window.
        boot_id: stands in every window.
        model: what runs now.
        dropped: frames let go since the last call.
        stored: told of every window that went into the spool.
    """

    def __init__(
        self,
        *,
        meter: FrameMeter,
        power: PowerSampler,
        spool: Spool,
        window_s: float,
        boot_id: str,
        model: Callable[[], LoadedModel | None],
        dropped: Callable[[], int],
        stored: Callable[[Window], None],
    ) -> None:
        self._meter = meter
        self._power = power
        self._spool = spool
        self._window_s = window_s
        self._boot_id = boot_id
        self._model = model
        self._dropped = dropped
        self._stored = stored
        self._host = HostLoad()
        self._recent: deque[Window] = deque(maxlen=_KEPT_WINDOWS)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Start the thread; the first window begins now."""
        self._meter.take()
        self._thread.start()

    def close_window(self, model: LoadedModel | None, *, forget: bool = False) -> None:
        """End the window of ``model`` now; the next begins.

        Args:
            model: what ran in it.
            forget: the release changes: windows so far say nothing about the next one.
        """
        with self._lock:
            tally = self._meter.take()
            if tally.seconds >= _LEAST_S:
                context = WindowContext(
                    window_id=uuid.uuid4().hex,
                    sequence=self._spool.next_number("window"),
                    boot_id=self._boot_id,
                    ended_at=time.time(),
                    power_source=self._power.name,
                    release=model.release if model else None,
                    precision=model.precision if model else None,
                    labels=model.labels if model else (),
                    cpu_percent=self._host.cpu_percent(),
                    ram_bytes=self._host.ram_bytes(),
                )
                window = build_window(tally, self._power.since(tally.started_at_s), context, dropped=self._dropped())
                self._spool.put(topics.WINDOW, encode(window))
                self._recent.append(window)
                self._stored(window)
            if forget:
                self._recent.clear()

    def figures(self) -> LiveFigures | None:
        """What the last windows of the running release showed together; ``None`` before the first."""
        with self._lock:
            windows = [window for window in self._recent if window.frames]
        return figures_of(windows)

    def close(self) -> None:
        """Stop, after closing the last window."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self.close_window(self._model())

    def _run(self) -> None:
        next_s = time.monotonic() + self._window_s
        while not self._stopping.wait(max(next_s - time.monotonic(), 0.01)):
            self.close_window(self._model())
            next_s = max(next_s + self._window_s, time.monotonic())


def figures_of(windows: list[Window]) -> LiveFigures | None:
    """Several windows as one look at live frames."""
    if not windows:
        return None
    seconds = sum(window.ended_at - window.started_at for window in windows)
    frames = sum(window.frames for window in windows)
    detections = sum(window.detections for window in windows)
    sure = [(window.confidence_mean, window.detections) for window in windows if window.confidence_mean is not None]
    powers = [window.power.total_w for window in windows if window.power.total_w is not None]
    latencies = sorted(window.latency_ms["total"].p95 for window in windows if "total" in window.latency_ms)
    return LiveFigures(
        frames=frames,
        fps=frames / seconds if seconds > 0 else 0.0,
        latency_p95_ms=latencies[len(latencies) // 2] if latencies else None,
        power_w=sum(powers) / len(powers) if powers else None,
        detections=detections,
        confidence_mean=sum(mean * count for mean, count in sure) / detections if detections else None,
    )
