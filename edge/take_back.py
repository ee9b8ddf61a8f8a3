"""``mien edge rollback``: a person returns to the release before, with or without a network, with or without the agent.

A running agent is asked and does it between two frames. Without one, links and journal are changed here, and the next
start runs the older release. Either way the fleet hears of it when it is reached. Only the owner of the state folder
and root may do it; root becomes the owner first, so that the agent can still write to all that is written here.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from edge.agent import Outbox
from edge.process import only_agent
from edge.telemetry.spool import Spool
from edge.update.by_hand import Request, Requests, way_back
from edge.update.interface import Device, ReleaseSource
from edge.update.journal import Journal
from edge.update.slots import Installed, SlotStore
from edge.update.updater import Updater
from mien.errors import ConfigError, TrustError, UnavailableError
from mien.lifecycle import TERMINAL

_LOOK_S = 0.2
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """What was done."""

    was: str
    runs: str
    by_agent: bool
    """Whether a running agent did it; else the release runs from the agent's next start on."""


def take_back(state: Path, *, reason: str = "", wait_s: float = 120.0) -> TakenBack:
    """Return to the release before.

    Args:
        state: the device's state folder.
        reason: for the fleet's operator.
        wait_s: how long a running agent may take; it finishes a trial that is under way first.

    Raises:
        ConfigError: there is no device state.
        TrustError: this user may not do it.
        BundleError: no whole release stands in the other slot.
        UnavailableError: the agent did not come to it in time, or refused; without an agent, another release runs now.
    """
    _become_owner(state)
    if not (state / "slots").is_dir():
        raise _no_state(state)
    slots, requests = SlotStore(state / "slots"), Requests(state / "update")
    active = slots.active()
    if active is None:
        raise ConfigError("no release runs here", remedy="see 'mien edge status'")
    back = way_back(slots)
    requests.ask(
        Request(manifest_sha256=active.record.manifest_sha256, reason=reason[:_LONGEST_REASON], asked_at=time.time())
    )
    done = TakenBack(was=str(active.release), runs=str(back.release), by_agent=False)
    with ExitStack() as alone:
        try:
            alone.enter_context(only_agent(state))
        except UnavailableError:
            _wait_for_agent(state, active, requests, wait_s)
            return replace(done, by_agent=True)
        _do_it_here(state, slots)
        now = slots.active()
        if now is None or now.record.manifest_sha256 != back.record.manifest_sha256:
            raise UnavailableError(
                "the release was not taken back",
                found="an update ended meanwhile, or the release before was changed",
                remedy="look with 'mien edge status', then ask again",
            )
    return done


def _become_owner(state: Path) -> None:
    try:
        owner = state.stat()
    except PermissionError as error:
        raise _not_theirs(state) from error
    except OSError as error:
        raise _no_state(state) from error
    if os.geteuid() == owner.st_uid:
        return
    if os.geteuid() != 0:
        raise _not_theirs(state)
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)


def _not_theirs(state: Path) -> TrustError:
    return TrustError(
        f"only the owner of {state} and root may take a release back",
        found=f"user {os.geteuid()}",
        remedy="run it with sudo",
    )


def _no_state(state: Path) -> ConfigError:
    return ConfigError(f"there is no device state in {state}", remedy="name its folder with --state")


def _do_it_here(state: Path, slots: SlotStore) -> None:
    spool = Spool(state / "spool.sqlite")
    try:
        updater = Updater(
            slots=slots,
            journal=Journal(state / "update"),
            source=cast("ReleaseSource", None),
            device=cast("Device", _AtRest()),
            reporter=Outbox(spool),
        )
        updater.take_back_if_asked()
    finally:
        spool.close()


def _wait_for_agent(state: Path, active: Installed, requests: Requests, wait_s: float) -> None:
    end_s = time.monotonic() + wait_s
    slots, journal = SlotStore(state / "slots"), Journal(state / "update")
    while time.monotonic() < end_s:
        now, record = slots.active(), journal.read()
        is_back = now is None or now.record.manifest_sha256 != active.record.manifest_sha256
        if not requests.waits() and (record is None or record.state in TERMINAL):
            if is_back:
                return
            raise UnavailableError(
                "the agent did not take the release back",
                found="its event 'rollback_refused' says why",
                remedy="look at the agent's log: journalctl -u mien-edge",
            )
        time.sleep(_LOOK_S)
    raise UnavailableError(
        f"the agent did not come to it within {wait_s:g} s",
        remedy="it will, once the step under way ends; look with 'mien edge status', or wait longer: --wait 10m",
    )


class _AtRest:
    """A device on which nothing runs, for a way back on which nothing is brought, built or tried."""

    def take_up(self, installed: Installed | None) -> None:
        """The links say what the next start runs."""

    def switched(self) -> None:
        """Nobody shows it."""
