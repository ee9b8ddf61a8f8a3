"""``mien fleet experiment``: two releases side by side, and which of them is the better one."""

from __future__ import annotations

from pathlib import Path

import typer

from fleet.cli_shared import DATA as _DATA
from fleet.cli_shared import JSON as _JSON
from fleet.cli_shared import URL as _URL
from fleet.cli_shared import client as _client
from fleet.cli_shared import say as _say
from mien.console import out, print_json, table_of

experiment_app = typer.Typer(no_args_is_help=True, help="Compare two releases side by side.")


@experiment_app.command("create")
def experiment_create(
    control: str = typer.Option(..., help="name@version that is held against: the safe one."),
    candidate: str = typer.Option(..., help="name@version that is tried."),
    policy: str = typer.Option("ab", help="A policy file, or a name from configs/experiments."),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Begin an experiment: share the devices out and tell each its release."""
    from fleet.cli_experiment_views import experiment_view
    from fleet.experiments.policy import experiments_folder, find_experiment

    chosen = find_experiment(policy, experiments_folder())
    with _client(url, data) as fleet:
        body = {"control": control, "candidate": candidate, "policy": chosen.model_dump(mode="json")}
        answer = fleet.post("/experiments", body)
    if json:
        print_json(answer)
        return
    out().print(experiment_view(answer))


@experiment_app.command("list")
def experiment_list(url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """List experiments, newest first."""
    from fleet.cli_experiment_views import experiment_rows

    with _client(url, data) as fleet:
        found = fleet.get("/experiments")
    if json:
        print_json(found)
        return
    columns = ("id", "kind", "control", "candidate", "state", ">share", ">better", "winner")
    out().print(table_of("Experiments", columns, experiment_rows(found)))


@experiment_app.command("show")
def experiment_show(experiment_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Show an experiment with its sides, verdict, posterior and devices."""
    from fleet.cli_experiment_views import experiment_view

    with _client(url, data) as fleet:
        answer = fleet.get(f"/experiments/{experiment_id}")
    if json:
        print_json(answer)
        return
    out().print(experiment_view(answer))


@experiment_app.command("explain")
def experiment_explain(experiment_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Say where an experiment stands, what it showed, and what it waits for."""
    with _client(url, data) as fleet:
        answer = fleet.get(f"/experiments/{experiment_id}")
    told = {"id": experiment_id, "sentences": answer["sentences"]}
    _say(told, "\n".join(answer["sentences"]), json=json)


@experiment_app.command("stop")
def experiment_stop(
    experiment_id: int,
    to: str = typer.Option("keep", help="Where devices go: keep, control, candidate or winner."),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """End an experiment; devices keep what they run unless another place is named."""
    from typing import get_args

    from fleet.experiments.orders import Where
    from mien.errors import ConfigError

    if to not in get_args(Where):
        raise ConfigError(
            "--to names no place for the devices",
            found=to,
            wanted=", ".join(get_args(Where)),
            remedy="name one of these",
        )
    with _client(url, data) as fleet:
        answer = fleet.post(f"/experiments/{experiment_id}/stop?to={to}")
    _say(answer, f"experiment {experiment_id} is {answer['state']}", json=json)
