"""Brings a signed release into the free slot: manifest, choice of variant, room on the disk, download, check, engine.

Touches nothing but the free slot. The active release runs on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.update.deployment import Deployment
from edge.update.interface import Device, ReleaseSource, SignedFile, UpdateCancelled, UpdateFault
from edge.update.slots import Installed, SlotRecord, SlotStore
from mien.errors import BundleError
from mien.files import sha256_of, write_bytes
from mien.lifecycle import UpdateEvent
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


class Installer:
    """Fills the free slot.

    Args:
        slots: the slots.
        source: signed releases.
        device: builds engines and knows the machine.
        policy: which variants this site takes.
        cancel: set when the agent stops.
    """

    def __init__(
        self, slots: SlotStore, source: ReleaseSource, device: Device, policy: VariantPolicy, cancel: threading.Event
    ) -> None:
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
        record = self._engine_of(plan, plan.choice, folder)
        if plan.lighter is not None:
            deployment.check()
            record = record.model_copy(update={"lighter": self._engine_of(plan, plan.lighter, folder)})
        deployment.check_time()
        deployment.note(built=record.built)
        return self._slots.fill(slot, record)

    def _engine_of(self, plan: _Plan, choice: LoadEngine | BuildEngine, folder: Path) -> SlotRecord:
        """The variant's engine, built here when it is a portable model."""
        variant, built = choice.variant, isinstance(choice, BuildEngine)
        engine = folder / variant.path
        if built:
            engine = self._device.build(folder / variant.path, folder / "engine", choice.runtime)
        return SlotRecord(
            release=plan.manifest.ref,
            manifest_sha256=plan.manifest_sha256,
            variant=variant.path,
            precision=variant.precision,
            runtime=choice.runtime,
            engine=engine.relative_to(folder).as_posix(),
            engine_sha256=sha256_of(engine),
            built=built,
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
        choice = choose_variant(manifest, self._device.facts(), self._policy)
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
        self._check_room(choices, wanted)
        return _Plan(
            content=content,
            manifest=manifest,
            manifest_sha256=signed_sha256,
            choice=choice,
            lighter=lighter,
            entries=tuple(wanted),
        )

    def _check_room(self, choices: list[LoadEngine | BuildEngine], wanted: list[Variant | FileEntry]) -> None:
        download = 2 * sum(entry.size_bytes for entry in wanted)
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
        total = sum(entry.size_bytes for entry in plan.entries) or 1
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
