"""Takes messages off the bus into a bounded queue, and from there into the store: one transaction for each batch.

A message is acknowledged after its transaction, so a kill in between costs a repetition, and these are stored once.
The bus's thread reads the next messages while a batch is on its way to the disk; a full queue holds that thread, and so
the broker. Bad messages are counted and logged with the device's id, and never stop the rest.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.exc import DataError as SqlDataError
from sqlalchemy.exc import IntegrityError

from fleet.config import IngestSettings
from fleet.ingest.decoding import Arrived, Bad, read
from fleet.ingest.intake import Intake, Taken
from fleet.ingest.interface import Bus, Incoming
from fleet.store.database import Store, is_conflict
from fleet.store.journal import StoredEvent
from fleet.store.newer import LastWindow, is_newer
from fleet.store.windows import StoredWindow
from fleet.store.work import Work
from mien.messages import Event, Status, Twin, UpdateReport, Window

_log = logging.getLogger(__name__)
_POLL_S = 0.2
_RETRY_S = 2.0
_CONFLICT_S = 0.02
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
        self._store_in, self._settings, self._clock = store, settings, clock
        self._changed, self._connected = changed, connected
        self._intake = Intake(settings.queue)
        self._bus: Bus | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self.counts: Counter[str] = Counter()
        """stored, duplicate, bad, unknown_device, stale, retried."""
        self.taken = 0
        """Messages that came from the bus."""
        self._done = 0
        self._faults: Counter[str] = Counter()

    def start(self, bus: Bus) -> None:
        """Begin."""
        self._bus = bus
        self._thread.start()
        bus.start(self)

    def stop(self) -> None:
        """Store what is queued, then end."""
        self._stopping.set()
        self._intake.close()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_idle(self) -> bool:
        """Whether all that came is stored."""
        return self._done == self.taken

    def connected(self, *, fresh: bool) -> None:
        """The bus is connected."""
        self._connected(fresh)

    def received(self, message: Incoming) -> None:
        """A message arrived; blocks while the queue is full."""
        self.taken += 1
        self._intake.put((message, read(message)))

    def store(self, batch: Sequence[Incoming]) -> None:
        """Store a batch in one transaction."""
        self._store_apart(self._good([(message, read(message)) for message in batch]))

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._intake.is_empty):
            batch = self._intake.take(self._settings.batch, linger_s=self._settings.linger_s, wait_s=_POLL_S)
            if batch:
                self._store_until_done(batch)

    def _store_until_done(self, batch: Sequence[Taken]) -> None:
        arrived = self._good(batch)
        while True:
            try:
                self._store_apart(arrived)
            except Exception as error:  # noqa: BLE001 - supervisor: a database that is away must not end ingest
                self.counts["retried"] += 1
                if is_conflict(error):
                    self._stopping.wait(_CONFLICT_S)
                    continue
                _log.exception("a batch of %d messages could not be stored; trying again", len(batch))
                if self._stopping.wait(_RETRY_S):
                    return
                continue
            if self._bus is not None:
                self._bus.acknowledge([message for message, _ in batch])
            self._done += len(batch)
            self._changed()
            return

    def _store_apart(self, batch: Sequence[Arrived]) -> None:
        """Store a batch; when the database refuses a value in it, halve it until only that message is left out."""
        if not batch:
            return
        try:
            self._store(batch)
        except (IntegrityError, SqlDataError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._store_apart(batch[:middle])
                self._store_apart(batch[middle:])
                return
            self.counts["bad"] += 1
            self._warn(batch[0].device_id, f"a message which the database refuses: {str(error.orig)[:300]}")

    def _store(self, batch: Sequence[Arrived]) -> None:
        now = self._clock()
        counts: Counter[str] = Counter()
        with self._store_in.write(beside=True) as work:
            known = work.devices.hear({item.device_id for item in batch})
            counted = [item for item in batch if item.device_id in known]
            _apply(work, counted, known, now=now, counts=counts)
        self.counts.update(counts)
        if len(counted) < len(batch):
            self._count_strangers(batch, known)

    def _count_strangers(self, batch: Sequence[Arrived], known: Mapping[str, LastWindow | None]) -> None:
        for item in batch:
            if item.device_id not in known:
                self.counts["unknown_device"] += 1
                self._warn(item.device_id, "a message: the device is not accepted here")

    def _good(self, batch: Sequence[Taken]) -> list[Arrived]:
        arrived = []
        for _, found in batch:
            if isinstance(found, Arrived):
                arrived.append(found)
            elif found is not None:
                self._count_bad(found)
        return arrived

    def _count_bad(self, found: Bad) -> None:
        self.counts["bad"] += 1
        self._warn(found.device_id or "?", f"a bad message: {found.reason[:300]}")

    def _warn(self, device_id: str, what: str) -> None:
        """Log the first drops of a device, then ever fewer, so that one device cannot fill the disk with our log."""
        if len(self._faults) > _MOST_NAMED and device_id not in self._faults:
            device_id = "(others)"
        self._faults[device_id] += 1
        count = self._faults[device_id]
        if count <= _LOGGED_EACH or count % 10 ** (len(str(count)) - 1) == 0:
            _log.warning("device %s: dropped %s (%d so far)", device_id, what, count)


def _apply(
    work: Work, batch: Sequence[Arrived], known: Mapping[str, LastWindow | None], *, now: float, counts: Counter[str]
) -> None:
    """Bring a batch of devices that count into the store, in the order of arrival where it matters."""
    windows: list[StoredWindow] = []
    events: list[StoredEvent] = []
    states: list[Arrived] = []
    for item in batch:
        if isinstance(item.message, Window):
            windows.append(StoredWindow(device_id=item.device_id, window=item.message, body=item.body))
        elif isinstance(item.message, Event):
            events.append(StoredEvent(device_id=item.device_id, event=item.message))
        else:
            states.append(item)
    stored = work.windows.add(windows, at=now) + work.events.add(events, at=now)
    counts["stored"] += stored
    counts["duplicate"] += len(windows) + len(events) - stored
    work.devices.heard({item.device_id for item in batch}, _last_windows(windows, known, now), at=now)
    work.devices.load({item.device_id for item in states})
    for item in states:
        _apply_state(work, item, now, counts)


def _last_windows(
    windows: Sequence[StoredWindow], known: Mapping[str, LastWindow | None], now: float
) -> dict[str, str]:
    """The last window of each device that sent one newer than what is known, JSON."""
    last = dict(known)
    newest: dict[str, StoredWindow] = {}
    for item in windows:
        window = item.window
        if is_newer(window, last[item.device_id], now=now):
            newest[item.device_id] = item
            last[item.device_id] = LastWindow(
                sequence=window.sequence, boot_id=window.boot_id, ended_at=window.ended_at
            )
    return {device_id: item.text for device_id, item in newest.items()}


def _apply_state(work: Work, item: Arrived, now: float, counts: Counter[str]) -> None:
    if isinstance(item.message, Status):
        work.devices.set_status(item.device_id, item.message, at=now)
    elif isinstance(item.message, Twin):
        work.devices.set_twin(item.device_id, item.message)
    elif isinstance(item.message, UpdateReport):
        work.devices.set_update(item.device_id, item.message)
        kept = work.rollouts.report(item.device_id, item.message)
        if not kept and not work.experiments.is_deployed(item.device_id, item.message.deployment_id):
            counts["stale"] += 1
