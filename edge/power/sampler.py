"""Reads the power source at its interval in a thread of its own and keeps the last readings, without unfit figures.

When the source changes, what the old one read is dropped: figures of two sources are never summed up together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from edge.power.fit import fit
from edge.power.host import HostLoad
from edge.power.interface import Health, PowerSample, PowerSource, health_of
from edge.supervisor import Supervisor, Tell
from mien.errors import MienError

_log = logging.getLogger(__name__)

_MOST_READINGS = 1024
_STALE_S = 10.0
_STALE_INTERVALS = 5


class PowerSampler:
    """Collects readings of one source.

    Args:
        source: where they come from; closed with the sampler.
        interval_s: time between two readings.
        clock: monotonic seconds, the same that the source stamps its readings with.
        tell: takes an event when something unforeseen went wrong; the thread goes on.
    """

    def __init__(
        self,
        source: PowerSource,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        tell: Tell | None = None,
    ) -> None:
        self._source = source
        self._name = source.name
        self._interval_s = interval_s
        self._clock = clock
        self._host = HostLoad()
        self._readings: deque[PowerSample] = deque(maxlen=_MOST_READINGS)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failed = False
        self._supervisor = Supervisor("power", tell)
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)

    @property
    def name(self) -> str:
        """The name of the source that the readings come from."""
        return self._name

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def since(self, at_s: float) -> list[PowerSample]:
        """Readings after ``at_s`` (monotonic), led by the last one before it, so that windows join without a gap."""
        with self._lock:
            kept = list(self._readings)
        later = next((index for index, sample in enumerate(kept) if sample.at_s > at_s), len(kept))
        return kept[max(later - 1, 0) :]

    def newest(self) -> PowerSample | None:
        """The latest reading."""
        with self._lock:
            return self._readings[-1] if self._readings else None

    def health(self) -> Health:
        """What a limits policy looks at, now; a reading that is old says nothing of now.

        Figures are the newest's; a flag stands when any recent reading raised it, since an over-current event shows in
        one reading only and a policy looks less often than the sampler.
        """
        now_s, oldest_s = self._clock(), max(_STALE_S, _STALE_INTERVALS * self._interval_s)
        with self._lock:
            recent = [sample for sample in self._readings if now_s - sample.at_s <= oldest_s]
        newest = recent and replace(
            recent[-1],
            throttled=any(sample.throttled for sample in recent),
            over_current=any(sample.over_current for sample in recent),
        )
        return health_of(newest or None, at_s=now_s, memory_free=self._host.memory_free())

    def close(self) -> None:
        """Stop reading and close the source."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._source.close()

    def _run(self) -> None:
        while True:
            self._supervisor.guarded(self._take_one)
            if self._stopping.wait(self._interval_s):
                return

    def _take_one(self) -> None:
        sample = self._read()
        with self._lock:
            if self._source.name != self._name:
                self._name = self._source.name
                self._readings.clear()
            if sample is not None and (not self._readings or sample.at_s > self._readings[-1].at_s):
                self._readings.append(fit(sample))

    def _read(self) -> PowerSample | None:
        try:
            sample, self._failed = self._source.read(), False
        except MienError as error:
            if not self._failed:
                _log.warning("power source %s: %s", self.name, error)
            self._failed = True
            return None
        return sample
