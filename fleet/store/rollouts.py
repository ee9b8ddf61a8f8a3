"""Rollouts in the store: the rollout with its waves and executions, read as one value and changed part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import OPEN, ExecutionState, RevertState, RolloutState, WaveState
from fleet.rollouts.view import ExecutionView, RolloutView, WaveView
from fleet.store.models import ExecutionRow, RolloutRow, WaveRow
from mien.messages import UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A rollout: what the planner sees, and what people want to know besides."""

    view: RolloutView
    manifest_sha256: str
    policy_name: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    halted_because: str | None
    paused_because: str | None
    verdicts: Mapping[int, Mapping[str, Any]]
    wave_ends: Mapping[int, float | None]


class Rollouts:
    """Keeps rollouts."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, release: str, manifest_sha256: str, policy: RolloutPolicy, *, seed: str, at: float) -> int:
        """Keep a new rollout, a draft; its number."""
        row = RolloutRow(
            release=release,
            manifest_sha256=manifest_sha256,
            policy_name=policy.name,
            policy=policy.model_dump(mode="json"),
            seed=seed,
            state=str(RolloutState.DRAFT),
            created_at=at,
            reverts=policy.revert,
        )
        self._session.add(row)
        self._session.flush()
        return row.id

    def find(self, rollout_id: int) -> Rollout | None:
        """A rollout by its number."""
        row = self._session.get(RolloutRow, rollout_id)
        return self._whole(row) if row else None

    def all(self) -> list[Rollout]:
        """Every rollout, newest first."""
        return [self._whole(row) for row in self._session.scalars(select(RolloutRow).order_by(RolloutRow.id.desc()))]

    def in_states(self, states: Sequence[RolloutState]) -> list[Rollout]:
        """Rollouts in one of these states, oldest first."""
        chosen = select(RolloutRow).where(RolloutRow.state.in_([str(state) for state in states]))
        return [self._whole(row) for row in self._session.scalars(chosen.order_by(RolloutRow.id))]

    def move(self, rollout_id: int, state: RolloutState, **fields: Any) -> None:  # noqa: ANN401 - columns of the row
        """Change the state, and columns along with it."""
        row = self._session.get_one(RolloutRow, rollout_id)
        row.state = str(state)
        for name, value in fields.items():
            setattr(row, name, value)

    def start_wave(self, rollout_id: int, number: int, *, at: float) -> None:
        """Open a wave."""
        self._session.add(WaveRow(rollout_id=rollout_id, number=number, state=str(WaveState.RUNNING), started_at=at))
        self._session.flush()

    def set_wave(
        self, rollout_id: int, number: int, state: WaveState, *, at: float, verdict: Mapping[str, Any] | None = None
    ) -> None:
        """Note where a wave stands. The verdict stays when none is given."""
        row = self._session.get_one(WaveRow, (rollout_id, number))
        if state is WaveState.SOAKING and row.state != str(WaveState.SOAKING):
            row.soak_started_at = at
        if state in {WaveState.FINISHED, WaveState.ERROR}:
            row.ended_at = at
        row.state = str(state)
        if verdict is not None:
            row.verdict = dict(verdict)

    def soak_again(self, rollout_id: int, number: int, *, at: float) -> None:
        """Measure a wave anew from now on."""
        self._session.get_one(WaveRow, (rollout_id, number)).soak_started_at = at

    def set_verdict(self, rollout_id: int, number: int, verdict: Mapping[str, Any]) -> None:
        """Note the present verdict on a wave that soaks."""
        self._session.get_one(WaveRow, (rollout_id, number)).verdict = dict(verdict)

    def add_execution(self, rollout_id: int, execution: ExecutionView, *, at: float) -> None:
        """Take a device into a wave."""
        done = execution.state not in OPEN
        self._session.add(
            ExecutionRow(
                rollout_id=rollout_id,
                device_id=execution.device_id,
                wave=execution.wave,
                deployment_id=execution.deployment_id,
                state=str(execution.state),
                detail=execution.detail,
                previous=execution.previous,
                queued_at=at,
                ended_at=at if done else None,
            )
        )

    def set_execution(self, rollout_id: int, device_id: str, state: ExecutionState, detail: str, *, at: float) -> None:
        """Note where a device stands."""
        row = self._session.get_one(ExecutionRow, (rollout_id, device_id))
        if state is not ExecutionState.QUEUED and row.started_at is None:
            row.started_at = at
        if state not in OPEN and row.ended_at is None:
            row.ended_at = at
        row.state, row.detail = str(state), detail

    def start_revert(self, rollout_id: int, device_id: str, revert_id: str, state: RevertState, *, at: float) -> None:
        """Note that a device is being taken back."""
        row = self._session.get_one(ExecutionRow, (rollout_id, device_id))
        row.revert_id, row.revert_at, row.revert_state = revert_id, at, str(state)

    def set_revert(self, rollout_id: int, device_id: str, state: RevertState) -> None:
        """Note where taking a device back stands."""
        self._session.get_one(ExecutionRow, (rollout_id, device_id)).revert_state = str(state)

    def report(self, device_id: str, report: UpdateReport) -> bool:
        """Keep a device's report with its deployment, unless a newer one is there.

        Returns:
            Whether it was kept; not when it is older, or the deployment is not that device's.
        """
        body = report.model_dump(mode="json")
        mine = select(ExecutionRow).where(ExecutionRow.device_id == device_id)
        row = self._session.scalar(mine.where(ExecutionRow.deployment_id == report.deployment_id))
        if row is not None:
            if (row.report or {}).get("sequence", -1) >= report.sequence:
                return False
            row.report = body
            return True
        row = self._session.scalar(mine.where(ExecutionRow.revert_id == report.deployment_id))
        if row is None or (row.revert_report or {}).get("sequence", -1) >= report.sequence:
            return False
        row.revert_report = body
        return True

    def _whole(self, row: RolloutRow) -> Rollout:
        waves = self._session.scalars(
            select(WaveRow).where(WaveRow.rollout_id == row.id).order_by(WaveRow.number)
        ).all()
        executions = self._session.scalars(
            select(ExecutionRow).where(ExecutionRow.rollout_id == row.id).order_by(ExecutionRow.queued_at)
        ).all()
        return Rollout(
            view=_view(row, waves, executions),
            manifest_sha256=row.manifest_sha256,
            policy_name=row.policy_name,
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            halted_because=row.halted_because,
            paused_because=row.paused_because,
            verdicts={wave.number: wave.verdict for wave in waves if wave.verdict},
            wave_ends={wave.number: wave.ended_at for wave in waves},
        )


def _view(row: RolloutRow, waves: Sequence[WaveRow], executions: Sequence[ExecutionRow]) -> RolloutView:
    return RolloutView(
        id=row.id,
        release=row.release,
        seed=row.seed,
        state=RolloutState(row.state),
        policy=RolloutPolicy.model_validate(row.policy),
        reverts=row.reverts,
        waves=tuple(
            WaveView(
                number=wave.number,
                state=WaveState(wave.state),
                started_at=wave.started_at,
                soak_started_at=wave.soak_started_at,
            )
            for wave in waves
        ),
        executions=tuple(_execution(execution) for execution in executions),
    )


def _execution(row: ExecutionRow) -> ExecutionView:
    return ExecutionView(
        device_id=row.device_id,
        wave=row.wave,
        deployment_id=row.deployment_id,
        state=ExecutionState(row.state),
        detail=row.detail,
        previous=row.previous,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        report=UpdateReport.model_validate(row.report) if row.report else None,
        revert_id=row.revert_id,
        revert_at=row.revert_at,
        revert_state=RevertState(row.revert_state) if row.revert_state else None,
        revert_report=UpdateReport.model_validate(row.revert_report) if row.revert_report else None,
    )
