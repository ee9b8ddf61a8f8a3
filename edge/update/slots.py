"""The two slots: ``STATE/slots/a`` and ``b``, and which of them is active.

``active`` and ``fallback`` are symbolic links, replaced atomically. A slot counts only with its ``slot.json``, which is
written last: a slot that was cut off while it was filled is an empty slot.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mien.errors import BundleError
from mien.files import point_link, sha256_of, sync_folder, sync_tree, write_text
from mien.parts import sweep
from mien.release import MANIFEST, REFERENCE, Manifest, Precision, ReleaseRef, Runtime, Variant, parse_manifest

SlotName = Literal["a", "b"]
_RECORD = "slot.json"


class SlotRecord(BaseModel):
    """What stands in a slot."""

    model_config = ConfigDict(frozen=True)

    release: ReleaseRef
    manifest_sha256: str
    variant: str
    """Path of the variant in the bundle."""
    precision: Precision
    runtime: Runtime
    engine: str
    """Path of the engine in the slot."""
    engine_sha256: str
    built: bool
    """Whether the engine was built here, from the portable model."""
    taken: bool = False
    """Whether another device of the class built it from the portable model, which stands here as well."""
    build_s: float | None = None
    """How long it was built here."""
    build_peak_bytes: int | None = None
    """Largest memory of the agent meanwhile, where that could be measured."""
    hardware_class: str
    """What the engine was made for; after an upgrade of the runtime it must be built again."""
    lighter: SlotRecord | None = None
    """A lighter variant of the same release that stands beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A release that stands, whole, in a slot."""

    slot: SlotName
    folder: Path
    record: SlotRecord

    @property
    def release(self) -> ReleaseRef:
        """Its name and version."""
        return self.record.release

    @property
    def engine_path(self) -> Path:
        """The engine to open."""
        return self.folder / self.record.engine

    @property
    def reference_path(self) -> Path | None:
        """The bundle's reference frames, when it has any."""
        path = self.folder / REFERENCE
        return path if path.is_file() else None

    def manifest(self) -> Manifest:
        """The release's manifest.

        Raises:
            BundleError: it is damaged.
        """
        try:
            return parse_manifest((self.folder / MANIFEST).read_bytes(), source=f"slot {self.slot}")
        except OSError as error:
            raise BundleError(f"the manifest in slot {self.slot} cannot be read", found=str(error)) from error

    def variant(self) -> Variant:
        """The variant which the engine came from.

        Raises:
            BundleError: the manifest does not know it.
        """
        for variant in self.manifest().variants:
            if variant.path == self.record.variant:
                return variant
        raise BundleError(f"slot {self.slot} runs '{self.record.variant}', which its manifest does not list")

    def lighter(self) -> Installed | None:
        """The release's lighter variant, when one stands in the slot."""
        beside = self.record.lighter
        return Installed(slot=self.slot, folder=self.folder, record=beside) if beside else None

    def verify(self) -> None:
        """Hold the engine's and the manifest's bytes against what was recorded when they were installed.

        Raises:
            BundleError: a file is missing or was changed.
        """
        for path, wanted in (
            (self.engine_path, self.record.engine_sha256),
            (self.folder / MANIFEST, self.record.manifest_sha256),
        ):
            found = sha256_of(path) if path.is_file() else "no file"
            if found != wanted:
                raise BundleError(
                    f"{path} is not what was installed", found=found, wanted=wanted, remedy="deploy the release again"
                )


class SlotStore:
    """The slots on the disk.

    Args:
        root: ``STATE/slots``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def active(self) -> Installed | None:
        """The release that runs, or that ran last."""
        name = self._target("active")
        return self.read(name) if name else None

    def fallback(self) -> Installed | None:
        """The release to return to; never the active one."""
        name = self._target("fallback")
        return self.read(name) if name and name != self._target("active") else None

    def free(self) -> SlotName:
        """The slot that an update may fill: the one that is not active."""
        return "b" if self._target("active") == "a" else "a"

    def read(self, name: SlotName) -> Installed | None:
        """What stands in a slot; ``None`` when nothing whole does."""
        folder = self._root / name
        try:
            record = SlotRecord.model_validate_json((folder / _RECORD).read_bytes())
        except (OSError, ValidationError):
            return None
        return Installed(slot=name, folder=folder, record=record)

    def empty(self, name: SlotName) -> Path:
        """Empty a slot, so that it can be filled; its folder. What stood there is no fallback any more.

        Else the link would speak of what comes into the slot next, and a way back would lead to what nobody tried.
        """
        folder = self._root / name
        if self._target("fallback") == name:
            self.drop_fallback()
        with suppress(FileNotFoundError):
            (folder / _RECORD).unlink()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def sweep(self) -> None:
        """Remove what a killed process left half-written beside the slots' records and links."""
        for name in ("a", "b"):
            for file in (_RECORD, MANIFEST):
                sweep(self._root / name / file)
        for link in ("active", "fallback"):
            (self._root / f".{link}.new").unlink(missing_ok=True)

    def staging(self, manifest_sha256: str) -> Path:
        """Where a release's checked files wait until all are there; another release's are thrown away."""
        folder = self._root / "staging" / manifest_sha256
        if not folder.is_dir():
            self.clear_staging()
            folder.mkdir(parents=True)
        return folder

    def staged_bytes(self, manifest_sha256: str) -> int:
        """Room on the disk that the checked files of a release take there."""
        folder = self._root / "staging" / manifest_sha256
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def clear_staging(self) -> None:
        """Throw away what waits."""
        shutil.rmtree(self._root / "staging", ignore_errors=True)

    def fill(self, name: SlotName, record: SlotRecord) -> Installed:
        """Declare a slot whole: all its files stand, on the disk and not only in memory."""
        folder = self._root / name
        sync_tree(folder)
        write_text(folder / _RECORD, record.model_dump_json(indent=2) + "\n")
        return Installed(slot=name, folder=folder, record=record)

    def switch(self, name: SlotName) -> None:
        """Make a slot active; the one that was active becomes the fallback. Doing it twice changes nothing more."""
        before = self._target("active")
        if before == name:
            return
        if before is not None:
            point_link(self._root / "fallback", before)
        point_link(self._root / "active", name)

    def switch_back(self, bad: SlotName) -> Installed | None:
        """Make the other slot active when it holds a release, else none; the bad one is no fallback.

        Returns:
            What is active now.
        """
        other: SlotName = "b" if bad == "a" else "a"
        if self.read(other) is not None:
            point_link(self._root / "active", other)
        elif self._target("active") == bad:
            (self._root / "active").unlink()
        self.drop_fallback()
        with suppress(FileNotFoundError):
            (self._root / bad / _RECORD).unlink()
        return self.active()

    def drop_fallback(self) -> None:
        """There is nothing good to return to."""
        with suppress(FileNotFoundError):
            (self._root / "fallback").unlink()
        sync_folder(self._root)

    def _target(self, link: str) -> SlotName | None:
        try:
            target = (self._root / link).readlink().name
        except OSError:
            return None
        return "a" if target == "a" else "b" if target == "b" else None
