"""The lifecycle of an update on a device, as one table.

Rules of this file: every transition stands in ``TRANSITIONS`` and nowhere else; nothing here touches a disk, a clock or
a network; an event that a state does not know raises and leaves the state as it was. State names are those of the
field (Mender, hawkBit, AWS IoT Jobs); see docs/adr.

    idle → downloading → verifying → building → installing → probing → committed
    a failure before ``installing`` leaves the active slot untouched and ends in ``failed``;
    a failure from ``installing`` on goes through ``rolling_back`` to ``rolled_back``;
    a release that does not fit this device, or is known bad, ends in ``rejected``;
    a person at the device may take back what was committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from mien.errors import InternalError


class _Word(str, Enum):
    """A member is its own text, as ``enum.StrEnum`` is from Python 3.11 on."""

    __str__ = str.__str__


class UpdateState(_Word):
    """Where an update stands."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    BUILDING = "building"
    INSTALLING = "installing"
    PROBING = "probing"
    COMMITTED = "committed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REJECTED = "rejected"


class UpdateEvent(_Word):
    """What happened."""

    ACCEPTED = "accepted"
    """A desired release was read, fits this device and is not known bad."""
    REFUSED = "refused"
    """It does not fit, is known bad, or its trust was refused."""
    DOWNLOADED = "downloaded"
    VERIFIED = "verified"
    """Bytes match the signed metadata and the manifest; an engine must be built."""
    BUILT = "built"
    """An engine stands in the inactive slot (built, or downloaded ready-made)."""
    SWITCHED = "switched"
    """The active link points to the new slot."""
    PROBE_PASSED = "probe_passed"
    PROBE_FAILED = "probe_failed"
    ERROR = "error"
    """The step failed for good."""
    RESTORED = "restored"
    """The old slot is active again."""
    TAKEN_BACK = "taken_back"
    """A person at the device took the committed release back."""
    SETTLED = "settled"
    """The end was reported; ready for the next desired release."""


_S, _E = UpdateState, UpdateEvent

TRANSITIONS: Mapping[UpdateState, Mapping[UpdateEvent, UpdateState]] = MappingProxyType(
    {
        _S.IDLE: {_E.ACCEPTED: _S.DOWNLOADING, _E.REFUSED: _S.REJECTED},
        _S.DOWNLOADING: {_E.DOWNLOADED: _S.VERIFYING, _E.REFUSED: _S.REJECTED, _E.ERROR: _S.FAILED},
        _S.VERIFYING: {_E.VERIFIED: _S.BUILDING, _E.REFUSED: _S.REJECTED, _E.ERROR: _S.FAILED},
        _S.BUILDING: {_E.BUILT: _S.INSTALLING, _E.ERROR: _S.FAILED},
        _S.INSTALLING: {_E.SWITCHED: _S.PROBING, _E.ERROR: _S.ROLLING_BACK},
        _S.PROBING: {
            _E.PROBE_PASSED: _S.COMMITTED,
            _E.PROBE_FAILED: _S.ROLLING_BACK,
            _E.ERROR: _S.ROLLING_BACK,
        },
        _S.ROLLING_BACK: {_E.RESTORED: _S.ROLLED_BACK, _E.ERROR: _S.FAILED},
        _S.COMMITTED: {_E.SETTLED: _S.IDLE, _E.TAKEN_BACK: _S.ROLLING_BACK},
        _S.ROLLED_BACK: {_E.SETTLED: _S.IDLE},
        _S.FAILED: {_E.SETTLED: _S.IDLE},
        _S.REJECTED: {_E.SETTLED: _S.IDLE},
    }
)

TERMINAL = frozenset({_S.COMMITTED, _S.ROLLED_BACK, _S.FAILED, _S.REJECTED})


def advance(state: UpdateState, event: UpdateEvent) -> UpdateState:
    """The state that follows.

    Raises:
        InternalError: the state does not know this event; the caller's state stays as it was.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError as error:
        known = ", ".join(TRANSITIONS[state])
        raise InternalError(f"update state '{state}' does not know event '{event}'", wanted=known) from error


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {UpdateState.IDLE}"]
    for state, events in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in events.items()]
    return "\n".join(lines) + "\n"
