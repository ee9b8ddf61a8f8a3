"""Offers the engine that was built here to the fleet, once its release passed its probe and was committed.

Runs beside everything else, on a thread of its own, and only where the site shares engines. What was sent is not sent
again: the fleet says what of it is there. A record is made from what stands on the disk alone, so it is the same after
a restart, and so is its name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from edge.engine.tensorrt.sidecar import sidecar_of
from edge.supervisor import Supervisor
from edge.transport.fleet_http import EngineStanding
from edge.update.journal import Journal, UpdateRecord
from edge.update.slots import Installed, SlotStore
from mien.engines import PIECE_BYTES, EngineFile, EngineRecord, runtime_version
from mien.errors import MienError, UnavailableError
from mien.facts import DeviceFacts
from mien.files import sha256_of, write_text
from mien.lifecycle import UpdateState

_log = logging.getLogger(__name__)

_SETTLED = "offered.json"
_ENDS = frozenset({"rejected", "signed", "withdrawn", "waiting", "checking"})
"""There is nothing more for this device to do."""
_LATER_S = 3600.0
_LONGEST_GOODBYE_S = 20.0
"""So long is a piece waited for that is on its way when the device ends; the fleet keeps what came."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 3600.0
_MOST_KEPT = 32
_FRUITLESS = 3


class OfferWay(Protocol):
    """The signed way to the fleet."""

    def offer(self, engine_id: str, record: bytes) -> EngineStanding:
        """Offer an engine by its record."""

    def send(self, place: str, offset: int, piece: bytes) -> EngineStanding:
        """Send a piece of it."""


def record_of(
    active: Installed | None, update: UpdateRecord | None, facts: DeviceFacts, device_id: str
) -> EngineRecord | None:
    """The record of the engine that runs, if it was built here and its update measured and committed it.

    Args:
        active: what runs.
        update: the last update.
        facts: of this machine.
        device_id: who this is.
    """
    if active is None or update is None or not active.record.built or not update.built:
        return None
    if update.state is not UpdateState.COMMITTED or update.desired.manifest_sha256 != active.record.manifest_sha256:
        return None
    agreement = update.probe.reference_agreement if update.probe is not None else None
    version = runtime_version(facts, active.record.runtime)
    if agreement is None or version is None or active.record.hardware_class != facts.hardware_class():
        return None
    return EngineRecord(
        release=active.release,
        manifest_sha256=active.record.manifest_sha256,
        variant_sha256=active.variant().sha256,
        precision=active.record.precision,
        runtime=active.record.runtime,
        runtime_version=version,
        hardware_class=active.record.hardware_class,
        engine=_file(active.engine_path),
        sidecar=_file(sidecar_of(active.engine_path)) if active.record.runtime == "tensorrt" else None,
        reference_agreement=agreement,
        device_id=device_id,
        deployment_id=update.desired.deployment_id,
        build_s=active.record.build_s or 0.0,
        peak_memory_bytes=active.record.build_peak_bytes,
    )


class EngineOffers:
    """Offers what was built here.

    Args:
        slots: what runs.
        journal: how it came here.
        facts: of this machine.
        device_id: who this is.
        way: to the fleet.
        tell: takes an event: kind, severity, message, details.
        max_bytes_per_s: the site's limit.
        first_pause_s: after a fault of the network; doubled each time.
    """

    def __init__(
        self,
        slots: SlotStore,
        journal: Journal,
        facts: DeviceFacts,
        device_id: str,
        way: OfferWay,
        *,
        tell: Callable[[str, str, str, Sequence[tuple[str, str]]], None],
        max_bytes_per_s: int | None = None,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._slots, self._journal, self._facts, self._device_id = slots, journal, facts, device_id
        self._way = way
        self._tell = tell
        self._max_bytes_per_s = max_bytes_per_s
        self._first_pause_s = self._fault_s = first_pause_s
        self._pause_s: float | None = 0.0
        self._settled = journal.folder / _SETTLED
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine-offer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something may have been committed."""
        self._wake.set()

    def close(self) -> None:
        """End; what was sent is kept by the fleet."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_GOODBYE_S)

    def offer(self) -> float | None:
        """Offer what runs, unless that was done.

        Returns:
            Seconds after which to try again; ``None`` when there is nothing to do until something is committed.

        Raises:
            MienError: the fleet did not take it, or did not answer.
        """
        active = self._slots.active()
        record = record_of(active, self._journal.read(), self._facts, self._device_id)
        if active is None or record is None:
            return None
        body = record.model_dump_json(exclude_none=True).encode()
        engine_id = hashlib.sha256(body).hexdigest()
        if engine_id in self._known():
            return None
        standing = self._sent(engine_id, record, active, self._way.offer(engine_id, body))
        if standing.state not in _ENDS:
            return _LATER_S
        self._settle(engine_id, record, standing)
        return None

    def _sent(
        self, engine_id: str, record: EngineRecord, active: Installed, standing: EngineStanding
    ) -> EngineStanding:
        paths = {"engine": active.engine_path, "sidecar": sidecar_of(active.engine_path)}
        fruitless = 0
        while standing.state == "uploading" and fruitless < _FRUITLESS and not self._stop.is_set():
            lacking = [part for part, file in record.files.items() if standing.have.get(part, 0) < file.size_bytes]
            if not lacking:
                break
            part, before = lacking[0], standing.have.get(lacking[0], 0)
            piece = _piece(paths[part], before)
            standing = self._way.send(f"{engine_id}/{part}", before, piece)
            fruitless = fruitless + 1 if standing.have.get(part, before) == before else 0
            if self._max_bytes_per_s is not None:
                self._stop.wait(len(piece) / self._max_bytes_per_s)
        return standing

    def _settle(self, engine_id: str, record: EngineRecord, standing: EngineStanding) -> None:
        kept = [*self._known(), engine_id][-_MOST_KEPT:]
        write_text(self._settled, json.dumps(kept) + "\n")
        is_taken = standing.state != "rejected"
        self._tell(
            "engine_offered" if is_taken else "engine_not_wanted",
            "info",
            f"the engine of {record.release} that was built here is {standing.state} at the fleet: "
            f"{standing.reason or 'no remark'}"[:400],
            (("engine", record.engine.sha256), ("state", standing.state)),
        )

    def _known(self) -> list[str]:
        try:
            found = json.loads(self._settled.read_bytes())
        except (OSError, ValueError):
            return []
        return [str(one) for one in found] if isinstance(found, list) else []

    def _run(self) -> None:
        supervisor = Supervisor("engine-offer")
        while not self._stop.is_set():
            self._wake.wait(self._pause_s)
            self._wake.clear()
            if not self._stop.is_set() and not supervisor.guarded(self._round):
                self._pause_s = _LATER_S

    def _round(self) -> None:
        try:
            self._pause_s, self._fault_s = self.offer(), self._first_pause_s
        except (UnavailableError, OSError) as error:
            _log.info("the engine that was built here could not be offered now: %s", error)
            self._pause_s, self._fault_s = self._fault_s, min(2 * self._fault_s, _LONGEST_PAUSE_S)
        except MienError as error:
            _log.warning("the fleet does not take the engine that was built here: %s", error)
            self._pause_s = _LATER_S


def _file(path: Path) -> EngineFile:
    return EngineFile(sha256=sha256_of(path), size_bytes=path.stat().st_size)


def _piece(path: Path, offset: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(PIECE_BYTES)
