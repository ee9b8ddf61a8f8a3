"""Follows a rollout to its end on the command line, with a bar for its devices."""

from __future__ import annotations

import time
from typing import Any

from fleet.client import FleetClient
from mien.console import err, progress_bar

_PAUSE_S = 0.5
_ENDS = frozenset({"finished", "stopped", "paused"})


def wait_for_end(fleet: FleetClient, rollout_id: int) -> dict[str, Any]:
    """Wait until a rollout is finished, stopped or paused.

    Raises:
        UnavailableError: the service went away.
    """
    with progress_bar() as progress:
        rollout: dict[str, Any] = fleet.get(f"/rollouts/{rollout_id}")
        progress.start(f"roll out {rollout['release']}", rollout["devices_total"])
        done = 0
        while True:
            ended = sum(1 for execution in rollout["executions"] if execution["ended_at"] is not None)
            progress.advance(ended - done, note=_note(rollout))
            done = ended
            if rollout["state"] in _ENDS:
                break
            time.sleep(_PAUSE_S)
            rollout = fleet.get(f"/rollouts/{rollout_id}")
    said = rollout["halted_because"] or rollout["paused_because"] or ""
    if said:
        err().print(f"  {rollout['state']}: {said}", highlight=False, markup=False)
    return rollout


def _note(rollout: dict[str, Any]) -> str:
    begun = [wave for wave in rollout["waves"] if wave["state"] != "pending"]
    if not begun:
        return str(rollout["state"])
    wave = begun[-1]
    busy = [execution for execution in rollout["executions"] if execution["state"] == "IN_PROGRESS"]
    detail = f", {busy[0]['device']} {busy[0]['detail']}" if busy else ""
    return f"{wave['name']} {wave['state']}{detail}"
