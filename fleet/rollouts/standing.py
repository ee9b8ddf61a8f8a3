"""Decides where one device's part in a rollout stands, from its reports, its presence and the clock. Pure."""

from __future__ import annotations

from fleet.rollouts.states import OPEN, ExecutionState, RevertState
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView
from mien.lifecycle import TERMINAL, UpdateState
from mien.messages import UpdateReport

GRACE_S = 30.0
"""How much longer the fleet waits than the device was told to: the device's own verdict comes first."""

_LONGEST_WAIT_S = 8 * 86_400.0
"""How long a device may wait for a window: weekly ones, and a day."""

_X = ExecutionState
_ENDS = {
    UpdateState.COMMITTED: _X.SUCCEEDED,
    UpdateState.ROLLED_BACK: _X.FAILED,
    UpdateState.FAILED: _X.FAILED,
    UpdateState.REJECTED: _X.REJECTED,
}


def standing(
    execution: ExecutionView, device: DeviceView | None, rollout: RolloutView, now: float
) -> tuple[ExecutionState, str]:
    """Where a device's part stands now, and in words why."""
    if execution.state not in OPEN:
        return execution.state, execution.detail
    if device is None or not device.accepted:
        return _X.REMOVED, "the device left the fleet"
    report = execution.report
    if execution.waiting or report is None:
        return _unanswered(execution, device, rollout, now)
    if report.state in TERMINAL:
        return _ENDS[report.state], _told(report)
    if _overdue(execution, device, rollout, now):
        return _X.TIMED_OUT, f"no end after {rollout.policy.timeout_s:.0f} s"
    begun = report.state is not UpdateState.IDLE
    return (_X.IN_PROGRESS, _progress(report)) if begun else (execution.state, execution.detail)


def revert_standing(
    execution: ExecutionView, device: DeviceView | None, rollout: RolloutView, now: float
) -> RevertState | None:
    """Where taking a device back stands now; ``None`` where nobody asked for that."""
    if execution.revert_state is not RevertState.IN_PROGRESS:
        return execution.revert_state
    if device is None or not device.accepted:
        return RevertState.FAILED
    report = execution.revert_report
    if device.release == execution.previous and device.release is not None:
        return RevertState.DONE
    if report is not None and report.state in {UpdateState.COMMITTED, UpdateState.ROLLED_BACK}:
        return RevertState.DONE
    if report is not None and report.state in TERMINAL:
        return RevertState.FAILED
    late = now - (execution.revert_at or now) > rollout.policy.timeout_s + GRACE_S
    return RevertState.FAILED if late and device.online else RevertState.IN_PROGRESS


def _unanswered(
    execution: ExecutionView, device: DeviceView, rollout: RolloutView, now: float
) -> tuple[ExecutionState, str]:
    """Where a device stands that has not answered: by the policy, one that is offline is not waited for without end."""
    policy = rollout.policy.offline
    if not execution.waiting and _overdue(execution, device, rollout, now):
        return _X.TIMED_OUT, f"no answer after {rollout.policy.timeout_s:.0f} s"
    since = max(execution.queued_at, execution.not_before or 0.0, device.offline_since or 0.0)
    if device.online or policy.then == "wait" or now - since <= policy.after_s:
        return execution.state, execution.detail
    if policy.then == "count":
        return _X.TIMED_OUT, f"offline for {policy.after_s:.0f} s"
    return _X.CANCELED, f"offline for {policy.after_s:.0f} s; it gets the release when it returns"


def _overdue(execution: ExecutionView, device: DeviceView, rollout: RolloutView, now: float) -> bool:
    """A device that has begun has its time; one that was never reached is late only while it is online."""
    waited_s = min(execution.report.waited_s, _LONGEST_WAIT_S) if execution.report is not None else 0.0
    longest = rollout.policy.timeout_s + waited_s + GRACE_S
    if execution.report is not None and execution.report.waits_for is not None:
        longest += _LONGEST_WAIT_S
    if execution.started_at is not None:
        return now - execution.started_at > longest
    since = max(execution.queued_at, device.online_since or execution.queued_at)
    return device.online and now - since > longest


def _told(report: UpdateReport) -> str:
    if report.state is UpdateState.COMMITTED:
        return "committed"
    head = f"{report.state} ({report.error_code})" if report.error_code else str(report.state)
    reason = "; ".join(report.probe.reasons if report.probe else ()) or report.message
    return f"{head}: {reason}" if reason else head


def _progress(report: UpdateReport) -> str:
    return str(report.state) if report.percent is None else f"{report.state} {report.percent:.0f} %"
