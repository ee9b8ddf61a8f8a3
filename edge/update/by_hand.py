"""A person's request to take the running release back: a file in the state folder, so that the agent need not run.

Whoever may write to the folder may ask: its owner, and root. The request names what it takes back, so that one which
was left over takes nothing else back.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.update.journal import UpdateRecord
from edge.update.slots import Installed, SlotStore
from mien.errors import BundleError
from mien.files import write_text
from mien.lifecycle import UpdateState
from mien.messages import Desired
from mien.release import Sha256

_MOST_ANSWERED = 8


class Request(BaseModel):
    """What is to be taken back, and why."""

    model_config = ConfigDict(frozen=True)

    manifest_sha256: Sha256
    reason: str = ""
    asked_at: float


class Requests:
    """The file.

    Args:
        folder: ``STATE/update``.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "rollback.json"

    def waits(self) -> bool:
        """Whether somebody asks."""
        return self._path.exists()

    def read(self) -> Request | None:
        """What is asked; ``None`` when nobody asks, or not in a way that can be read."""
        try:
            return Request.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    def ask(self, request: Request) -> None:
        """Ask, durably."""
        write_text(self._path, request.model_dump_json() + "\n")

    def drop(self) -> None:
        """It was done, or cannot be."""
        self._path.unlink(missing_ok=True)


def way_back(slots: SlotStore) -> Installed:
    """The release to return to, with its bytes checked.

    Raises:
        BundleError: there is none, or it was changed.
    """
    fallback = slots.fallback()
    if fallback is None:
        raise BundleError(
            "no release stands in the other slot",
            wanted="the release that ran before, which an update keeps until the next one needs its slot",
            remedy="deploy the older release from the fleet: mien fleet rollout",
        )
    fallback.verify()
    return fallback


def record_of(active: Installed, request: Request, last: UpdateRecord | None, now: float) -> UpdateRecord:
    """The committed deployment that is taken back: the one that brought the release, if it was the last.

    Another one that came since is answered for good; taking back what runs gets a record of its own.
    """
    sha256 = active.record.manifest_sha256
    if last is not None and last.state is UpdateState.COMMITTED and last.desired.manifest_sha256 == sha256:
        return last
    answered = (last.desired.deployment_id, *last.answered)[:_MOST_ANSWERED] if last is not None else ()
    desired = Desired(
        deployment_id=f"by-hand-{int(request.asked_at)}",
        release=active.release,
        manifest_sha256=sha256,
        issued_at=request.asked_at,
    )
    return UpdateRecord(desired=desired, state=UpdateState.COMMITTED, started_at=now, answered=answered)
