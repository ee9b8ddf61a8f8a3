"""When a certificate is renewed: the one decision that the device asks itself and the fleet holds it to.

A certificate is due at two thirds of its life. One that has expired may be renewed for a grace time still; afterwards
a person has to give the device a new token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_DUE_AT = 2 / 3


class Renewal(str, Enum):
    """What is to be done about a certificate."""

    __str__ = str.__str__

    KEEP = "keep"
    """It is good, and not due."""
    DUE = "due"
    """It is good, and its last third has begun."""
    GRACE = "grace"
    """It has expired, and may be renewed still."""
    OVER = "over"
    """It has expired for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when a certificate is good, in Unix seconds."""

    begins_at: float
    ends_at: float

    @property
    def due_at(self) -> float:
        """When it should be renewed."""
        return self.begins_at + _DUE_AT * (self.ends_at - self.begins_at)


def decide(validity: Validity, *, now: float, grace_s: float) -> Renewal:
    """What is to be done now.

    Args:
        validity: of the certificate.
        now: Unix seconds.
        grace_s: how long after its end it may be renewed.
    """
    if now > validity.ends_at + grace_s:
        return Renewal.OVER
    if now > validity.ends_at:
        return Renewal.GRACE
    return Renewal.DUE if now >= validity.due_at else Renewal.KEEP
