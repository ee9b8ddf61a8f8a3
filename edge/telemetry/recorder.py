"""Closes a telemetry window every few seconds, and whenever the release changes, and puts it into the spool."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from edge.pipeline.meter import FrameMeter, FrameTally
from edge.pipeline.model import LoadedModel
from edge.power.host import HostLoad
from edge.power.sampler import PowerSampler
from edge.supervisor import Supervisor, Tell
from edge.telemetry.clock import WallClock
from edge.telemetry.spool import Spool
from edge.telemetry.window import WindowContext, build_window
from edge.update.probe import LiveFigures
from mien import topics
from mien.messages import Event, Window, encode

_log = logging.getLogger(__name__)

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
        clock: gives windows their times; a step of it becomes an event.
        tell: takes an event when something unforeseen cost a window; the thread goes on.
    """

    def __init__(  # noqa: PLR0913 - the parts of a window, by name
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
        clock: WallClock | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._meter = meter
        self._power = power
        self._spool = spool
        self._window_s = window_s
        self._boot_id = boot_id
        self._model = model
        self._dropped = dropped
        self._stored = stored
        self._clock = clock or WallClock()
        self._host = HostLoad()
        self._recent: deque[Window] = deque(maxlen=_KEPT_WINDOWS)
        self._lock = threading.Lock()
        self._supervisor = Supervisor("telemetry", tell)
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
            if tally.seconds >= _LEAST_S or (tally.frames and not forget):
                window = self._spool.put_window(self._window(tally, model))
                self._recent.append(window)
                self._stored(window)
            self._look_at_the_clock()
            if forget:
                self._recent.clear()

    def figures(self) -> LiveFigures | None:
        """What the last windows of the running release showed together; ``None`` before the first."""
        with self._lock:
            windows = [window for window in self._recent if window.frames]
        return figures_of(windows)

    def close(self) -> None:
        """Stop, after closing the last window; a second time does nothing."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._supervisor.guarded(self._end_window)

    def _window(self, tally: FrameTally, model: LoadedModel | None) -> Window:
        context = WindowContext(
            window_id=uuid.uuid4().hex,
            sequence=0,  # the spool gives the number together with the place
            boot_id=self._boot_id,
            ended_at=max(self._clock.at(tally.ended_at_s), tally.seconds),
            power_source=self._power.name,
            release=model.release if model else None,
            precision=model.precision if model else None,
            labels=model.labels if model else (),
            cpu_percent=self._host.cpu_percent(),
            ram_bytes=self._host.ram_bytes(),
        )
        return build_window(tally, self._power.since(tally.started_at_s), context, dropped=self._dropped())

    def _look_at_the_clock(self) -> None:
        step_s = self._clock.look()
        if step_s is None:
            return
        now = self._clock.at(time.monotonic())
        _log.warning("the system clock was stepped by %+.0f s", step_s)
        event = Event(
            event_id=uuid.uuid4().hex,
            at=now,
            kind="clock_stepped",
            severity="warning",
            message=f"the system clock was stepped by {step_s:+.0f} s; windows before this have times by the old clock",
            details={"step_s": round(step_s, 3), "before": max(now - step_s, 0.0), "after": now},
        )
        self._spool.put(topics.EVENT, encode(event))

    def _run(self) -> None:
        next_s = time.monotonic() + self._window_s
        while not self._stopping.wait(max(next_s - time.monotonic(), 0.01)):
            self._supervisor.guarded(self._end_window)
            next_s = max(next_s + self._window_s, time.monotonic())

    def _end_window(self) -> None:
        self.close_window(self._model())


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
