"""Decides which devices get the fleet's current release although no rollout chose them: they joined, or returned. Pure.

Current is the release of the rollout that finished last for a device's group; a rollout that was halted is never it. A
device that took the release back, refused it or failed with it in that rollout is left alone, and so is one whose
release is newer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fleet.rollouts.view import DeviceView
from mien.release import ReleaseRef, version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What a group runs."""

    rollout_id: int
    release: str
    group: str | None
    """``None``: every group."""


def currents_of(finished: Iterable[tuple[int, str, str | None]]) -> list[Current]:
    """The newest finished rollout of each group, newest first.

    Args:
        finished: number, release and group of finished rollouts, the one that ended last first.
    """
    found: dict[str | None, Current] = {}
    for rollout_id, release, group in finished:
        if None in found:
            break  # it reached everybody, so older ones are past
        found.setdefault(group, Current(rollout_id=rollout_id, release=release, group=group))
    return list(found.values())


def joiners(
    current: Current, currents: Sequence[Current], devices: Iterable[DeviceView], taken: Collection[str]
) -> list[DeviceView]:
    """The devices that shall be brought to a release.

    Args:
        current: the release, with its group.
        currents: all of them, newest first.
        devices: those that nobody told anything.
        taken: devices of that rollout, of a rollout under way or of an experiment.
    """
    return [
        device
        for device in devices
        if device.online
        and device.id not in taken
        and _current_of(device, currents) == current
        and current.release not in device.known_bad
        and _is_older(device.release, current.release)
    ]


def _current_of(device: DeviceView, currents: Sequence[Current]) -> Current | None:
    return next((one for one in currents if one.group in {None, device.group}), None)


def _is_older(held: str | None, wanted: str) -> bool:
    """Whether a device has no release, or an older one of the same name; another name is somebody's choice."""
    if held is None:
        return True
    ours, theirs = ReleaseRef.parse(held), ReleaseRef.parse(wanted)
    return ours.name == theirs.name and version_key(ours.version) < version_key(theirs.version)
