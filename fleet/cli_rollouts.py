"""``mien fleet rollout``: bring a release to the devices, watch it, and take it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fleet.cli_shared import DATA as _DATA
from fleet.cli_shared import JSON as _JSON
from fleet.cli_shared import URL as _URL
from fleet.cli_shared import client as _client
from fleet.cli_shared import say as _say
from mien.console import out, print_json, table_of

if TYPE_CHECKING:
    from fleet.client import FleetClient

rollout_app = typer.Typer(no_args_is_help=True, help="Bring a release to the devices.")
_REMARK = typer.Option(None, "--remark", help="Why; kept with the rollout and in the audit log.")


@rollout_app.command("create")
def rollout_create(
    release: str = typer.Option(..., help="name@version, as 'mien fleet releases' lists it."),
    policy: str = typer.Option("canary", help="A policy file, or a name from configs/rollouts."),
    start: bool = typer.Option(False, "--start", help="Start it at once."),
    wait: bool = typer.Option(False, "--wait", help="Wait for its end; exit code 6 when it was halted."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show the waves and the time that they would take."),
    seed: str | None = typer.Option(None, help="Orders the devices; a dry run names one to have its waves."),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Make a rollout."""
    from fleet.rollouts.policy import find_policy, policies_folder
    from mien.errors import ConfigError

    if dry_run and (start or wait):
        raise ConfigError("--dry-run begins nothing, so that it takes neither --start nor --wait")
    chosen = find_policy(policy, policies_folder())
    body = {"release": release, "policy": chosen.model_dump(mode="json"), "seed": seed}
    with _client(url, data) as fleet:
        if dry_run:
            _show_preview(fleet.post("/rollouts/dry-run", body), json=json)
            return
        answer = fleet.post("/rollouts", body | {"start": start})
        _follow(fleet, answer, wait=wait, json=json)


@rollout_app.command("list")
def rollout_list(url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """List rollouts, newest first."""
    from fleet.cli_views import rollout_reasons, rollout_rows

    with _client(url, data) as fleet:
        found = fleet.get("/rollouts")
    if json:
        print_json(found)
        return
    columns = ("id", "release", "state", ">reached", ">succeeded", ">rolled back", ">took")
    out().print(table_of("Rollouts", columns, rollout_rows(found)))
    for reason in rollout_reasons(found):
        out().print(reason, highlight=False)


@rollout_app.command("show")
def rollout_show(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Show a rollout with its waves and devices."""
    with _client(url, data) as fleet:
        _show(fleet.get(f"/rollouts/{rollout_id}"), json=json)


@rollout_app.command("explain")
def rollout_explain(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Say where a rollout stands and what it waits for."""
    with _client(url, data) as fleet:
        answer = fleet.get(f"/rollouts/{rollout_id}/explain")
    _say(answer, "\n".join(answer["sentences"]), json=json)


@rollout_app.command("start")
def rollout_start(
    rollout_id: int,
    wait: bool = typer.Option(False, "--wait", help="Wait for its end; exit code 6 when it was halted."),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Start a rollout."""
    with _client(url, data) as fleet:
        _follow(fleet, fleet.post(f"/rollouts/{rollout_id}/start"), wait=wait, json=json)


@rollout_app.command("approve")
def rollout_approve(
    rollout_id: int, remark: str | None = _REMARK, url: str = _URL, data: Path = _DATA, json: bool = _JSON
) -> None:
    """Approve a rollout or a wave that waits for it, or let an inconclusive wave pass."""
    _command(rollout_id, "approve", {"remark": remark}, url, data, json=json)


@rollout_app.command("deny")
def rollout_deny(
    rollout_id: int, remark: str | None = _REMARK, url: str = _URL, data: Path = _DATA, json: bool = _JSON
) -> None:
    """Refuse a rollout that waits for approval; devices that have the release keep it."""
    _command(rollout_id, "deny", {"remark": remark}, url, data, json=json)


@rollout_app.command("pause")
def rollout_pause(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Begin nothing new; devices finish what they began."""
    _command(rollout_id, "pause", {}, url, data, json=json)


@rollout_app.command("resume")
def rollout_resume(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Go on; failures so far are forgiven, and a wave that was being judged is measured anew."""
    _command(rollout_id, "resume", {}, url, data, json=json)


@rollout_app.command("force-next")
def rollout_force_next(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Take the present wave as done, whatever it shows, and go on to the next."""
    _command(rollout_id, "force-next", {}, url, data, json=json)


@rollout_app.command("abort")
def rollout_abort(
    rollout_id: int,
    revert: bool | None = typer.Option(
        None, "--revert/--keep", help="Whether devices that have the release return to the one before."
    ),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """End a rollout; devices that are offline follow when they return."""
    from mien.errors import ConfigError

    if revert is None:
        raise ConfigError(
            "an abort must say what becomes of devices that have the release",
            wanted="--keep or --revert",
            remedy="--revert takes it back from all of them, --keep leaves it where it is",
        )
    _command(rollout_id, "abort", {"revert": revert}, url, data, json=json)


@rollout_app.command("stop")
def rollout_stop(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """End a rollout; devices which have the release keep it: abort --keep."""
    _command(rollout_id, "stop", {}, url, data, json=json)


def _command(rollout_id: int, name: str, body: dict[str, Any], url: str, data: Path, *, json: bool) -> None:
    with _client(url, data) as fleet:
        answer = fleet.post(f"/rollouts/{rollout_id}/{name}", body)
    _say(answer, f"rollout {rollout_id} is {answer['state']}", json=json)


def _follow(fleet: FleetClient, rollout: dict[str, Any], *, wait: bool, json: bool) -> None:
    from fleet.waiting import wait_for_end
    from mien.errors import ExitCode

    if wait:
        rollout = wait_for_end(fleet, rollout["id"])
    _show(rollout, json=json)
    if wait and rollout["state"] != "finished":
        raise typer.Exit(ExitCode.GATE)


def _show(rollout: dict[str, Any], *, json: bool) -> None:
    from fleet.cli_views import rollout_view

    if json:
        print_json(rollout)
    else:
        out().print(rollout_view(rollout))


def _show_preview(found: dict[str, Any], *, json: bool) -> None:
    from fleet.cli_views import preview_notes, preview_rows

    if json:
        print_json(found)
        return
    columns = ("wave", ">devices", ">offline", ">must succeed", ">may fail", ">rounds", ">takes at least", "first")
    out().print(table_of("Nothing was changed; this is what would happen", columns, preview_rows(found)))
    for note in preview_notes(found):
        out().print(note, highlight=False)
    out().print(f"For these waves make it with --seed {found['seed']}", highlight=False)
