"""What the update needs of the world: a trusted source of releases, and the running device.

Rules for implementations: a failure is an :class:`UpdateFault` with a code which the fleet knows; nothing else is
raised for what may happen in the field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.update.probe import LiveFigures
from edge.update.slots import Installed
from mien.errors import MienError
from mien.facts import DeviceFacts
from mien.messages import ProbePolicy, UpdateReport
from mien.release import ReleaseRef, Runtime

ERROR_CODES = {
    "network": "the fleet could not be reached, or the download did not end",
    "server_busy": "the server sheds load, for longer than a device waits for it",
    "server_refused": "the server answers, and does not give what was signed",
    "expired_metadata": "signed metadata has expired (a frozen or forgotten repository)",
    "rollback_attack": "signed metadata is older than what this device has seen, or mixed from several versions",
    "bad_signature": "signed metadata does not carry enough valid signatures",
    "hash_mismatch": "bytes are not those that were signed",
    "endless_data": "more bytes came than signed metadata, or the protocol, allows",
    "slow_retrieval": "bytes come too slowly to be waited for",
    "clock_wrong": "the device's clock cannot be right, so nothing says whether signed metadata is still valid",
    "not_signed": "the release is not among the signed ones",
    "manifest_mismatch": "the signed manifest is not the one that the deployment means, or contradicts its files",
    "incompatible": "no variant of the release fits this device",
    "known_bad": "this device took the release back before, or one of its name that is not older",
    "no_window": "the windows of fleet and site are never open together, or in a time zone that is not known here",
    "no_space": "too little room on the disk",
    "build_failed": "the engine could not be built or opened",
    "low_memory": "memory ran short while the engine was built, and the build was ended",
    "probe_failed": "the new engine did not show what it must",
    "timed_out": "the deployment's time was up",
    "interrupted": "the device was restarted too often while updating",
    "superseded": "the device was told to run another release before it switched to this one",
    "withdrawn": "the fleet took the order back before the device switched",
    "by_hand": "a person at the device took the release back",
    "rollback_failed": "the release before could not be taken up again",
    "internal": "a fault of the agent",
}
"""Every code that a report may carry, and what it means."""

REFUSED_CODES = frozenset(
    {
        "expired_metadata",
        "rollback_attack",
        "bad_signature",
        "hash_mismatch",
        "endless_data",
        "not_signed",
        "manifest_mismatch",
        "incompatible",
        "known_bad",
        "no_window",
    }
)
"""Codes that end in ``rejected``: trying again will not help; the others end in ``failed``."""

WAITED_OUT_CODES = frozenset({"network", "slow_retrieval"})
"""Codes after which the device tries again by itself, until the deployment's time is up."""
MOST_TRIES = {"server_refused": 3}
"""Codes after which it tries again so often in all: a mirror may be behind for a moment."""


class UpdateFault(MienError):  # noqa: N818 - the field's word; every update ends well or in a fault
    """A step of an update failed, for a reason which has a code."""

    def __init__(self, code: str, what: str, *, found: str = "", wanted: str = "", remedy: str = "") -> None:
        super().__init__(what, found=found, wanted=wanted, remedy=remedy)
        self.code = code
        self.wait_s: float | None = None
        """With ``server_busy``: how long the server wants to be left alone."""


class UpdateCancelled(Exception):  # noqa: N818 - the device shuts down; no fault
    """The agent stops; the deployment goes on at its next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFile:
    """A file as the signed metadata describes it."""

    path: str
    """Inside the bundle."""
    size_bytes: int
    sha256: str


class ReleaseSource(Protocol):
    """Releases whose signatures were checked."""

    def manifest(self, release: ReleaseRef) -> tuple[bytes, str]:
        """A release's manifest and its signed SHA-256.

        Raises:
            UpdateFault: not signed, not trusted, or not reachable.
        """

    def describe(self, release: ReleaseRef, path: str) -> SignedFile:
        """What is signed about a file.

        Raises:
            UpdateFault: the file is not signed.
        """

    def fetch(self, release: ReleaseRef, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        """Bring a file, checked against the signed length and hash. What arrived survives a kill.

        Raises:
            UpdateFault: as above, or other bytes than signed.
        """

    def stored_bytes(self) -> int:
        """Room on the disk that unfinished downloads take."""

    def forget(self) -> None:
        """Delete unfinished downloads."""


class Device(Protocol):
    """The running device, as the update sees it."""

    def facts(self) -> DeviceFacts:
        """What this device is."""

    def free_bytes(self) -> int:
        """Room on the disk that holds the slots."""

    def build(self, model: Path, folder: Path, runtime: Runtime) -> Path:
        """Build an engine from a portable model into ``folder``.

        Raises:
            UpdateFault: ``build_failed``.
            UpdateCancelled: the agent stops.
        """

    def figures(self) -> LiveFigures | None:
        """The running release's last figures; ``None`` when nothing ran."""

    def reference_agreement(self, installed: Installed) -> float | None:
        """Share of the bundle's reference detections that this engine reproduces here; ``None`` without reference.

        Raises:
            UpdateFault: ``build_failed``: the engine cannot be opened or run.
        """

    def take_up(self, installed: Installed | None) -> None:
        """Run this release from the next frame on, or none.

        Raises:
            UpdateFault: ``build_failed``: the engine cannot be opened.
        """

    def cameras_away(self) -> tuple[str, ...]:
        """Names of the cameras that give no frames now; they may come back."""

    def watch(self, policy: ProbePolicy) -> LiveFigures:
        """Look at live frames of the release that was taken up; ends early when a camera goes away.

        Raises:
            UpdateCancelled: the agent stops; what was seen so far says nothing.
        """

    def switched(self) -> None:
        """The active slot changed: tell whoever shows it."""


class Reporter(Protocol):
    """Carries reports to the fleet."""

    def report(self, report: UpdateReport) -> None:
        """Hand over a report; it is kept until the fleet has it."""

    def event(self, kind: str, severity: str, message: str, details: Sequence[tuple[str, str]] = ()) -> None:
        """Hand over something a person may want to know."""
