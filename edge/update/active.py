"""The active release: held against its record, built again for another runtime, opened, or opened later.

Decides what a fault means. Bytes that changed do not mend themselves: the other slot is taken. Everything else may pass
(too little memory just now, a GPU that is not ready, a full disk): the slot stays, nothing is held against the release,
and it is tried again for as long as it takes.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from edge.engine.chooser import is_whole
from edge.update.interface import Device, Reporter, UpdateFault
from edge.update.slots import Installed, SlotRecord, SlotStore
from mien.errors import BundleError, MienError
from mien.files import sha256_of

_log = logging.getLogger(__name__)

_FOLDERS = ("engine", "engine-again")
"""An engine that is built again is built beside the one that the slot's record speaks of, and then takes its place."""


class ActiveRelease:
    """Brings the active slot's release to run.

    Args:
        slots: the slots.
        device: the running device.
        reporter: the way to the fleet.
    """

    def __init__(self, slots: SlotStore, device: Device, reporter: Reporter) -> None:
        self._slots = slots
        self._device = device
        self._reporter = reporter
        self.is_lost = False
        """Whether a release is active and does not run, because its engine could not be opened or built."""

    def take_up(self) -> bool:
        """Run the active release; the other slot's when its bytes were changed.

        Returns:
            Whether there is nothing left to try: it runs, or no release is here.
        """
        try:
            while (active := self._slots.active()) is not None:
                if self._looked_after(active):
                    return not self.is_lost
            self.is_lost = False
            return True
        finally:
            self._device.switched()

    def run(self, installed: Installed | None) -> None:
        """Run this release from the next frame on, or none.

        Raises:
            UpdateFault: the engine cannot be opened.
        """
        self._device.take_up(installed)
        self.is_lost = False

    def restore(self, installed: Installed | None) -> None:
        """Run the release before again; where that fails, the one that was taken back does not run on either.

        Raises:
            UpdateFault: the engine cannot be opened now.
        """
        try:
            self.run(installed)
        except UpdateFault:
            self.is_lost = installed is not None
            with suppress(UpdateFault):
                self._device.take_up(None)
            raise

    def _looked_after(self, active: Installed) -> bool:
        try:
            active.verify()
            self.run(self._for_this_machine(active))
        except BundleError as error:
            self._tell(active, error)
            self._slots.switch_back(active.slot)
            return False
        except (MienError, OSError) as error:
            if not self.is_lost:
                self._tell(active, error)
            self.is_lost = True
        return True

    def _tell(self, active: Installed, error: Exception) -> None:
        _log.error("the active release %s cannot run: %s", active.release, error)
        self._reporter.event("engine_unusable", "error", f"{active.release}: {error}"[:500])

    def _for_this_machine(self, installed: Installed) -> Installed:
        """The same release with an engine for the runtime that is installed now, and with its record."""
        record, hardware_class = installed.record, self._device.facts().hardware_class()
        fits = record.hardware_class == hardware_class and is_whole(installed.engine_path, record.runtime)
        if fits or not (record.built or record.taken):
            return installed
        _log.info("the engine of %s is not of this runtime, or has no record; building it again", installed.release)
        before = Path(record.engine).parts[0]
        beside = installed.folder / (_FOLDERS[1] if before == _FOLDERS[0] else _FOLDERS[0])
        renewed = self._renewed(installed.folder, record, beside)
        if record.lighter is not None and (record.lighter.built or record.lighter.taken):
            lighter = self._renewed(installed.folder, record.lighter, beside)
            renewed = renewed.model_copy(update={"lighter": lighter})
        whole = self._slots.fill(installed.slot, renewed)
        if before in _FOLDERS:
            shutil.rmtree(installed.folder / before, ignore_errors=True)
        return whole

    def _renewed(self, folder: Path, record: SlotRecord, beside: Path) -> SlotRecord:
        engine = self._device.build(folder / record.variant, beside, record.runtime)
        return record.model_copy(
            update={
                "engine": engine.relative_to(folder).as_posix(),
                "engine_sha256": sha256_of(engine),
                "hardware_class": self._device.facts().hardware_class(),
                "built": True,
                "taken": False,
            }
        )
