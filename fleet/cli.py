"""``mien fleet``: the service, and what operators do with it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fleet import cli_devices, cli_ingest, cli_simulate
from fleet.cli_broker import broker_app
from fleet.cli_engines import engines_app
from fleet.cli_experiments import experiment_app
from fleet.cli_keys import keys_app, passphrase
from fleet.cli_registry import registry_app
from fleet.cli_shared import DATA as _DATA
from fleet.cli_shared import JSON as _JSON
from fleet.cli_shared import URL as _URL
from fleet.cli_shared import client as _client
from fleet.cli_shared import say as _say
from mien.console import err, out, print_json, table_of

if TYPE_CHECKING:
    from fleet.client import FleetClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Serve a fleet: devices, releases, rollouts.")
rollout_app = typer.Typer(no_args_is_help=True, help="Bring a release to the devices.")
for name, part in (
    ("keys", keys_app),
    ("rollout", rollout_app),
    ("experiment", experiment_app),
    ("broker", broker_app),
    ("engines", engines_app),
    ("registry", registry_app),
):
    app.add_typer(part, name=name)
cli_devices.add_to(app)
cli_simulate.add_to(app)
cli_ingest.add_to(app)


@app.command()
def serve(
    data: Path | None = typer.Option(None, "--data", help="Where everything is kept; made at the first start."),
    http_port: int | None = typer.Option(None, help="Port of the API and the dashboard (8321)."),
    mqtt_port: int | None = typer.Option(None, help="Port of the embedded broker (18831)."),
    config: Path | None = typer.Option(None, help="Settings, see configs/fleet/."),
    verbose: bool = typer.Option(False, "--verbose", help="Log more."),
) -> None:
    """Run the fleet service until Ctrl-C. The first start sets everything up."""
    from fleet.config import read_fleet
    from fleet.service import serve as run

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("fleet").setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.umask(0o077)
    given = {"data": data, "http.port": http_port, "mqtt.port": mqtt_port}
    settings = read_fleet(config, given)

    def ready(fleet: Any) -> None:  # noqa: ANN401 - fleet.api.deps.Fleet, not imported at start
        http, mqtt = settings.http, fleet.broker
        err().print(f"dashboard [bold]{http.scheme}://{http.host}:{http.port}[/]  broker {mqtt.host}:{mqtt.port}")
        err().print(f"data {settings.data.resolve()}  (Ctrl-C ends it)", highlight=False)

    run(settings, ready=ready)


@app.command("publish")
def publish_bundle(
    bundle: Path,
    data: Path = _DATA,
    keys: Path | None = typer.Option(None, help="Where the offline keys are, if not in the data folder."),
    passphrase_file: Path | None = typer.Option(None, help="Opens encrypted keys; its first line counts."),
    url: str = _URL,
    json: bool = _JSON,
) -> None:
    """Check a release bundle, sign it into the registry, and tell the service."""
    import datetime as dt

    from fleet.paths import DataFolder
    from fleet.registry.publish import publish
    from fleet.registry.repository import Repository

    repository = Repository(DataFolder(data), offline=keys, passphrase=passphrase(passphrase_file))
    done = publish(bundle, repository, dt.datetime.now(dt.timezone.utc))
    registered = _tell_service(url, data, done)
    answer = {
        "release": str(done.release),
        "manifest_sha256": done.manifest_sha256,
        "files": done.files,
        "size_bytes": done.size_bytes,
        "already_published": done.already,
        "registered": registered,
    }
    verb = "was published already" if done.already else "is published"
    _say(answer, f"{done.release} {verb}: {done.files} files, {done.size_bytes / 1e6:.1f} MB", json=json)
    if not registered:
        err().print("the service does not run; it takes note of the release when it starts")


@app.command("releases")
def releases(url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """List releases with what was measured of their variants."""
    from fleet.cli_views import release_rows

    with _client(url, data) as fleet:
        found = fleet.get("/releases")
    if json:
        print_json(found)
        return
    columns = ("release", "precision", "format", ">mAP50", ">mAP50-95", ">MB", ">ms")
    out().print(table_of("Releases", columns, release_rows(found)))


@rollout_app.command("create")
def rollout_create(
    release: str = typer.Option(..., help="name@version, as 'mien fleet releases' lists it."),
    policy: str = typer.Option("canary", help="A policy file, or a name from configs/rollouts."),
    start: bool = typer.Option(False, "--start", help="Start it at once."),
    wait: bool = typer.Option(False, "--wait", help="Wait for its end; exit code 6 when it was halted."),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Make a rollout."""
    from fleet.rollouts.policy import find_policy, policies_folder

    chosen = find_policy(policy, policies_folder())
    with _client(url, data) as fleet:
        body = {"release": release, "policy": chosen.model_dump(mode="json"), "start": start}
        answer = fleet.post("/rollouts", body)
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
def rollout_approve(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Approve a rollout that waits for it, or let an inconclusive wave pass."""
    _command(rollout_id, "approve", url, data, json=json)


@rollout_app.command("pause")
def rollout_pause(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Begin nothing new; devices finish what they began."""
    _command(rollout_id, "pause", url, data, json=json)


@rollout_app.command("resume")
def rollout_resume(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Go on; a wave that was being judged is measured anew."""
    _command(rollout_id, "resume", url, data, json=json)


@rollout_app.command("stop")
def rollout_stop(rollout_id: int, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """End a rollout; devices which have the release keep it."""
    _command(rollout_id, "stop", url, data, json=json)


@app.command("audit")
def audit(
    limit: int = typer.Option(50, help="How many entries."), url: str = _URL, data: Path = _DATA, json: bool = _JSON
) -> None:
    """Show who did what, newest first."""
    from fleet.cli_views import audit_rows

    with _client(url, data) as fleet:
        found = fleet.get(f"/audit?limit={limit}")
    if json:
        print_json(found)
        return
    out().print(table_of("Audit", ("when", "who", "what", "which", "details"), audit_rows(found)))


def _command(rollout_id: int, name: str, url: str, data: Path, *, json: bool) -> None:
    with _client(url, data) as fleet:
        answer = fleet.post(f"/rollouts/{rollout_id}/{name}")
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


def _tell_service(url: str, data: Path, done: Any) -> bool:  # noqa: ANN401 - fleet.registry.publish.Published
    from mien.errors import UnavailableError

    body = {"name": done.release.name, "version": done.release.version, "manifest_sha256": done.manifest_sha256}
    try:
        with _client(url, data) as fleet:
            fleet.post("/releases", body)
    except UnavailableError:
        return False
    return True
