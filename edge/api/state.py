"""What the local API shows: filled by the device, read by requests, safe from any thread.

The device hands over windows and events as they come; everything else is a function that is called when somebody asks.
Totals are summed up from windows, so they lag by one window and cost nothing a frame.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.api.interface import BrokerStatus, CameraStatus, LimitsStatus, ModelPort, NoModel, Pulse, UpdateStatus
from mien.messages import Event, Window

_KEPT_WINDOWS = 90
"""A quarter of an hour of windows of ten seconds, at 8 kB each."""
_KEPT_EVENTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Summed up over all windows since the start."""

    frames: int = 0
    dropped: int = 0
    energy_j: float | None = None
    """``None`` until a window had a figure."""
    detections: dict[str, int] = field(default_factory=dict)
    """By label."""
    events: dict[tuple[str, str], int] = field(default_factory=dict)
    """By kind and severity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one moment, for those who turn it into text."""

    at: float
    """Unix seconds."""
    at_s: float
    """``time.monotonic()``."""
    started_at: float
    device_id: str
    window: Window | None
    window_age_s: float | None
    totals: Totals
    spooled: int
    spool_lost: int
    cameras: tuple[CameraStatus, ...]
    pulse: Pulse | None
    broker: BrokerStatus | None
    limits: LimitsStatus | None
    update: UpdateStatus | None
    trouble: str = ""
    """Why the model does not answer."""


class DeviceState:
    """What the API reads.

    Args:
        device_id: who this is.
        spool_length: how many messages wait for the broker.
        spool_lost: how many were given up since the start.
        model: what runs, and the way to run frames of others through it.
    """

    def __init__(
        self,
        *,
        device_id: str,
        spool_length: Callable[[], int] = lambda: 0,
        spool_lost: Callable[[], int] = lambda: 0,
        model: ModelPort | None = None,
    ) -> None:
        self.device_id = device_id
        self.spool_length = spool_length
        self.spool_lost = spool_lost
        self.model: ModelPort = model or NoModel()
        self.cameras: Callable[[], Sequence[CameraStatus]] = tuple
        self.pulse: Callable[[], Pulse | None] = lambda: None
        self.broker: Callable[[], BrokerStatus | None] = lambda: None
        """``None``: this device has no fleet."""
        self.limits: Callable[[], LimitsStatus | None] = lambda: None
        self.update: Callable[[], UpdateStatus | None] = lambda: None
        self.started_at = time.time()
        self._lock = threading.Lock()
        self._windows: deque[Window] = deque(maxlen=_KEPT_WINDOWS)
        self._window_at_s = 0.0
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._frames = self._dropped = 0
        self._energy_j: float | None = None
        self._detections: Counter[str] = Counter()
        self._event_counts: Counter[tuple[str, str]] = Counter()

    @property
    def window(self) -> Window | None:
        """The newest window."""
        with self._lock:
            return self._windows[-1] if self._windows else None

    def add_window(self, window: Window) -> None:
        """Take the window that ended now."""
        with self._lock:
            self._windows.append(window)
            self._window_at_s = time.monotonic()
            self._frames += window.frames
            self._dropped += window.dropped
            self._detections.update(window.expressions)
            if window.power.energy_j is not None:
                self._energy_j = (self._energy_j or 0.0) + window.power.energy_j

    def add_event(self, event: Event) -> None:
        """Take something a person may want to know."""
        with self._lock:
            self._events.append(event)
            self._event_counts[event.kind, event.severity] += 1

    def windows(self) -> tuple[Window, ...]:
        """The last windows, oldest first."""
        with self._lock:
            return tuple(self._windows)

    def events(self) -> tuple[Event, ...]:
        """The last events, oldest first."""
        with self._lock:
            return tuple(self._events)

    def snapshot(self) -> Snapshot:
        """Everything now."""
        now_s = time.monotonic()
        with self._lock:
            window = self._windows[-1] if self._windows else None
            age_s = now_s - self._window_at_s if window else None
            totals = Totals(
                frames=self._frames,
                dropped=self._dropped,
                energy_j=self._energy_j,
                detections=dict(self._detections),
                events=dict(self._event_counts),
            )
        return Snapshot(
            at=time.time(),
            at_s=now_s,
            started_at=self.started_at,
            device_id=self.device_id,
            window=window,
            window_age_s=age_s,
            totals=totals,
            spooled=self.spool_length(),
            spool_lost=self.spool_lost(),
            cameras=tuple(self.cameras()),
            pulse=self.pulse(),
            broker=self.broker(),
            limits=self.limits(),
            update=self.update(),
            trouble=self.model.trouble(),
        )
