"""Rollouts in the store: the rollout with its waves and executions, read as one value and changed part by part."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import JSON, ColumnElement, Row, Table, and_, case, exists, false, null, or_, select, true, type_coerce
from sqlalchemy.orm import Session

from fleet.rollouts.joining import Current, reach_of
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import ACTIVE, ENDED, OPEN, ExecutionState, RevertState, RolloutState, WaveState
from fleet.rollouts.view import ExecutionView, RolloutView, WaveView
from fleet.store.models import DeviceRow, ExecutionRow, RolloutRow, WaveRow
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
    created_by: str | None = None
    remarks: Sequence[Mapping[str, Any]] = ()
    """What people said when they approved or denied, oldest first."""


_TABLE = cast("Table", ExecutionRow.__table__)  # its columns are read faster than the class' attributes
_ANY: ColumnElement[bool] = true()
_STATES = {str(state): state for state in ExecutionState}
_AT_ONCE = 5000
"""Rows named in one query; databases bound the number of values."""


class Rollouts:
    """Keeps rollouts."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loaded: list[ExecutionRow] = []

    def add(
        self, release: str, manifest_sha256: str, policy: RolloutPolicy, *, seed: str, at: float, by: str | None = None
    ) -> int:
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
            approved_wave=-1,
            created_by=by,
        )
        self._session.add(row)
        self._session.flush()
        return row.id

    def find(self, rollout_id: int) -> Rollout | None:
        """A rollout by its number."""
        row = self._session.get(RolloutRow, rollout_id)
        return self._whole(row) if row else None

    def all(self, most: int | None = None) -> list[Rollout]:
        """Every rollout, or the newest so many; newest first."""
        chosen = select(RolloutRow).order_by(RolloutRow.id.desc()).limit(most)
        return [self._whole(row) for row in self._session.scalars(chosen)]

    def planned(self, rollout_id: int) -> Rollout | None:
        """A rollout as the planner needs it: reports only of devices that have not ended well."""
        row = self._session.get(RolloutRow, rollout_id)
        return self._whole(row, lean=True) if row else None

    def bare(self, rollout_id: int) -> Rollout | None:
        """A rollout without its devices."""
        row = self._session.get(RolloutRow, rollout_id)
        return self._whole(row, lean=True, which=false()) if row else None

    def busy(self, rollout_id: int) -> Rollout | None:
        """A rollout with only those devices that were told something and have not ended it."""
        row = self._session.get(RolloutRow, rollout_id)
        return self._whole(row, lean=True, which=busy_rows()) if row else None

    def to_follow(self) -> list[int]:
        """Rollouts in which something may still happen, by number.

        Those under way, and of those that ended the ones whose devices are still at it or run a release that was taken
        back.
        """
        mine = ExecutionRow.rollout_id == RolloutRow.id  # each question by an index: all that ever ended are asked
        at_it = exists().where(mine, ExecutionRow.state.in_([str(state) for state in OPEN]))
        on_its_way_back = exists().where(mine, ExecutionRow.revert_state == str(RevertState.IN_PROGRESS))
        told = DeviceRow.desired["deployment_id"].as_string()
        came_late = exists().where(
            mine,
            DeviceRow.id == ExecutionRow.device_id,
            DeviceRow.release == RolloutRow.release,
            or_(told.is_(None), told == ExecutionRow.deployment_id),  # else it is another rollout's by now
            ExecutionRow.revert_id.is_(None),
            ExecutionRow.previous.is_not(None),
        )
        taken_back = and_(RolloutRow.state == str(RolloutState.STOPPED), RolloutRow.reverts)
        left = or_(at_it, on_its_way_back, and_(taken_back, came_late))
        under_way = RolloutRow.state.in_([str(state) for state in ACTIVE])
        ended = RolloutRow.state.in_([str(state) for state in ENDED])
        chosen = select(RolloutRow.id).where(or_(under_way, and_(ended, left))).order_by(RolloutRow.id)
        return list(self._session.scalars(chosen))

    def last_finished(self) -> list[Current]:
        """Every finished rollout, the one that ended last first."""
        chosen = (
            select(RolloutRow.id, RolloutRow.release, RolloutRow.policy)
            .where(RolloutRow.state == str(RolloutState.FINISHED))
            .order_by(RolloutRow.ended_at.desc(), RolloutRow.id.desc())
        )
        return [
            Current(rollout_id=number, release=release, group=policy.get("group"), reaches=reach_of(policy["waves"]))
            for number, release, policy in self._session.execute(chosen)
        ]

    def held(self) -> set[str]:
        """Devices that a rollout under way has chosen."""
        under_way = RolloutRow.state.in_([str(state) for state in ACTIVE])
        chosen = select(ExecutionRow.device_id).join(RolloutRow, RolloutRow.id == ExecutionRow.rollout_id)
        return set(self._session.scalars(chosen.where(under_way)))

    def had(self, rollout_id: int, device_ids: Sequence[str]) -> set[str]:
        """Those of some devices that a rollout had its end with, be it good or bad; not those it went on without."""
        chosen = select(ExecutionRow.device_id).where(
            ExecutionRow.rollout_id == rollout_id, ExecutionRow.state != str(ExecutionState.CANCELED)
        )
        return set(self._session.scalars(chosen)) & set(device_ids)

    def missed(self, rollout_id: int) -> set[str]:
        """Devices that a rollout chose and went on without."""
        chosen = select(ExecutionRow.device_id).where(
            ExecutionRow.rollout_id == rollout_id, ExecutionRow.state == str(ExecutionState.CANCELED)
        )
        return set(self._session.scalars(chosen))

    def durations_s(self, most: int = 1000) -> list[float]:
        """How long devices took that took up a release, from being told to the end; the latest first."""
        took = (
            select(ExecutionRow.ended_at - ExecutionRow.queued_at)
            .where(ExecutionRow.state == str(ExecutionState.SUCCEEDED), ExecutionRow.started_at.is_not(None))
            .order_by(ExecutionRow.ended_at.desc())
            .limit(most)
        )
        return [float(seconds) for seconds in self._session.scalars(took) if seconds is not None]

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

    def add_execution(self, rollout_id: int, execution: ExecutionView, *, at: float, rank: str | None = None) -> None:
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
                waiting=execution.waiting,
                attempts=execution.attempts,
                rank=rank,
                ended_at=at if done else None,
            )
        )

    def load(self, rollout_id: int, device_ids: Collection[str]) -> None:
        """Read rows at once which the next calls would read one by one."""
        rows: list[ExecutionRow] = []
        names = sorted(device_ids)
        for some in (names[begin : begin + _AT_ONCE] for begin in range(0, len(names), _AT_ONCE)):
            mine = ExecutionRow.rollout_id == rollout_id
            rows += self._session.scalars(select(ExecutionRow).where(mine, ExecutionRow.device_id.in_(some)))
        self._loaded = rows  # the session forgets rows that nobody holds

    def tell(self, rollout_id: int, device_id: str, *, at: float) -> None:
        """Note that a device which waited was told."""
        row = self._session.get_one(ExecutionRow, (rollout_id, device_id))
        row.waiting, row.queued_at = False, at

    def ask_again(self, rollout_id: int, device_id: str, deployment_id: str, *, not_before: float, detail: str) -> None:
        """Let a device wait for another attempt; reports of the one before are of another deployment and forgotten."""
        row = self._session.get_one(ExecutionRow, (rollout_id, device_id))
        row.deployment_id, row.not_before, row.detail = deployment_id, not_before, detail
        row.state, row.waiting, row.attempts = str(ExecutionState.QUEUED), True, row.attempts + 1
        row.started_at = row.ended_at = row.report = None

    def remark(self, rollout_id: int, said: Mapping[str, Any]) -> None:
        """Keep what a person said when they approved or denied."""
        row = self._session.get_one(RolloutRow, rollout_id)
        row.remarks = {"said": [*(row.remarks or {}).get("said", []), dict(said)]}

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

    def _whole(self, row: RolloutRow, *, lean: bool = False, which: ColumnElement[bool] = _ANY) -> Rollout:
        waves = self._session.scalars(
            select(WaveRow).where(WaveRow.rollout_id == row.id).order_by(WaveRow.number)
        ).all()
        executions = self._session.execute(
            select(*_columns(lean=lean))
            .where(ExecutionRow.rollout_id == row.id, which)
            .order_by(ExecutionRow.queued_at)
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
            created_by=row.created_by,
            remarks=(row.remarks or {}).get("said", ()),
        )


def busy_rows() -> ColumnElement[bool]:
    """Which executions are of devices that were told something and have not ended it."""
    told = and_(ExecutionRow.state.in_([str(state) for state in OPEN]), ExecutionRow.waiting.is_(false()))
    return or_(told, ExecutionRow.revert_state == str(RevertState.IN_PROGRESS))


def _columns(*, lean: bool) -> list[Any]:
    """The columns of an execution, in the order of :func:`_execution`; lean: without reports that nobody asks for."""
    report: Any = _TABLE.c.report
    back: Any = _TABLE.c.revert_report
    if lean:
        told = ExecutionRow.state.in_([str(state) for state in (*OPEN, ExecutionState.FAILED)])
        report = type_coerce(case((told, ExecutionRow.report), else_=null()), JSON)
        returns = ExecutionRow.revert_state == str(RevertState.IN_PROGRESS)
        back = type_coerce(case((returns, ExecutionRow.revert_report), else_=null()), JSON)
    plain = ("device_id", "wave", "deployment_id", "state", "detail", "previous", "queued_at", "waiting", "not_before")
    more = ("attempts", "started_at", "ended_at", "revert_id", "revert_at", "revert_state")
    return [*(_TABLE.c[name] for name in (*plain, *more)), report, back]


def _view(row: RolloutRow, waves: Sequence[WaveRow], executions: Sequence[Row[Any]]) -> RolloutView:
    return RolloutView(
        id=row.id,
        release=row.release,
        seed=row.seed,
        state=RolloutState(row.state),
        policy=RolloutPolicy.model_validate(row.policy),
        reverts=row.reverts,
        forgiven_at=row.forgiven_at,
        approved_wave=row.approved_wave,
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


def _execution(row: Sequence[Any]) -> ExecutionView:
    device_id, wave, deployment_id, state, detail, previous, queued_at, waiting, not_before, *rest = row
    attempts, started_at, ended_at, revert_id, revert_at, revert_state, report, back = rest
    return ExecutionView(
        device_id=device_id,
        wave=wave,
        deployment_id=deployment_id,
        state=_STATES[state],
        detail=detail,
        previous=previous,
        queued_at=queued_at,
        waiting=waiting,
        not_before=not_before,
        attempts=attempts,
        started_at=started_at,
        ended_at=ended_at,
        report=UpdateReport.model_validate(report) if report else None,
        revert_id=revert_id,
        revert_at=revert_at,
        revert_state=RevertState(revert_state) if revert_state else None,
        revert_report=UpdateReport.model_validate(back) if back else None,
    )
