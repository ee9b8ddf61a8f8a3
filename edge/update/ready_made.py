"""Engines that other devices of this hardware class built: found among signed files, and never believed unmeasured.

A signed engine is one that the fleet's checks let pass, and no more. It is opened and held against the release's
reference detections on this device before anything runs it; one that fails is thrown away, told of, and built here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.update.interface import Device, Reporter, SignedFile, UpdateFault
from edge.update.probe import ReferenceLook, judge
from edge.update.slots import Installed, SlotName, SlotRecord
from mien.engines import REFUSED_EVENT, EngineRecord, engine_path, runtime_version
from mien.facts import DeviceFacts
from mien.files import sha256_of
from mien.messages import ProbePolicy
from mien.release import BuildEngine, Manifest

_log = logging.getLogger(__name__)
_FOLDER = "taken"
_LARGEST_RATIO, _SLACK_BYTES = 8, 32 << 20
"""What is beyond so many sizes of its model, and slack, is no engine: it is not fetched, and no room is kept for it."""
_OF_NO_USE = frozenset(
    {
        "expired_metadata",
        "rollback_attack",
        "bad_signature",
        "hash_mismatch",
        "endless_data",
        "not_signed",
        "server_refused",
    }
)
"""Faults of the engine's file or of the role that signs engines. They are no faults of the release, whose model comes
as well: one key that signs engines must not be able to hold up releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedEngine:
    """An engine as the signed metadata describes it."""

    record: EngineRecord
    files: tuple[SignedFile, ...]
    """The engine itself first; paths are whole names of signed targets."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)


class EngineSource(Protocol):
    """Where signed engines are."""

    def find_engine(self, path: str) -> SignedEngine | None:
        """The engine that is signed under a name; asks for no fresh metadata.

        Raises:
            UpdateFault: the metadata cannot be trusted.
        """

    def fetch_file(self, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        """Bring a signed file, checked, by its whole name.

        Raises:
            UpdateFault: as for a release's file.
        """


def fits(engine: SignedEngine, manifest_sha256: str, choice: BuildEngine, facts: DeviceFacts) -> str | None:
    """Why a signed engine is not for this device; ``None`` when it is. Pure."""
    record, variant = engine.record, choice.variant
    pairs = (
        ("manifest", record.manifest_sha256, manifest_sha256),
        ("model", record.variant_sha256, variant.sha256),
        ("precision", record.precision, variant.precision),
        ("runtime", record.runtime, choice.runtime),
        ("runtime's version", record.runtime_version, runtime_version(facts, choice.runtime)),
        ("hardware class", record.hardware_class, facts.hardware_class()),
        ("SHA-256", record.engine.sha256, engine.files[0].sha256),
    )
    most = _LARGEST_RATIO * variant.size_bytes + _SLACK_BYTES
    if engine.size_bytes > most:
        return f"{engine.size_bytes} bytes for a model of {variant.size_bytes}"
    return next((f"{what}: {had}, here {have}" for what, had, have in pairs if had != have), None)


class ReadyMade:
    """Brings ready-made engines into a slot.

    Args:
        source: signed files.
        device: opens engines and knows the machine.
        reporter: told of engines that are of no use.
        wanted: whether this site takes engines of other devices.
    """

    def __init__(self, source: EngineSource, device: Device, reporter: Reporter, *, wanted: bool = True) -> None:
        self._source = source
        self._device = device
        self._reporter = reporter
        self._wanted = wanted

    def look(self, manifest: Manifest, manifest_sha256: str, choice: BuildEngine) -> SignedEngine | None:
        """The engine that another device built from this variant for this class, if one is signed and fits."""
        if not self._wanted:
            return None
        facts = self._device.facts()
        path = engine_path(manifest.ref, facts.hardware_class(), choice.variant.sha256)
        try:
            found = self._source.find_engine(path)
        except UpdateFault as fault:
            _pass_over(path, fault)
            return None
        if found is None:
            return None
        reason = fits(found, manifest_sha256, choice, facts)
        if reason is not None:
            _log.warning("the signed engine %s is not for this device (%s)", found.files[0].path, reason)
            return None
        return found

    def bring(self, engine: SignedEngine, staging: Path, on_bytes: Callable[[int], None]) -> bool:
        """Download an engine's files into ``staging``; what is there already stays.

        Returns:
            False where they are not to be had as they were signed, so that the engine is to be built here.

        Raises:
            UpdateFault: the network or the disk is at fault, or the deployment was ended meanwhile.
        """
        for file, name in zip(engine.files, _names(engine), strict=True):
            path = staging / _FOLDER / name
            if path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256:
                continue
            try:
                self._source.fetch_file(file.path, path, on_bytes)
            except UpdateFault as fault:
                _pass_over(file.path, fault)
                return False
        return True

    def use(
        self, engine: SignedEngine, staging: Path, place: tuple[SlotName, Path], record: SlotRecord, policy: ProbePolicy
    ) -> SlotRecord | None:
        """Put an engine into the slot, and see on reference frames that it does what it should.

        Args:
            engine: what is signed.
            staging: where its files came to.
            place: the slot and its folder.
            record: the slot's record, but for the engine.
            policy: whose margin holds.

        Returns:
            The slot's record with it, or ``None`` when it is of no use and was told of.
        """
        slot, folder = place
        names = _names(engine)
        (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
        for name in names:
            (staging / _FOLDER / name).replace(folder / _FOLDER / name)
        whole = record.model_copy(
            update={
                "engine": f"{_FOLDER}/{names[0]}",
                "engine_sha256": engine.record.engine.sha256,
                "built": False,
                "taken": True,
            }
        )
        reason = self._reason_against(Installed(slot=slot, folder=folder, record=whole), engine, policy)
        if reason is None:
            return whole
        self._refuse(engine, folder, reason)
        return None

    def _reason_against(self, installed: Installed, engine: SignedEngine, policy: ProbePolicy) -> str | None:
        found = sha256_of(installed.engine_path)
        if found != engine.record.engine.sha256:
            return f"its bytes are {found[:16]}…, not what was signed"
        try:
            agreement = self._device.reference_agreement(installed)
        except UpdateFault as fault:
            return f"{fault.what}: {fault.found}"
        if agreement is None:
            return "the release has no reference frames to hold it against"
        recorded = installed.variant().reference_agreement
        look = ReferenceLook(agreement=agreement, recorded=1.0 if recorded is None else recorded)
        return "; ".join(judge(policy, look, None, None).reasons) or None

    def _refuse(self, engine: SignedEngine, folder: Path, reason: str) -> None:
        _log.warning("the signed engine %s is of no use here (%s); building one", engine.files[0].path, reason)
        for name in _names(engine):
            (folder / _FOLDER / name).unlink(missing_ok=True)
        self._reporter.event(
            REFUSED_EVENT,
            "warning",
            f"the engine that {engine.record.device_id} built for {engine.record.release} is of no use here: {reason}"[
                :400
            ],
            (("engine", engine.record.engine.sha256), ("release", str(engine.record.release))),
        )


def _pass_over(path: str, fault: UpdateFault) -> None:
    """Go on without an engine.

    Raises:
        UpdateFault: the same, where it is no fault of engines.
    """
    if fault.code not in _OF_NO_USE:
        raise fault
    _log.warning("the signed engine %s is passed over: %s", path, fault)


def _names(engine: SignedEngine) -> list[str]:
    """What the files are called in the slot: an engine's own name, and the same with ``.json``."""
    stem = f"{engine.record.variant_sha256[:32]}.engine"
    return [stem, f"{stem}.json"][: len(engine.files)]
