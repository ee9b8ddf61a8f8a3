"""Takes messages off the bus into a bounded queue, and from there into the store: one transaction for each batch.

A message is acknowledged after its transaction, so a kill in between costs a repetition, and these are stored once.
Bad messages are counted and logged with the device's id, and never stop the rest.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from sqlalchemy.exc import DataError as SqlDataError
from sqlalchemy.exc import IntegrityError

from fleet.config import IngestSettings
from fleet.ingest.decoding import Arrived, Bad, read
from fleet.ingest.interface import Bus, Incoming
from fleet.store.database import Store
from fleet.store.journal import StoredEvent
from fleet.store.windows import StoredWindow
from fleet.store.work import Work
from mien.messages import Event, Status, Twin, UpdateReport, Window

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_RETRY_S = 2.0
_LOGGED_EACH = 5
_MOST_NAMED = 10_000


class Ingest:
    """Stores what devices say.

    Args:
        store: where.
        settings: batch size and waiting time.
        clock: Unix seconds.
        changed: called after a batch was stored.
        connected: called in the bus's thread after each connection.
    """

    def __init__(
        self,
        store: Store,
        settings: IngestSettings,
        *,
        clock: Callable[[], float],
        changed: Callable[[], None],
        connected: Callable[[bool], None],
    ) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._changed, self._connected = changed, connected
        self._queue: queue.Queue[Incoming] = queue.Queue(settings.queue)
        self._bus: Bus | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self.counts: Counter[str] = Counter()
        """stored, duplicate, bad, unknown_device, stale, retried."""
        self._faults: Counter[str] = Counter()

    def start(self, bus: Bus) -> None:
        """Begin."""
        self._bus = bus
        self._thread.start()
        bus.start(self)

    def stop(self) -> None:
        """Store what is queued, then end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def connected(self, *, fresh: bool) -> None:
        """The bus is connected."""
        self._connected(fresh)

    def received(self, message: Incoming) -> None:
        """A message arrived; blocks while the queue is full."""
        while not self._stopping.is_set():
            try:
                self._queue.put(message, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def store(self, batch: Sequence[Incoming]) -> None:
        """Store a batch in one transaction."""
        with self._store.write() as work:
            known = work.devices.accepted_ids()
            arrived = [message for message in map(self._read, batch) if message is not None]
            counted = [message for message in arrived if self._is_known(message, known)]
            self._apply(work, counted)

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._queue.empty()):
            batch = self._next_batch()
            if batch:
                self._store_until_done(batch)

    def _store_until_done(self, batch: list[Incoming]) -> None:
        while True:
            try:
                self._store_apart(batch)
            except Exception:  # noqa: BLE001 - supervisor: a database that is away must not end ingest
                _log.exception("a batch of %d messages could not be stored; trying again", len(batch))
                self.counts["retried"] += 1
                if self._stopping.wait(_RETRY_S):
                    return
                continue
            if self._bus is not None:
                self._bus.acknowledge(batch)
            self._changed()
            return

    def _store_apart(self, batch: Sequence[Incoming]) -> None:
        """Store a batch; when the database refuses a value in it, each message by itself, without that one."""
        try:
            self.store(batch)
        except (IntegrityError, SqlDataError) as error:
            if len(batch) == 1:
                self.counts["bad"] += 1
                _log.warning("dropped a message on %s which the database refuses: %s", batch[0].topic[:120], error.orig)
                return
            for message in batch:
                self._store_apart([message])

    def _next_batch(self) -> list[Incoming]:
        batch: list[Incoming] = []
        try:
            batch.append(self._queue.get(timeout=_POLL_S))
            end = time.monotonic() + self._settings.linger_s
            while len(batch) < self._settings.batch:
                batch.append(self._queue.get(timeout=max(0.0, end - time.monotonic())))
        except queue.Empty:
            pass
        return batch

    def _read(self, incoming: Incoming) -> Arrived | None:
        found = read(incoming)
        if isinstance(found, Bad):
            self.counts["bad"] += 1
            self._warn(found.device_id or "?", f"a bad message: {found.reason[:300]}")
            return None
        return found

    def _is_known(self, arrived: Arrived, known: frozenset[str]) -> bool:
        if arrived.device_id in known:
            return True
        self.counts["unknown_device"] += 1
        self._warn(arrived.device_id, "a message: the device is not accepted here")
        return False

    def _warn(self, device_id: str, what: str) -> None:
        """Log the first drops of a device, then ever fewer, so that one device cannot fill the disk with our log."""
        if len(self._faults) > _MOST_NAMED and device_id not in self._faults:
            device_id = "(others)"
        self._faults[device_id] += 1
        count = self._faults[device_id]
        if count <= _LOGGED_EACH or count % 10 ** (len(str(count)) - 1) == 0:
            _log.warning("device %s: dropped %s (%d so far)", device_id, what, count)

    def _apply(self, work: Work, batch: Sequence[Arrived]) -> None:
        now = self._clock()
        windows = [
            StoredWindow(device_id=item.device_id, window=item.message)
            for item in batch
            if isinstance(item.message, Window)
        ]
        events = [
            StoredEvent(device_id=item.device_id, event=item.message)
            for item in batch
            if isinstance(item.message, Event)
        ]
        stored = work.windows.add(windows, at=now) + work.events.add(events, at=now)
        self.counts["stored"] += stored
        self.counts["duplicate"] += len(windows) + len(events) - stored
        for window in windows:
            work.devices.set_window(window.device_id, window.window)
        for item in batch:
            self._apply_state(work, item, now)
        for device_id in {item.device_id for item in batch}:
            work.devices.seen(device_id, now)

    def _apply_state(self, work: Work, item: Arrived, now: float) -> None:
        if isinstance(item.message, Status):
            work.devices.set_status(item.device_id, item.message, at=now)
        elif isinstance(item.message, Twin):
            work.devices.set_twin(item.device_id, item.message)
        elif isinstance(item.message, UpdateReport):
            work.devices.set_update(item.device_id, item.message)
            if not work.rollouts.report(item.device_id, item.message):
                self.counts["stale"] += 1
