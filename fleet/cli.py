"""``mien fleet``: the service, and what operators do with it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fleet.cli_keys import keys_app, passphrase
from mien.console import err, out, print_json, table_of

if TYPE_CHECKING:
    from fleet.client import FleetClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Serve a fleet: devices, releases, rollouts.")
token_app = typer.Typer(no_args_is_help=True, help="Tokens with which devices enrol.")
device_app = typer.Typer(no_args_is_help=True, help="One device.")
rollout_app = typer.Typer(no_args_is_help=True, help="Bring a release to the devices.")
broker_app = typer.Typer(no_args_is_help=True, help="The MQTT broker of a site.")
for name, part in (
    ("token", token_app),
    ("device", device_app),
    ("keys", keys_app),
    ("rollout", rollout_app),
    ("broker", broker_app),
):
    app.add_typer(part, name=name)

_DATA = typer.Option(Path("fleet-data"), "--data", help="The service's data folder.")
_URL = typer.Option("http://127.0.0.1:8321", "--url", envvar="MIEN_FLEET_URL", help="Where the service answers.")
_JSON = typer.Option(False, "--json", help="Print one JSON document.")


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


@token_app.command("create")
def token_create(
    group: str = typer.Option("default", help="The group which the devices join."),
    uses: int = typer.Option(1, help="How many devices may enrol with it."),
    ttl: str = typer.Option("1h", help="How long it is valid: 90s, 15m, 1h, 7d."),
    url: str = _URL,
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Make an enrolment token. It is shown once."""
    from fleet.durations import seconds_of

    with _client(url, data) as fleet:
        answer = fleet.post("/tokens", {"group": group, "uses": uses, "ttl_s": seconds_of(ttl)})
    if json:
        print_json(answer)
        return
    out().print(f"{answer['token']}@{url}", highlight=False, soft_wrap=True)
    err().print(f"on the device:  mien edge enroll TOKEN@URL   ({uses} use{'s' if uses > 1 else ''}, {ttl})")


@app.command("devices")
def devices(url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """List devices with their last figures."""
    from fleet.cli_views import device_rows

    with _client(url, data) as fleet:
        found = fleet.get("/devices")
    if json:
        print_json(found)
        return
    columns = ("device", "state", "release", ">fps", ">p95 ms", ">W", "source")
    out().print(table_of("Devices", columns, device_rows(found)))


@device_app.command("show")
def device_show(device_id: str, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Print all that is known of a device."""
    from fleet.cli_views import fact_rows

    with _client(url, data) as fleet:
        found = fleet.get(f"/devices/{device_id}")
    if json:
        print_json(found)
        return
    out().print(table_of(device_id, ("what", "value"), fact_rows(found)))


@device_app.command("revoke")
def device_revoke(device_id: str, url: str = _URL, data: Path = _DATA, json: bool = _JSON) -> None:
    """Refuse a device from now on: its messages are dropped and its requests denied."""
    with _client(url, data) as fleet:
        answer = fleet.post(f"/devices/{device_id}/revoke")
    _say(answer, f"{device_id} is revoked", json=json)


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


@broker_app.command("config")
def broker_config(
    folder: Path = typer.Option(..., "--out", help="Where to write the configuration."),
    host: list[str] = typer.Option(..., help="A name or address under which devices reach the broker; repeatable."),
    port: int = typer.Option(8883, help="Where the broker listens."),
    data: Path = _DATA,
    json: bool = _JSON,
) -> None:
    """Write a Mosquitto configuration: TLS, client certificates of this fleet, each device in its own subtree."""
    from fleet.broker.mosquitto import write_configuration
    from fleet.identity.ca import open_authority
    from fleet.paths import DataFolder

    DataFolder(data).create()
    written = write_configuration(folder, open_authority(DataFolder(data).ca), hosts=host, port=port)
    _say({"files": [str(path) for path in written]}, f"written to {folder}; see mosquitto.conf there", json=json)


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


def _client(url: str, data: Path) -> FleetClient:
    from fleet.client import FleetClient, find_authority, find_token

    return FleetClient(url, find_token(data), ca=find_authority(data) if url.startswith("https:") else None)


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


def _say(answer: Any, text: str, *, json: bool) -> None:  # noqa: ANN401 - JSON is any value
    if json:
        print_json(answer)
    else:
        out().print(text, highlight=False, soft_wrap=True)


def _tell_service(url: str, data: Path, done: Any) -> bool:  # noqa: ANN401 - fleet.registry.publish.Published
    from mien.errors import UnavailableError

    body = {"name": done.release.name, "version": done.release.version, "manifest_sha256": done.manifest_sha256}
    try:
        with _client(url, data) as fleet:
            fleet.post("/releases", body)
    except UnavailableError:
        return False
    return True
