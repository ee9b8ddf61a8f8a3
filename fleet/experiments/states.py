"""The states of experiments and the arms they have. What one device does is told in the words of rollouts."""

from __future__ import annotations

from enum import Enum


class _Word(str, Enum):
    __str__ = str.__str__


class ExperimentState(_Word):
    """Where an experiment stands."""

    RUNNING = "running"
    ENDING = "ending"
    """Devices are being brought to where the end wants them."""
    STOPPING = "stopping"
    """The same, after a person ended it."""
    FINISHED = "finished"
    """Its time was over, or one release was dropped."""
    STOPPED = "stopped"
    """A person ended it."""


class Arm(_Word):
    """One of the two sides."""

    CONTROL = "control"
    CANDIDATE = "candidate"

    @property
    def other(self) -> Arm:
        """The other side."""
        return Arm.CANDIDATE if self is Arm.CONTROL else Arm.CONTROL


LIVE = frozenset({ExperimentState.RUNNING, ExperimentState.ENDING, ExperimentState.STOPPING})
"""States in which an experiment holds its devices."""
