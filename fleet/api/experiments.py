"""Routes of experiments: create, list, show, stop."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from fleet.api.deps import Fleet, FleetDep, OperatorDep, reader
from fleet.api.experiment_shapes import experiment_json
from fleet.experiments.orders import Where, create, get, stop
from fleet.experiments.policy import ExperimentPolicy
from mien.config import settings_from

router = APIRouter(prefix="/api/v1/experiments", tags=["operators"])
_READ = [Depends(reader)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExperimentRequest(_Body):
    """An experiment to begin."""

    control: str
    candidate: str
    policy: dict[str, Any]


@router.get("", dependencies=_READ)
def experiments(fleet: FleetDep) -> list[dict[str, Any]]:
    """All experiments, newest first."""
    with fleet.store.read() as work:
        return [experiment_json(found, now=fleet.clock()) for found in work.experiments.all()]


@router.post("", status_code=201)
def create_experiment(body: ExperimentRequest, fleet: FleetDep, actor: OperatorDep) -> dict[str, Any]:
    """Begin an experiment."""
    policy = settings_from(ExperimentPolicy, body.policy, source="the policy")
    now = fleet.clock()
    with fleet.store.write() as work:
        found = create(work, body.control, body.candidate, policy, seed=secrets.token_hex(8), now=now, actor=actor)
    _look(fleet)
    return experiment_json(found, now=now)


@router.get("/{experiment_id}", dependencies=_READ)
def one_experiment(experiment_id: int, fleet: FleetDep) -> dict[str, Any]:
    """One experiment."""
    with fleet.store.read() as work:
        return experiment_json(get(work, experiment_id), now=fleet.clock())


@router.post("/{experiment_id}/stop")
def stop_experiment(experiment_id: int, fleet: FleetDep, actor: OperatorDep, to: Where = "keep") -> dict[str, Any]:
    """End an experiment; ``to`` says where its devices go."""
    now = fleet.clock()
    with fleet.store.write() as work:
        found = stop(work, experiment_id, to, now=now, actor=actor)
    _look(fleet)
    return experiment_json(found, now=now)


def _look(fleet: Fleet) -> None:
    fleet.changes.note()
    fleet.nudge()
