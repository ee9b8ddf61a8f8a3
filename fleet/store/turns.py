"""Sums over a running rollout, and who is next in it, without reading every device; see :mod:`fleet.rollouts.turns`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, not_, or_, select, true
from sqlalchemy.orm import Session

from fleet.identity.membership import MemberState
from fleet.rollouts.admission import NO_SITE
from fleet.rollouts.limits import Budget
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import UNSUCCESSFUL, ExecutionState, RolloutState, WaveState
from fleet.rollouts.turns import Candidate, Turn
from fleet.store.models import DeviceRow, ExecutionRow, RolloutRow, WaveRow
from fleet.store.rollouts import busy_rows

_ACCEPTED = DeviceRow.state == MemberState.ACCEPTED.value
_MOST_SITES = 5000


class Turns:
    """Looks at rollouts from afar."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def look(self, rollout_id: int) -> Turn | None:
        """The sums of a rollout; ``None`` when it is not running or no wave of it has begun."""
        row = self._session.get(RolloutRow, rollout_id)
        if row is None or row.state != str(RolloutState.RUNNING):
            return None
        last = select(WaveRow.number, WaveRow.state).where(WaveRow.rollout_id == rollout_id)
        wave = self._session.execute(last.order_by(WaveRow.number.desc()).limit(1)).first()
        if wave is None:
            return None
        mine = ExecutionRow.rollout_id == rollout_id
        queued = and_(ExecutionRow.state == str(ExecutionState.QUEUED), ExecutionRow.waiting.is_(true()))
        counts: dict[int, dict[ExecutionState, int]] = {wave.number: {}}
        grouped = select(ExecutionRow.wave, ExecutionRow.state, func.count()).where(mine, _counts(row))
        for number, state, count in self._session.execute(grouped.group_by(ExecutionRow.wave, ExecutionRow.state)):
            counts.setdefault(number, {})[ExecutionState(state)] = count
        return Turn(
            policy=RolloutPolicy.model_validate(row.policy),
            wave=wave.number,
            wave_state=WaveState(wave.state),
            counts=counts.pop(wave.number),
            before=counts,
            busy=self._count(mine, busy_rows()),
            waiting=self._count(mine, queued),
        )

    def candidates(
        self, rollout_id: int, policy: RolloutPolicy, rooms: dict[str, int] | None, *, now: float, most: int
    ) -> list[Candidate]:
        """Devices that wait and whose site has room, in the order of their turn, ``most`` of them.

        Where only so many may be at it at once, those that are offline are left out: they would hold a place.
        """
        site = _site(policy.budget)
        chosen = (
            select(DeviceRow.id, ExecutionRow.deployment_id, DeviceRow.online, site)
            .join(ExecutionRow, ExecutionRow.device_id == DeviceRow.id)
            .where(
                ExecutionRow.rollout_id == rollout_id,
                ExecutionRow.state == str(ExecutionState.QUEUED),
                ExecutionRow.waiting.is_(true()),
                or_(ExecutionRow.not_before.is_(None), ExecutionRow.not_before <= now),
                _ACCEPTED,
            )
            .order_by(DeviceRow.online.desc(), ExecutionRow.rank, DeviceRow.id)
            .limit(most)
        )
        if policy.concurrency is not None:
            chosen = chosen.where(DeviceRow.online)
        if rooms is not None:
            full = [name for name, room in rooms.items() if room < 1]
            if 0 < len(full) <= _MOST_SITES:
                chosen = chosen.where(or_(site.not_in(full), not_(DeviceRow.online)))
        return [
            Candidate(device_id=name, deployment_id=deployment, online=online, site=where)
            for name, deployment, online, where in self._session.execute(chosen)
        ]

    def rooms(self, rollout_id: int, budget: Budget) -> dict[str, int]:
        """For each site, how many more of its devices may be away."""
        busy = select(ExecutionRow.device_id).where(ExecutionRow.rollout_id == rollout_id, busy_rows())
        away = case((or_(not_(DeviceRow.online), DeviceRow.id.in_(busy)), 1), else_=0)
        site = _site(budget).label("site")
        sums = select(site, func.count(), func.sum(away)).where(_ACCEPTED).group_by(site)
        return {name: budget.away_at_most(size) - int(gone) for name, size, gone in self._session.execute(sums)}

    def _count(self, *which: ColumnElement[bool]) -> int:
        return self._session.scalar(select(func.count()).select_from(ExecutionRow).where(*which)) or 0


def _counts(row: RolloutRow) -> ColumnElement[bool]:
    """Which parts count, as :func:`fleet.rollouts.tally.counted` says."""
    left_out = ExecutionRow.state.in_([str(ExecutionState.CANCELED), str(ExecutionState.REMOVED)])
    if row.forgiven_at is None:
        return not_(left_out)
    failed = ExecutionRow.state.in_([str(state) for state in UNSUCCESSFUL])
    forgiven = and_(failed, ExecutionRow.ended_at.is_not(None), ExecutionRow.ended_at <= row.forgiven_at)
    return not_(or_(left_out, forgiven))


def _site(budget: Budget | None) -> Any:  # noqa: ANN401 - a column or a value
    if budget is None:
        return literal(NO_SITE)
    return func.coalesce(DeviceRow.labels[budget.by].as_string(), NO_SITE)
