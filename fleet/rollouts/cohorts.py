"""Who falls into which wave: the same devices for the same seed, in whatever order they are listed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from fleet.rollouts.policy import WavePolicy
from fleet.rollouts.view import DeviceView, RolloutView


def targets(rollout: RolloutView, devices: Iterable[DeviceView]) -> list[DeviceView]:
    """The devices that the rollout is for, in cohort order."""
    meant = [device for device in devices if is_meant(rollout, device)]
    return sorted(meant, key=lambda device: rank(rollout.seed, device.id))


def is_meant(rollout: RolloutView, device: DeviceView) -> bool:
    """Whether the rollout is for a device."""
    return device.accepted and rollout.policy.group in {None, device.group}


def rank(seed: str, device_id: str) -> str:
    """A device's place in the cohort order: a hash, so that neither name nor age favours anyone."""
    return hashlib.sha256(f"{seed}:{device_id}".encode()).hexdigest()


def next_cohort(rollout: RolloutView, devices: Iterable[DeviceView], wave: WavePolicy) -> list[DeviceView]:
    """The devices of the next wave: those who are online before those who are not, otherwise in cohort order.

    Never more than the wave allows; a percentage counts all targets and what earlier waves took, rounded up.
    """
    meant = targets(rollout, devices)
    taken = {execution.device_id for execution in rollout.executions}
    free = sorted((device for device in meant if device.id not in taken), key=lambda device: not device.online)
    if wave.labels is not None:
        wanted = wave.labels.items()
        return [device for device in free if wanted <= dict(device.labels).items()]
    if wave.count is not None:
        return free[: wave.count]
    already = len(meant) - len(free)
    return free[: max(0, math.ceil(len(meant) * (wave.percent or 0) / 100) - already)]
