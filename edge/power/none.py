"""No power source: states so, and gives no figures."""

from __future__ import annotations


class NoPower:
    """The source of a machine that measures nothing."""

    name = "none"

    def read(self) -> None:
        """Never a reading."""

    def close(self) -> None:
        """Nothing to give back."""
