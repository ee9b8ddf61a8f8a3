"""``mien fleet``: the service, and what operators do with it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import typer

from fleet import cli_devices, cli_ingest, cli_people, cli_simulate
from fleet.cli_broker import broker_app
from fleet.cli_engines import engines_app
from fleet.cli_experiments import experiment_app
from fleet.cli_keys import keys_app, passphrase
from fleet.cli_registry import registry_app
from fleet.cli_rollouts import rollout_app
from fleet.cli_shared import DATA as _DATA
from fleet.cli_shared import JSON as _JSON
from fleet.cli_shared import URL as _URL
from fleet.cli_shared import client as _client
from fleet.cli_shared import say as _say
from mien.console import err, out, print_json, table_of

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Serve a fleet: devices, releases, rollouts.")
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
cli_people.add_to(app)


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


def _tell_service(url: str, data: Path, done: Any) -> bool:  # noqa: ANN401 - fleet.registry.publish.Published
    from mien.errors import UnavailableError

    body = {"name": done.release.name, "version": done.release.version, "manifest_sha256": done.manifest_sha256}
    try:
        with _client(url, data) as fleet:
            fleet.post("/releases", body)
    except UnavailableError:
        return False
    return True
