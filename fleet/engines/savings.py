"""How many engines a rollout built, and how many builds ready-made engines saved it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.rollouts.states import ExecutionState
from fleet.rollouts.view import ExecutionView


@dataclass(frozen=True, slots=True, kw_only=True)
class Builds:
    """Of the devices that have the release."""

    built: int
    """Built their engine themselves."""
    saved: int
    """Took one that another device of their class had built."""

    def sentence(self) -> str | None:
        """The same in words; ``None`` where no engine came into it."""
        if not self.built and not self.saved:
            return None
        return f"Engines: {self.built} built on devices, {self.saved} builds saved by engines that others had built."


def builds_of(executions: Iterable[ExecutionView]) -> Builds:
    """Count from what devices reported at their updates' good ends."""
    reports = [one.report for one in executions if one.state is ExecutionState.SUCCEEDED and one.report is not None]
    return Builds(
        built=sum(1 for report in reports if report.built_engine),
        saved=sum(1 for report in reports if report.took_engine and not report.built_engine),
    )
