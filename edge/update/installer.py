"""Brings a signed release into the free slot: manifest, choice of variant, room on the disk, download, check, engine.

Touches nothing but the free slot. The active release runs on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge.update.build_cost import measured
from edge.update.deployment import Deployment
from edge.update.interface import Device, ReleaseSource, SignedFile, UpdateCancelled, UpdateFault
from edge.update.ready_made import ReadyMade, SignedEngine
from edge.update.slots import Installed, SlotName, SlotRecord, SlotStore
from mien.errors import BundleError
from mien.files import sha256_of, write_bytes
from mien.lifecycle import UpdateEvent
from mien.messages import ProbePolicy
from mien.release import (
    MANIFEST,
    REFERENCE,
    BuildEngine,
    FileEntry,
    LoadEngine,
    Manifest,
    Refusal,
    Variant,
    VariantPolicy,
    choose_lighter,
    choose_variant,
    parse_manifest,
)

_ENGINE_ROOM = 3
"""Room kept for an engine, in sizes of its model: an FP16 model run on a CPU becomes FP32, and then there is slack."""
_SPARE_BYTES = 32 << 20


def _nobody(_: int) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    content: bytes
    manifest: Manifest
    manifest_sha256: str
    choice: LoadEngine | BuildEngine
    lighter: LoadEngine | BuildEngine | None
    entries: tuple[Variant | FileEntry, ...]
    ready: dict[str, SignedEngine]
    """Engines that another device built, by the path of the variant. The model comes as well: to build from, should
    one be of no use here, and after an upgrade of the runtime."""

    @property
    def size_bytes(self) -> int:
        """Of all that is downloaded."""
        return sum(entry.size_bytes for entry in self.entries) + sum(one.size_bytes for one in self.ready.values())


class Installer:
    """Fills the free slot.

    Args:
        slots: the slots.
        source: signed releases.
        device: builds engines and knows the machine.
        policy: which variants this site takes.
        cancel: set when the agent stops.
        ready_made: finds engines that other devices built; ``None``: all are built here.
    """

    def __init__(
        self,
        slots: SlotStore,
        source: ReleaseSource,
        device: Device,
        policy: VariantPolicy,
        cancel: threading.Event,
        ready_made: ReadyMade | None = None,
    ) -> None:
        self._ready_made = ready_made
        self._slots = slots
        self._source = source
        self._device = device
        self._policy = policy
        self._cancel = cancel

    def bring(self, deployment: Deployment, arrived: Callable[[int], None] = _nobody) -> Installed:
        """Download, check and build, through ``downloading``, ``verifying`` and ``building``.

        Args:
            deployment: the deployment.
            arrived: told of bytes as they come; may wait, and may raise what ends the download.

        Raises:
            UpdateFault: any step failed; the active slot is as it was.
            UpdateCancelled: the agent stops.
        """
        plan = self._planned(deployment)
        staging = self._slots.staging(plan.manifest_sha256)
        self._download(deployment, plan, staging, arrived)
        deployment.move(UpdateEvent.DOWNLOADED)
        slot = self._slots.free()
        folder = self._slots.empty(slot)
        deployment.note(target_slot=slot)
        for entry in plan.entries:
            _check_bytes(staging / entry.path, entry)
            (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (staging / entry.path).replace(folder / entry.path)
        write_bytes(folder / MANIFEST, plan.content)
        deployment.move(UpdateEvent.VERIFIED)
        deployment.check()
        probe, place = deployment.record.desired.probe, (slot, folder)
        record = self._engine_of(plan, plan.choice, staging, place, probe)
        if plan.lighter is not None:
            deployment.check()
            lighter = self._engine_of(plan, plan.lighter, staging, place, probe)
            record = record.model_copy(update={"lighter": lighter})
        deployment.check_time()
        deployment.note(built=record.built, took=record.taken)
        return self._slots.fill(slot, record)

    def _engine_of(
        self,
        plan: _Plan,
        choice: LoadEngine | BuildEngine,
        staging: Path,
        place: tuple[SlotName, Path],
        probe: ProbePolicy,
    ) -> SlotRecord:
        """The variant's engine: another device's where one came and does what it should, else built here."""
        record, ready = self._record_of(plan, choice, place[1]), plan.ready.get(choice.variant.path)
        if isinstance(choice, LoadEngine):
            return record
        if ready is not None and self._ready_made is not None:
            taken = self._ready_made.use(ready, staging, place, record, probe)
            if taken is not None:
                return taken
        return self._built(choice, place[1], record)

    def _built(self, choice: BuildEngine, folder: Path, record: SlotRecord) -> SlotRecord:
        if not self._policy.allow_build:
            raise UpdateFault(
                "build_failed",
                "the engine that another device built is of no use here, and building is switched off",
                remedy="allow it (engine.allow_build), or publish an engine for this class",
            )
        with measured() as cost:
            engine = self._device.build(folder / choice.variant.path, folder / "engine", choice.runtime)
        return record.model_copy(
            update={
                "engine": engine.relative_to(folder).as_posix(),
                "engine_sha256": sha256_of(engine),
                "built": True,
                "build_s": cost.seconds,
                "build_peak_bytes": cost.peak_bytes,
            }
        )

    def _record_of(self, plan: _Plan, choice: LoadEngine | BuildEngine, folder: Path) -> SlotRecord:
        variant = choice.variant
        return SlotRecord(
            release=plan.manifest.ref,
            manifest_sha256=plan.manifest_sha256,
            variant=variant.path,
            precision=variant.precision,
            runtime=choice.runtime,
            engine=variant.path,
            engine_sha256=sha256_of(folder / variant.path),
            built=False,
            hardware_class=self._device.facts().hardware_class(),
        )

    def _planned(self, deployment: Deployment) -> _Plan:
        desired = deployment.record.desired
        content, signed_sha256 = self._source.manifest(desired.release)
        if signed_sha256 != desired.manifest_sha256:
            raise UpdateFault(
                "manifest_mismatch",
                f"the signed manifest of {desired.release} is not the one this deployment means",
                found=signed_sha256,
                wanted=desired.manifest_sha256,
                remedy="create the rollout again from the published release",
            )
        manifest = _parsed(content, desired.release)
        choice = self._chosen(manifest, signed_sha256)
        if isinstance(choice, Refusal):
            raise UpdateFault(
                "incompatible",
                f"no variant of {desired.release} fits this device",
                found=" | ".join(choice.reasons),
                remedy="pack a variant for this device: mien optimize run",
            )
        lighter = choose_lighter(manifest, self._device.facts(), self._policy, choice)
        choices = [choice] if lighter is None else [choice, lighter]
        # a TensorRT engine is loaded with its record or not at all
        beside = {REFERENCE, *(f"{one.variant.path}.json" for one in choices)}
        files = (file for file in manifest.files if file.path in beside)
        wanted: list[Variant | FileEntry] = [*(one.variant for one in choices), *files]
        for entry in wanted:
            _check_signed(entry, self._source.describe(desired.release, entry.path))
        ready = self._ready(manifest, signed_sha256, choices)
        size_bytes = sum(one.size_bytes for one in (*wanted, *ready.values()))
        self._check_room(choices, size_bytes, self._slots.staged_bytes(signed_sha256) + self._source.stored_bytes())
        return _Plan(
            content=content,
            manifest=manifest,
            manifest_sha256=signed_sha256,
            choice=choice,
            lighter=lighter,
            entries=tuple(wanted),
            ready=ready,
        )

    def _chosen(self, manifest: Manifest, manifest_sha256: str) -> LoadEngine | BuildEngine | Refusal:
        """What this device takes; where it may not build, a model whose engine another device built is as good."""
        facts = self._device.facts()
        choice = choose_variant(manifest, facts, self._policy)
        if self._policy.allow_build or not isinstance(choice, Refusal):
            return choice
        other = choose_variant(manifest, facts, replace(self._policy, allow_build=True))
        ready = isinstance(other, BuildEngine) and self._ready(manifest, manifest_sha256, [other])
        return other if ready else choice

    def _ready(
        self, manifest: Manifest, manifest_sha256: str, choices: list[LoadEngine | BuildEngine]
    ) -> dict[str, SignedEngine]:
        if self._ready_made is None:
            return {}
        builds = (one for one in choices if isinstance(one, BuildEngine))
        looked = {one.variant.path: self._ready_made.look(manifest, manifest_sha256, one) for one in builds}
        return {path: found for path, found in looked.items() if found is not None}

    def _check_room(self, choices: list[LoadEngine | BuildEngine], size_bytes: int, here_bytes: int) -> None:
        """What came before a cut is on the disk and needs no more room."""
        download = max(2 * size_bytes - here_bytes, 0)
        engine = _ENGINE_ROOM * sum(one.variant.size_bytes for one in choices if isinstance(one, BuildEngine))
        needed, free = download + engine + _SPARE_BYTES, self._device.free_bytes()
        if free < needed:
            raise UpdateFault(
                "no_space",
                "too little room on the disk for the release",
                found=f"{free >> 20} MiB free",
                wanted=f"{_mib(needed)} MiB: {_mib(download)} to download and check, {_mib(engine)} to build the "
                f"engine, {_mib(_SPARE_BYTES)} to spare",
                remedy=f"free {_mib(needed - free)} MiB on the device, then deploy again",
            )

    def _download(self, deployment: Deployment, plan: _Plan, folder: Path, arrived: Callable[[int], None]) -> None:
        total = plan.size_bytes or 1
        there = 0

        def on_bytes(count: int) -> None:
            nonlocal there
            there += count
            if self._cancel.is_set():
                raise UpdateCancelled
            deployment.progress(100.0 * min(there / total, 1.0))
            arrived(count)
            deployment.check_time()

        for entry in plan.entries:
            path = folder / entry.path
            if path.is_file() and path.stat().st_size == entry.size_bytes and sha256_of(path) == entry.sha256:
                there += entry.size_bytes
                continue
            self._source.fetch(plan.manifest.ref, entry.path, path, on_bytes)
        for variant, engine in list(plan.ready.items()):
            if self._ready_made is not None and not self._ready_made.bring(engine, folder, on_bytes):
                del plan.ready[variant]


def _mib(size_bytes: int) -> int:
    return -(-size_bytes >> 20)


def _parsed(content: bytes, release: object) -> Manifest:
    try:
        manifest = parse_manifest(content, source=f"the manifest of {release}")
    except BundleError as error:
        raise UpdateFault("manifest_mismatch", error.what, found=error.found, remedy=error.remedy) from error
    if str(manifest.ref) != str(release):
        raise UpdateFault(
            "manifest_mismatch",
            f"the manifest of {release} speaks of another release",
            found=str(manifest.ref),
            wanted=str(release),
            remedy="publish the release again",
        )
    return manifest


def _check_signed(entry: Variant | FileEntry, signed: SignedFile) -> None:
    if (entry.sha256, entry.size_bytes) != (signed.sha256, signed.size_bytes):
        raise UpdateFault(
            "manifest_mismatch",
            f"the manifest and the signed metadata disagree about {entry.path}",
            found=f"signed {signed.sha256[:16]}…, {signed.size_bytes} bytes",
            wanted=f"manifest {entry.sha256[:16]}…, {entry.size_bytes} bytes",
            remedy="publish the release again",
        )


def _check_bytes(path: Path, entry: Variant | FileEntry) -> None:
    found = sha256_of(path)
    if path.stat().st_size != entry.size_bytes or found != entry.sha256:
        raise UpdateFault(
            "hash_mismatch",
            f"{entry.path} is not what its manifest says",
            found=found,
            wanted=entry.sha256,
            remedy="do not install; publish the release again",
        )
