"""What the policy looks at, and what it can turn.

Rules for implementations: a figure that is not known is ``None``, never zero or ``False``; times are
``time.monotonic()``.
"""

from __future__ import annotations

from typing import Protocol


class Health(Protocol):
    """One reading of the board."""

    @property
    def at_s(self) -> float:
        """When it was read."""

    @property
    def hottest_c(self) -> float | None:
        """The hottest sensor."""

    @property
    def throttled(self) -> bool | None:
        """Whether the board slows its clocks down because of heat."""

    @property
    def over_current(self) -> bool | None:
        """Whether it draws more current than allowed."""

    @property
    def memory_free(self) -> float | None:
        """Free memory as a fraction of all, 0..1."""

    @property
    def total_w(self) -> float | None:
        """Input power; stands in the events, decides nothing."""


class Actuator(Protocol):
    """What makes the device do less."""

    def set_rate(self, factor: float) -> None:
        """Take this fraction of the frames that would be taken otherwise; 1 takes all.

        Args:
            factor: above 0, at most 1.
        """

    def use_lighter(self, wanted: bool) -> bool:
        """Run the lighter variant of the release, or its own again; returns when it runs.

        Returns:
            Whether the device now runs what was asked for. ``False``: there is none, or it could not be opened, and
            what ran before still runs.
        """


class Told(Protocol):
    """Takes an event; :meth:`edge.agent.Outbox.event` is one."""

    def __call__(self, kind: str, severity: str, message: str, details: tuple[tuple[str, str], ...], /) -> None:
        """Hand over an event."""
