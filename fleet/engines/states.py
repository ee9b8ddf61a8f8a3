"""The states of an engine that a device offered. Pure."""

from __future__ import annotations

from enum import Enum


class EngineState(str, Enum):
    """Where an offered engine stands."""

    UPLOADING = "uploading"
    """Its record was taken, its bytes are on their way."""
    CHECKING = "checking"
    """All bytes are here and are what the record says; the fleet holds the record against what it knows."""
    WAITING = "waiting"
    """Every check passed; a person's yes, or another builder's word, is missing."""
    SIGNED = "signed"
    """Later devices of its class take it."""
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    """It was signed and is no longer."""

    def __str__(self) -> str:
        """The word itself."""
        return self.value


OPEN = frozenset({EngineState.UPLOADING, EngineState.CHECKING, EngineState.WAITING})
"""States in which bytes lie in quarantine."""
