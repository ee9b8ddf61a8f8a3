"""The durable record of the deployment under way, and of releases that proved bad.

Written before each step is begun, so that after a kill at any point the record and the slots together say what to do:
:func:`next_step` decides it. Pure but for reading and writing two small files.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.update.slots import SlotName
from mien.files import write_text
from mien.lifecycle import TERMINAL, UpdateState
from mien.messages import Desired, ProbeResult, WaitsFor
from mien.parts import sweep
from mien.release import ReleaseRef, version_key

MOST_ATTEMPTS = 5
"""So often is one deployment begun; a device that dies each time stops trying."""
MOST_PROBES = 2
"""So often is a probe begun: one power cut is forgiven, an engine that kills its process twice is not."""


class UpdateRecord(BaseModel):
    """Where a deployment stands."""

    model_config = ConfigDict(frozen=True)

    desired: Desired
    state: UpdateState = UpdateState.IDLE
    sequence: int = 0
    """Of the last report; rises over restarts too."""
    attempts: int = 0
    probes: int = 0
    started_at: float
    """Unix seconds."""
    previous: ReleaseRef | None = None
    """What was active before."""
    target_slot: SlotName | None = None
    """The slot that is being filled or switched to."""
    built: bool = False
    took: bool = False
    """Whether the engine is one that another device built."""
    error_code: str | None = None
    message: str | None = None
    remedy: str | None = None
    probe: ProbeResult | None = None
    reported_end: bool = False
    waits_for: WaitsFor | None = None
    waits_until: float | None = None
    waiting_since: float | None = None
    waited_s: float = 0.0
    """Before ``waiting_since``."""
    shed_s: float = 0.0
    """Of it, for a busy server."""
    answered: tuple[str, ...] = ()
    """Deployments before this one which are not to be begun again, though the broker may still hold one of them."""

    def waited(self, now: float) -> float:
        """How long it has waited, up to now."""
        return self.waited_s + (max(now - self.waiting_since, 0.0) if self.waiting_since is not None else 0.0)


class KnownBad(BaseModel):
    """Releases that this device took back."""

    model_config = ConfigDict(frozen=True)

    releases: dict[str, str] = {}
    """``name@version`` by the manifest's SHA-256."""

    def against(self, release: ReleaseRef, manifest_sha256: str, active: ReleaseRef | None) -> str | None:
        """The release because of which this one is refused here, if there is one.

        What was taken back is refused for ever. Another one of its name is taken once it is newer: versions rise, so
        what is not newer was made before somebody could mend the fault. Where something newer runs already, the fault
        is mended and only the release itself stays out.
        """
        if manifest_sha256 in self.releases:
            return self.releases[manifest_sha256]
        here = version_key(active.version) if active is not None and active.name == release.name else None
        for text in self.releases.values():
            bad = ReleaseRef.parse(text)
            overcome = here is not None and here > version_key(bad.version)
            if bad.name == release.name and not overcome and version_key(release.version) <= version_key(bad.version):
                return text
        return None


class Journal:
    """The two files.

    Args:
        folder: ``STATE/update``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record = folder / "journal.json"
        self._bad = folder / "known_bad.json"
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> UpdateRecord | None:
        """The last deployment's record; ``None`` when there was none (or its file is damaged: then slots decide)."""
        try:
            return UpdateRecord.model_validate_json(self._record.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, record: UpdateRecord) -> None:
        """Keep the record, durably."""
        write_text(self._record, record.model_dump_json(indent=2) + "\n")

    def sweep(self) -> None:
        """Remove what a killed process left half-written beside the two files."""
        for path in (self._record, self._bad):
            sweep(path)

    def known_bad(self) -> KnownBad:
        """Releases that must not be installed again."""
        try:
            return KnownBad.model_validate_json(self._bad.read_bytes())
        except (OSError, ValidationError):
            return KnownBad()

    def condemn(self, release: ReleaseRef, manifest_sha256: str) -> None:
        """Remember a release as bad."""
        releases = {**self.known_bad().releases, manifest_sha256: str(release)}
        write_text(self._bad, KnownBad(releases=releases).model_dump_json(indent=2) + "\n")


class NextStep(str, Enum):
    """What to do with a record that is found at the start."""

    NOTHING = "nothing"
    BEGIN_AGAIN = "begin_again"
    """The active slot was not touched: begin the deployment again; what was downloaded is kept."""
    GIVE_UP = "give_up"
    PROBE = "probe"
    """Switch, if that had not happened yet, and probe again."""
    ROLL_BACK = "roll_back"
    REPORT = "report"
    """It ended, but the end was not handed to the spool."""


def next_step(record: UpdateRecord | None) -> NextStep:
    """What a start finds to do."""
    if record is None:
        return NextStep.NOTHING
    if record.state in TERMINAL:
        return NextStep.NOTHING if record.reported_end else NextStep.REPORT
    if record.state is UpdateState.ROLLING_BACK:
        return NextStep.ROLL_BACK
    if record.state in {UpdateState.INSTALLING, UpdateState.PROBING}:
        return NextStep.PROBE if record.probes < MOST_PROBES else NextStep.ROLL_BACK
    return NextStep.BEGIN_AGAIN if record.attempts < MOST_ATTEMPTS else NextStep.GIVE_UP
