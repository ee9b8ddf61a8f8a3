"""Takes engines that devices offer, and brings them to a decision: quarantine, checks, signature, withdrawal.

Decides nothing about an engine: :mod:`fleet.engines.checks` does. May be killed at any point: what was signed and not
noted is signed again to the same, what was withdrawn and not noted is noted at the next look.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fleet.config import EngineSettings
from fleet.engines.checks import (
    Builder,
    EngineRules,
    Finding,
    Published,
    Update,
    Verdict,
    check,
    decide,
    sidecar_faults,
)
from fleet.engines.quarantine import Quarantine
from fleet.engines.states import OPEN, EngineState
from fleet.errors import ConflictError, NotFoundError
from fleet.identity.membership import MemberState
from fleet.registry.repository import Repository
from fleet.store.database import Store
from fleet.store.devices import Device
from fleet.store.engines import OfferedEngine
from fleet.store.work import Work
from mien.engines import EngineRecord, parse_record, sidecar_path, signed_custom
from mien.errors import DataError, TrustError

_log = logging.getLogger(__name__)
_DAY_S = 86_400.0
_OPEN_DAYS_S = {EngineState.UPLOADING: _DAY_S, EngineState.CHECKING: 7 * _DAY_S}
"""An offer that does not get on for so long is given up."""
NOT_TAKEN = "engines are not taken here (engines.take in the fleet's settings)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a device is told about its offer."""

    state: str
    reason: str
    have: dict[str, int]
    """Bytes of each part that are here, while it is being sent."""


class EngineDesk:
    """The fleet's side of offered engines.

    Args:
        store: what is known of them.
        repository: where they are signed.
        quarantine: where their bytes lie.
        settings: what the site allows.
        clock: Unix seconds.
        nudge: asks for :meth:`look` at once.
    """

    def __init__(
        self,
        store: Store,
        repository: Repository,
        quarantine: Quarantine,
        settings: EngineSettings,
        *,
        clock: Callable[[], float],
        nudge: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._repository = repository
        self._quarantine = quarantine
        self._settings = settings
        self._clock = clock
        self.nudge = nudge
        self._lock = threading.Lock()
        """Held while a device is answered."""
        self._deciding = threading.RLock()
        """Held from reading an engine's state to writing another: a person's no must not meet a signature under way."""

    def offer(self, device: Device, engine_id: str, body: bytes) -> Standing:
        """Take a record, or say why its engine is not wanted.

        Raises:
            DataError: it is no record, or not the one that the address names.
            TrustError: it speaks for another device.
        """
        if hashlib.sha256(body).hexdigest() != engine_id:
            raise DataError("the record is not the one that the address names", wanted="its own SHA-256")
        record = parse_record(body, source=device.id)
        if record.device_id != device.id:
            raise TrustError(f"{device.id} offers an engine of {record.device_id}", wanted="its own")
        with self._lock, self._store.write() as work:
            known = work.engines.find(engine_id)
            if known is None:
                refusal = self._not_wanted(work, record)
                if refusal is not None:
                    return refusal
                offered = OfferedEngine(
                    id=engine_id, record=record, state=EngineState.UPLOADING, reason="", offered_at=self._clock()
                )
                work.engines.add(offered)
                known = offered
        return self._standing(known)

    def piece(self, device: Device, engine_id: str, part: str, offset: int, content: bytes) -> Standing:
        """Take a piece of a part; the last one ends the sending.

        Raises:
            NotFoundError: this device offered no such engine.
            ConflictError: more came than the record says.
        """
        with self._lock:
            known = self._own(device, engine_id)
            wanted = known.record.files.get(part)
            if wanted is None:
                raise NotFoundError(f"an engine has no part '{part}'", wanted=", ".join(known.record.files))
            if known.state is EngineState.UPLOADING:
                self._quarantine.append(engine_id, part, offset, content, most=wanted.size_bytes)
                known = self._ended(known)
        return self._standing(known)

    def standing(self, device: Device, engine_id: str) -> Standing:
        """How a device's offer stands.

        Raises:
            NotFoundError: it made none such.
        """
        return self._standing(self._own(device, engine_id))

    def approve(self, beginning: str, by: str) -> OfferedEngine:
        """A person's yes: sign an engine that waits for it.

        Raises:
            ConflictError: it does not wait, or a check does not pass any more.
        """
        with self._deciding:
            offered = self._waiting(beginning)
            finding = self._finding(offered)
            if finding.wrong or finding.missing:
                found = "; ".join(finding.wrong + finding.missing)
                raise ConflictError(f"{offered.id[:12]} cannot be signed", found=found)
            self._sign(offered, f"approved by {by}", by=by)
            return self._named(offered.id)

    def reject(self, beginning: str, by: str, why: str) -> OfferedEngine:
        """A person's no.

        Raises:
            ConflictError: it is decided about.
        """
        with self._deciding:
            offered = self._named(beginning)
            if offered.state not in OPEN:
                raise ConflictError(f"{offered.id[:12]} is {offered.state}", wanted="one that is not decided about")
            self._settle(offered, EngineState.REJECTED, why, by=by)
            return self._named(offered.id)

    def withdraw(self, beginning: str, by: str, why: str) -> OfferedEngine:
        """Sign it no longer; devices that run it keep it, since they measured it.

        Raises:
            ConflictError: it is not signed.
        """
        with self._deciding:
            offered = self._named(beginning)
            if offered.state is not EngineState.SIGNED:
                raise ConflictError(f"{offered.id[:12]} is {offered.state}", wanted="one that is signed")
            self._withdraw(offered, why, by=by)
            return self._named(offered.id)

    def look(self) -> None:
        """Decide about all that can be decided about, and withdraw what devices found to be of no use."""
        with self._deciding:
            self._look()

    def _look(self) -> None:
        with self._store.read() as work:
            offers = work.engines.all(states=[*OPEN, EngineState.SIGNED])
        for offered in reversed(offers):
            if offered.state is EngineState.SIGNED:
                self._look_after(offered)
            elif offered.state is EngineState.UPLOADING:
                self._give_up_late(offered)
            else:
                self._decide(offered)
        for engine_id in self._quarantine.ids() - {offered.id for offered in offers if offered.state in OPEN}:
            with self._store.read() as work:
                known = work.engines.find(engine_id)
            if known is None or known.state not in OPEN:
                self._quarantine.drop(engine_id)

    def _not_wanted(self, work: Work, record: EngineRecord) -> Standing | None:
        settings, now = self._settings, self._clock()
        if not settings.take:
            return _told(EngineState.REJECTED, NOT_TAKEN)
        if work.engines.offered_since(record.device_id, now - _DAY_S) >= settings.offers_a_day:
            return Standing(state="later", reason=f"{settings.offers_a_day} offers a day are taken", have={})
        size_bytes = sum(file.size_bytes for file in record.files.values())
        if work.engines.open_bytes() + size_bytes > settings.quarantine_bytes:
            return Standing(state="later", reason="the fleet has no room for more engines now", have={})
        here = [one for one in work.engines.at(record.path) if one.state is EngineState.SIGNED]
        if here:
            return _told(EngineState.REJECTED, f"{here[0].record.device_id} built the one that is signed")
        wrong = self._held_against(work, record).wrong
        return _told(EngineState.REJECTED, "; ".join(wrong)) if wrong else None

    def _own(self, device: Device, engine_id: str) -> OfferedEngine:
        with self._store.read() as work:
            known = work.engines.find(engine_id)
        if known is None or known.record.device_id != device.id:
            raise NotFoundError(f"{device.id} offered no engine {engine_id[:12]}", remedy="offer it first")
        return known

    def _standing(self, offered: OfferedEngine) -> Standing:
        is_open = offered.state is EngineState.UPLOADING
        have = {part: self._quarantine.have(offered.id, part) for part in offered.record.files} if is_open else {}
        return Standing(state=str(offered.state), reason=offered.reason, have=have)

    def _ended(self, offered: OfferedEngine) -> OfferedEngine:
        files = offered.record.files.items()
        if not all(self._quarantine.is_whole(offered.id, part, wanted) for part, wanted in files):
            return offered
        false = [part for part, wanted in files if not self._quarantine.is_true(offered.id, part, wanted)]
        if false:
            self._settle(offered, EngineState.REJECTED, f"the bytes of its {', '.join(false)} are not what it said")
        else:
            with self._store.write() as work:
                work.engines.whole(offered.id, at=self._clock())
            self.nudge()
        return self._named(offered.id)

    def _decide(self, offered: OfferedEngine) -> None:
        verdict = self._verdict(offered)
        if verdict.do == "sign":
            self._sign(offered, verdict.reason)
        elif verdict.do == "reject":
            self._settle(offered, EngineState.REJECTED, verdict.reason)
        elif verdict.do == "wait":
            if (offered.state, offered.reason) != (EngineState.WAITING, verdict.reason):
                self._note(offered, EngineState.WAITING, verdict.reason)
        elif not self._give_up_late(offered) and offered.reason != verdict.reason:
            self._note(offered, EngineState.CHECKING, verdict.reason)

    def _verdict(self, offered: OfferedEngine) -> Verdict:
        with self._store.read() as work:
            finding = self._held_against(work, offered.record)
            others = [one for one in work.engines.at(offered.record.path) if one.id != offered.id]
            for other in others:
                if other.state is EngineState.SIGNED:
                    by = other.record.device_id
                    return Verdict(do="reject", reason=f"{by} built the one that is signed")
            same = {
                other.record.device_id
                for other in others
                if other.state in {EngineState.CHECKING, EngineState.WAITING}
                and other.record.engine == offered.record.engine
                and self._held_against(work, other.record) == Finding()
            }
        wrong = self._byte_faults(offered)
        finding = Finding(wrong=(*finding.wrong, *wrong), missing=finding.missing)
        return decide(finding, offered.record, _rules(self._settings), same_bytes_from=same)

    def _finding(self, offered: OfferedEngine) -> Finding:
        with self._store.read() as work:
            finding = self._held_against(work, offered.record)
        return Finding(wrong=(*finding.wrong, *self._byte_faults(offered)), missing=finding.missing)

    def _byte_faults(self, offered: OfferedEngine) -> tuple[str, ...]:
        record = offered.record
        for part, wanted in record.files.items():
            if not self._quarantine.is_true(offered.id, part, wanted):
                return (f"the bytes of its {part} are not what it said",)
        if record.sidecar is None:
            return ()
        return sidecar_faults(self._quarantine.place(offered.id, "sidecar").read_bytes(), record)

    def _held_against(self, work: Work, record: EngineRecord) -> Finding:
        release = work.releases.find(str(record.release))
        published = Published(manifest=release.manifest, manifest_sha256=release.manifest_sha256) if release else None
        known, update = work.devices.find(record.device_id), work.engines.update_of(record)
        return check(
            record,
            published=published,
            builder=_builder(known) if known is not None else None,
            update=Update(**{name: getattr(update, name) for name in Update.__dataclass_fields__}) if update else None,
            rules=_rules(self._settings),
        )

    def _sign(self, offered: OfferedEngine, reason: str, *, by: str | None = None) -> None:
        record, path = offered.record, offered.record.path
        files = {path: self._quarantine.place(offered.id, "engine")}
        if record.sidecar is not None:
            files[sidecar_path(path)] = self._quarantine.place(offered.id, "sidecar")
        custom = {path: signed_custom(record)}
        with self._repository.locked():
            self._repository.add_engines(files, self._moment(), custom)
        self._settle(offered, EngineState.SIGNED, reason, by=by)
        _log.info("signed the engine %s of %s for %s", record.device_id, record.release, record.hardware_class)

    def _look_after(self, offered: OfferedEngine) -> None:
        if offered.record.path not in self._repository.engines():
            self._note(offered, EngineState.WITHDRAWN, "it is no longer among the signed files")
            return
        since = offered.decided_at or offered.offered_at
        with self._store.read() as work:
            unhappy = sorted(work.engines.refusals(offered.record.engine.sha256, since))
        if len(unhappy) >= self._settings.withdraw_after:
            self._withdraw(offered, f"of no use to {', '.join(unhappy[:5])}: they built their own")

    def _withdraw(self, offered: OfferedEngine, why: str, *, by: str | None = None) -> None:
        path = offered.record.path
        with self._repository.locked():
            self._repository.remove_engines((path, sidecar_path(path)), self._moment())
        self._settle(offered, EngineState.WITHDRAWN, why, by=by)
        _log.warning("withdrew the engine %s: %s", path, why)

    def _give_up_late(self, offered: OfferedEngine) -> bool:
        is_late = self._clock() - offered.offered_at > _OPEN_DAYS_S.get(offered.state, float("inf"))
        if is_late:
            self._settle(offered, EngineState.REJECTED, f"it stayed {offered.state} too long")
        return is_late

    def _settle(self, offered: OfferedEngine, state: EngineState, reason: str, *, by: str | None = None) -> None:
        self._note(offered, state, reason, by=by)
        self._quarantine.drop(offered.id)

    def _note(self, offered: OfferedEngine, state: EngineState, reason: str, *, by: str | None = None) -> None:
        now, record = self._clock(), offered.record
        with self._store.write() as work:
            work.engines.settle(offered.id, state, reason, at=now, by=by)
            if state not in OPEN:
                told = {"device": record.device_id, "release": str(record.release), "reason": reason}
                work.audit.note(f"engine.{state}", offered.id[:16], at=now, actor=by or "fleet", **told)

    def _named(self, beginning: str) -> OfferedEngine:
        with self._store.read() as work:
            return work.engines.named(beginning)

    def _waiting(self, beginning: str) -> OfferedEngine:
        offered = self._named(beginning)
        if offered.state is not EngineState.WAITING:
            raise ConflictError(f"{offered.id[:12]} is {offered.state}", wanted="one that waits for a person")
        return offered

    def _moment(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock(), dt.timezone.utc)


def _told(state: EngineState, reason: str) -> Standing:
    return Standing(state=str(state), reason=reason, have={})


def _rules(settings: EngineSettings) -> EngineRules:
    return EngineRules(
        most_bytes=settings.most_bytes,
        reference_margin=settings.reference_margin,
        approve=settings.approve,
        builders=settings.builders,
        witnesses=settings.witnesses,
    )


def _builder(device: Device) -> Builder:
    twin = device.twin or {}
    facts = twin.get("facts") or {}
    return Builder(
        device_id=device.id,
        is_accepted=device.state is MemberState.ACCEPTED,
        hardware_class=twin.get("hardware_class"),
        runtime_versions={name: facts.get(name) for name in ("tensorrt", "onnxruntime")},
    )
