"""The dashboard's pages of experiments: all of them, and one with its sides, verdict and posterior."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from fleet.api.deps import FleetDep, reader
from fleet.api.experiment_shapes import experiment_json
from fleet.dashboard.render import page
from fleet.experiments.orders import get

router = APIRouter(dependencies=[Depends(reader)], include_in_schema=False)


@router.get("/experiments", response_class=HTMLResponse)
def experiments(request: Request, fleet: FleetDep) -> HTMLResponse:
    """All experiments, newest first."""
    with fleet.store.read() as work:
        found = [experiment_json(one, now=fleet.clock()) for one in work.experiments.all()]
    return page(request, fleet, "experiments.html", "Experiments", {"experiments": found})


@router.get("/experiments/{experiment_id}", response_class=HTMLResponse)
def experiment(request: Request, experiment_id: int, fleet: FleetDep) -> HTMLResponse:
    """One experiment: its sides, what they showed, and who runs what."""
    with fleet.store.read() as work:
        shape = experiment_json(get(work, experiment_id), now=fleet.clock())
    return page(request, fleet, "experiment.html", f"Experiment {experiment_id}", {"experiment": shape})
