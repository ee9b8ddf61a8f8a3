"""One deployment under way: its record, its reports, its time.

Every change of state goes through the lifecycle's table, then to the disk, then to the fleet, in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.update.interface import Reporter, UpdateFault
from edge.update.journal import Journal, UpdateRecord
from mien.lifecycle import TERMINAL, UpdateEvent, UpdateState, advance
from mien.messages import UpdateReport, WaitsFor

_LEAST_BETWEEN_S = 1.0
CalledOff = Callable[[UpdateRecord], UpdateFault | None]
"""Why a deployment is not to be gone on with; ``None`` while it is wanted."""


class Deployment:
    """A deployment that can be killed at any point.

    Args:
        record: where it stands.
        journal: where that is kept.
        reporter: who is told.
        clock: Unix seconds.
        called_off: asked between steps, and while bytes arrive.
    """

    def __init__(
        self,
        record: UpdateRecord,
        *,
        journal: Journal,
        reporter: Reporter,
        clock: Callable[[], float],
        called_off: CalledOff = lambda _: None,
    ) -> None:
        self.record = record
        self._called_off = called_off
        self._journal = journal
        self._reporter = reporter
        self._clock = clock
        self._reported_percent = 0.0
        self._reported_at = 0.0

    @property
    def state(self) -> UpdateState:
        """Where it stands."""
        return self.record.state

    def note(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the record
        """Keep a change of the record that is no change of state."""
        self.record = self.record.model_copy(update=changes)
        self._journal.write(self.record)

    def move(self, event: UpdateEvent, *, quietly: bool = False, **changes: Any) -> None:  # noqa: ANN401
        """Take a step of the lifecycle, keep it and report it.

        Raises:
            InternalError: the present state does not know the event.
        """
        state = advance(self.state, event)
        self._reported_percent = 0.0
        if quietly and state not in TERMINAL:
            self.note(state=state, **changes)
        else:
            self.report(state=state, **changes)

    def progress(self, percent: float, *, step: float = 10.0) -> None:
        """Report progress within a state, every ``step`` percent and not more often than once a second."""
        now = self._clock()
        if percent >= self._reported_percent + step and now - self._reported_at >= _LEAST_BETWEEN_S:
            self._reported_percent = percent - percent % step
            self.report(percent=min(self._reported_percent, 100.0))

    def fault(self, event: UpdateEvent, fault: UpdateFault, **changes: Any) -> None:  # noqa: ANN401
        """Take the step that a fault makes necessary, with its code and words."""
        told = (fault.what, fault.found and f"found: {fault.found}", fault.wanted and f"wanted: {fault.wanted}")
        text = "; ".join(part for part in told if part)
        self.move(event, error_code=fault.code, message=text[:1000], remedy=fault.remedy[:500] or None, **changes)

    def report(self, *, percent: float | None = None, **changes: Any) -> None:  # noqa: ANN401
        """Tell the fleet how it stands, with a number that always rises; changes of the record are kept with it."""
        self._reported_at = self._clock()
        self.note(sequence=self.record.sequence + 1, **changes)
        record = self.record
        self._reporter.report(
            UpdateReport(
                deployment_id=record.desired.deployment_id,
                release=record.desired.release,
                sequence=record.sequence,
                state=record.state,
                percent=percent,
                error_code=record.error_code,
                message=record.message,
                remedy=record.remedy,
                probe=record.probe,
                built_engine=record.built,
                took_engine=record.took,
                waits_for=record.waits_for,
                waits_until=record.waits_until,
                waited_s=self.waited_s,
                at=self._clock(),
            )
        )
        if record.state in TERMINAL:
            self.note(reported_end=True)

    def begin_waiting(self, waits_for: WaitsFor, until: float, *, quietly: bool = False) -> None:
        """Time until :meth:`end_waiting` is not the deployment's, and a restart meanwhile is no attempt."""
        attempts = self.record.attempts - 1
        changes: dict[str, Any] = {"waits_for": waits_for, "waits_until": until, "attempts": attempts}
        changes["waiting_since"] = self._clock()
        if quietly:
            self.note(**changes)
        else:
            self.report(**changes)

    def end_waiting(self) -> None:
        """What was waited for is there, or not wanted any more."""
        waited_s, attempts = self.waited_s, self.record.attempts + 1
        self.note(waits_for=None, waits_until=None, waiting_since=None, waited_s=waited_s, attempts=attempts)

    @property
    def waited_s(self) -> float:
        """How long it has waited for windows, jitter and a busy server; restarts and the time between them count."""
        return self.record.waited(self._clock())

    def check(self) -> None:
        """Raise when the deployment is not wanted any more, or its time is up.

        Raises:
            UpdateFault: ``superseded``, ``withdrawn``, ``by_hand`` or ``timed_out``.
        """
        self.check_wanted()
        self.check_time()

    def check_wanted(self) -> None:
        """Raise when the deployment is not wanted any more.

        Raises:
            UpdateFault: ``superseded``, ``withdrawn`` or ``by_hand``.
        """
        fault = self._called_off(self.record)
        if fault is not None:
            raise fault

    def check_time(self) -> None:
        """Raise when the deployment's time is up.

        Raises:
            UpdateFault: ``timed_out``.
        """
        if self.seconds_left() <= 0:
            raise UpdateFault(
                "timed_out",
                f"the deployment did not end within {self.record.desired.timeout_s:g} s",
                found=f"it stopped while {self.state}",
                remedy="give the rollout a longer timeout_s, or look at the device's network",
            )

    def seconds_left(self) -> float:
        """Time until the deployment is given up, never more than all of it; what it waited for is not counted."""
        timeout_s = self.record.desired.timeout_s
        return min(self.record.started_at + self.waited_s + timeout_s - self._clock(), timeout_s)

    def keep_to_clock(self) -> None:
        """Begin anew in time where the clock was set back behind the beginning, such as one that came from 2100."""
        if self.record.started_at > self._clock():
            self.note(started_at=self._clock(), waited_s=0.0)
