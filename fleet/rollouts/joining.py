"""Decides which devices get the fleet's current release although no rollout chose them: they joined, or returned. Pure.

Current is the release of the rollout that finished last and would have reached the device: by a wave of everybody or of
its labels, or that chose it and went on without it. A canary that ended well is no word about the others, and a rollout
that was halted is never it. A device that took the release back, refused it or failed with it in that rollout is left
alone, and so is one whose release is newer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fleet.rollouts.view import DeviceView
from mien.release import ReleaseRef, version_key

Reach = tuple[frozenset[tuple[str, str]], ...]
"""Sets of labels; a device with all labels of one of them is reached."""
EVERYBODY: frozenset[tuple[str, str]] = frozenset()
_ALL = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What a group runs."""

    rollout_id: int
    release: str
    group: str | None
    """``None``: every group."""
    reaches: Reach = (EVERYBODY,)
    """Whom its waves reach; empty where it was for a number of devices only."""


def reach_of(waves: Iterable[Mapping[str, Any]]) -> Reach:
    """Whom waves reach, whoever joins: everybody, or those with all labels of one of them.

    Args:
        waves: as a policy lists them.
    """
    labelled = [wave["labels"] for wave in waves if wave.get("labels") is not None]
    everybody = any(wave.get("percent") == _ALL for wave in waves)
    return (EVERYBODY,) if everybody else tuple(frozenset(labels.items()) for labels in labelled)


def currents_of(finished: Iterable[Current]) -> list[Current]:
    """The newest finished rollout of each group and reach, newest first.

    Args:
        finished: all of them, the one that ended last first.
    """
    found: dict[tuple[str | None, Reach], Current] = {}
    for one in finished:
        found.setdefault((one.group, one.reaches), one)
        if one.group is None and EVERYBODY in one.reaches:
            break  # it reached everybody, so older ones are past
    return list(found.values())


def joiners(
    current: Current,
    currents: Sequence[Current],
    devices: Iterable[DeviceView],
    taken: Collection[str],
    *,
    missed: Mapping[int, Collection[str]] = MappingProxyType({}),
) -> list[DeviceView]:
    """The devices that shall be brought to a release.

    Args:
        current: the release, with its group.
        currents: all of them, newest first.
        devices: those that nobody told anything.
        taken: devices of that rollout, of a rollout under way or of an experiment.
        missed: devices that each rollout chose and went on without.
    """
    return [
        device
        for device in devices
        if device.online
        and device.id not in taken
        and _current_of(device, currents, missed) == current
        and current.release not in device.known_bad
        and _is_older(device.release, current.release)
    ]


def _current_of(
    device: DeviceView, currents: Sequence[Current], missed: Mapping[int, Collection[str]]
) -> Current | None:
    labels = device.labels.items()
    return next(
        (
            one
            for one in currents
            if one.group in {None, device.group}
            and (device.id in missed.get(one.rollout_id, ()) or any(wanted <= labels for wanted in one.reaches))
        ),
        None,
    )


def _is_older(held: str | None, wanted: str) -> bool:
    """Whether a device has no release, or an older one of the same name; another name is somebody's choice."""
    if held is None:
        return True
    ours, theirs = ReleaseRef.parse(held), ReleaseRef.parse(wanted)
    return ours.name == theirs.name and version_key(ours.version) < version_key(theirs.version)
