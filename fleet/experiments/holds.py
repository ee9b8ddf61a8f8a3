"""A device is in a rollout or in an experiment, never in both: why one may not have what the other holds."""

from __future__ import annotations

from collections.abc import Collection

from fleet.errors import ConflictError
from fleet.store.work import Work


def held_by_experiment(work: Work, device_ids: Collection[str]) -> ConflictError | None:
    """Why a rollout may not have these devices, if some of them are in an experiment."""
    held = {device_id: number for device_id, number in work.experiments.held().items() if device_id in device_ids}
    if not held:
        return None
    device_id, number = min(held.items())
    return ConflictError(
        f"experiment {number} still holds {len(held)} of these devices",
        found=f"{device_id} is in it",
        remedy=f"wait for it, or end it: mien fleet experiment stop {number}",
    )
