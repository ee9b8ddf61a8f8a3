"""Experiments in the store: the experiment with its members and rounds, read as one value and changed part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from fleet.experiments.bandit import Belief
from fleet.experiments.policy import ExperimentPolicy
from fleet.experiments.states import LIVE, Arm, ExperimentState
from fleet.experiments.view import ExperimentView, MemberView, RoundView, SeenDevice
from fleet.identity.membership import MemberState
from fleet.rollouts.states import OPEN, UNSUCCESSFUL, ExecutionState
from fleet.store.models import DeviceRow, ExperimentRow, MemberRow, RoundRow
from mien.messages import UpdateReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment: what the planner sees, and what people want to know besides."""

    view: ExperimentView
    control_sha256: str
    candidate_sha256: str
    policy_name: str
    created_at: float
    ended_at: float | None
    verdict: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The two releases of an experiment, with the manifests that they mean."""

    control: str
    control_sha256: str
    candidate: str
    candidate_sha256: str


class Experiments:
    """Keeps experiments."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, sides: Sides, policy: ExperimentPolicy, *, seed: str, at: float) -> int:
        """Keep a new experiment, running; its number."""
        row = ExperimentRow(
            policy_name=policy.name,
            policy=policy.model_dump(mode="json"),
            seed=seed,
            state=str(ExperimentState.RUNNING),
            share=policy.share,
            created_at=at,
            started_at=at,
            **asdict(sides),
        )
        self._session.add(row)
        self._session.flush()
        return row.id

    def find(self, experiment_id: int) -> Experiment | None:
        """An experiment by its number."""
        row = self._session.get(ExperimentRow, experiment_id)
        return self._whole(row) if row else None

    def all(self) -> list[Experiment]:
        """Every experiment, newest first."""
        rows = self._session.scalars(select(ExperimentRow).order_by(ExperimentRow.id.desc()))
        return [self._whole(row) for row in rows]

    def live(self) -> list[int]:
        """The numbers of those that hold devices, oldest first."""
        chosen = select(ExperimentRow.id).where(ExperimentRow.state.in_([str(state) for state in LIVE]))
        return list(self._session.scalars(chosen.order_by(ExperimentRow.id)))

    def held(self) -> dict[str, int]:
        """The devices that are in an experiment now, with its number."""
        chosen = (
            select(MemberRow.device_id, MemberRow.experiment_id)
            .join(ExperimentRow, ExperimentRow.id == MemberRow.experiment_id)
            .where(ExperimentRow.state.in_([str(state) for state in LIVE]))
            .where(MemberRow.state != str(ExecutionState.REMOVED))
        )
        return {row.device_id: row.experiment_id for row in self._session.execute(chosen)}

    def is_deployed(self, device_id: str, deployment_id: str) -> bool:
        """Whether a deployment is the last one of a member of an experiment."""
        mine = (MemberRow.device_id == device_id, MemberRow.deployment_id == deployment_id)
        return self._session.scalar(select(MemberRow.device_id).where(*mine)) is not None

    def devices(self, experiment_id: int) -> list[tuple[SeenDevice, str]]:
        """The devices of an experiment as the planner sees them, each with its hardware class; in one query."""
        chosen = (
            select(
                DeviceRow.id,
                DeviceRow.state,
                DeviceRow.online,
                DeviceRow.online_since,
                DeviceRow.release,
                DeviceRow.desired,
                DeviceRow.update_state,
                DeviceRow.twin,
            )
            .join(MemberRow, MemberRow.device_id == DeviceRow.id)
            .where(MemberRow.experiment_id == experiment_id)
            .order_by(DeviceRow.id)
        )
        return [
            (_seen(row), str((row.twin or {}).get("hardware_class") or "")) for row in self._session.execute(chosen)
        ]

    def change(self, experiment_id: int, **fields: Any) -> None:  # noqa: ANN401 - columns of the row
        """Change columns of an experiment."""
        row = self._session.get_one(ExperimentRow, experiment_id)
        for name, value in fields.items():
            setattr(row, name, value)

    def put_member(self, experiment_id: int, member: MemberView) -> None:
        """Take a device in, or bring it to another arm. What it failed before stays known."""
        row = self._session.get(MemberRow, (experiment_id, member.device_id))
        if row is None:
            row = MemberRow(experiment_id=experiment_id, device_id=member.device_id, failures={})
            self._session.add(row)
        row.arm, row.deployment_id, row.state = str(member.arm), member.deployment_id, str(member.state)
        row.detail, row.previous, row.switches = member.detail, member.previous, member.switches
        row.queued_at, row.started_at, row.ended_at = member.queued_at, None, None
        self._note_end(row, member.state, member.detail, at=member.queued_at)

    def set_member(self, experiment_id: int, device_id: str, state: ExecutionState, detail: str, *, at: float) -> None:
        """Note where a device stands."""
        row = self._session.get_one(MemberRow, (experiment_id, device_id))
        if state is not ExecutionState.QUEUED and row.started_at is None:
            row.started_at = at
        row.state, row.detail = str(state), detail
        self._note_end(row, state, detail, at=at)

    def add_round(self, experiment_id: int, done: RoundView) -> None:
        """Keep a round."""
        self._session.add(
            RoundRow(
                experiment_id=experiment_id,
                number=done.number,
                at=done.at,
                share=done.share,
                chance=done.chance,
                beliefs={str(arm): asdict(belief) for arm, belief in done.beliefs.items()},
            )
        )

    @staticmethod
    def _note_end(row: MemberRow, state: ExecutionState, detail: str, *, at: float) -> None:
        if state not in OPEN and row.ended_at is None:
            row.ended_at = at
        if state in UNSUCCESSFUL:
            row.failures = {**(row.failures or {}), row.arm: detail}

    def _whole(self, row: ExperimentRow) -> Experiment:
        members = self._session.scalars(
            select(MemberRow).where(MemberRow.experiment_id == row.id).order_by(MemberRow.device_id)
        ).all()
        rounds = self._session.scalars(
            select(RoundRow).where(RoundRow.experiment_id == row.id).order_by(RoundRow.number)
        ).all()
        return Experiment(
            view=_view(row, members, rounds),
            control_sha256=row.control_sha256,
            candidate_sha256=row.candidate_sha256,
            policy_name=row.policy_name,
            created_at=row.created_at,
            ended_at=row.ended_at,
            verdict=row.verdict,
        )


def _seen(row: Row[Any]) -> SeenDevice:
    known_bad = (row.twin or {}).get("known_bad") or ()
    return SeenDevice(
        id=row.id,
        accepted=row.state == MemberState.ACCEPTED.value,
        online=row.online,
        online_since=row.online_since,
        release=row.release,
        known_bad=frozenset(f"{ref['name']}@{ref['version']}" for ref in known_bad),
        desired_deployment=row.desired["deployment_id"] if row.desired else None,
        report=UpdateReport.model_validate(row.update_state) if row.update_state else None,
    )


def _view(row: ExperimentRow, members: Sequence[MemberRow], rounds: Sequence[RoundRow]) -> ExperimentView:
    verdict = row.verdict or {}
    return ExperimentView(
        id=row.id,
        seed=row.seed,
        state=ExperimentState(row.state),
        policy=ExperimentPolicy.model_validate(row.policy),
        control=row.control,
        candidate=row.candidate,
        share=row.share,
        started_at=row.started_at or row.created_at,
        target=Arm(row.target) if row.target else None,
        dropped=Arm(row.dropped) if row.dropped else None,
        winner=Arm(row.winner) if row.winner else None,
        because=row.because,
        look=verdict.get("look", 0),
        outcome=verdict.get("outcome"),
        members=tuple(_member(member) for member in members),
        rounds=tuple(_round(done) for done in rounds),
    )


def _member(row: MemberRow) -> MemberView:
    return MemberView(
        device_id=row.device_id,
        arm=Arm(row.arm),
        deployment_id=row.deployment_id,
        state=ExecutionState(row.state),
        detail=row.detail,
        previous=row.previous,
        switches=row.switches,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        failures=row.failures,
    )


def _round(row: RoundRow) -> RoundView:
    return RoundView(
        number=row.number,
        at=row.at,
        share=row.share,
        chance=row.chance,
        beliefs={Arm(arm): Belief(**belief) for arm, belief in row.beliefs.items()},
    )
