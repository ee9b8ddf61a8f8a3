"""``mien fleet broker``: a Mosquitto for a site, and who is shut out of it."""

from __future__ import annotations

from pathlib import Path

import typer

from fleet.cli_shared import DATA, JSON, URL, client, say

broker_app = typer.Typer(no_args_is_help=True, help="The MQTT broker of a site.")


@broker_app.command("config")
def broker_config(
    folder: Path = typer.Option(..., "--out", help="Where to write the configuration."),
    host: list[str] = typer.Option(..., help="A name or address under which devices reach the broker; repeatable."),
    port: int = typer.Option(8883, help="Where the broker listens."),
    bind: str | None = typer.Option(None, help="The address to listen on; all by default."),
    max_connections: int = typer.Option(12_000, help="How many clients may be connected at once."),
    workers: int = typer.Option(
        1, help="Processes of the fleet service, each with a certificate of its own; 16 at most."
    ),
    autosave: int = typer.Option(5, help="Seconds between two writings of what is retained and waits."),
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Write a Mosquitto configuration: TLS, client certificates of this fleet, each device in its own subtree."""
    import datetime as dt

    from fleet.broker.mosquitto import SiteBroker, write_configuration
    from fleet.identity.ca import open_authority
    from fleet.paths import DataFolder

    site = SiteBroker(
        hosts=host, port=port, bind=bind, connections=max_connections, workers=workers, autosave_s=autosave
    )
    DataFolder(data).create()
    authority = open_authority(DataFolder(data).ca)
    empty = authority.revocation_list((), at=dt.datetime.now(dt.timezone.utc))
    written = write_configuration(folder, authority, site, empty_list=empty)
    text = f"written to {folder}; see mosquitto.conf there, and name the folder in the service's settings (mqtt.folder)"
    say({"files": [str(path) for path in written]}, text, json=json)


@broker_app.command("refresh")
def broker_refresh(
    folder: Path = typer.Option(..., "--out", help="What 'mien fleet broker config' wrote, where the broker runs."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Fetch who is shut out and have the broker read it; for a broker on another machine than the service."""
    from fleet.broker.shut_out import BrokerFolder

    place = BrokerFolder(folder)
    with client(url, data) as fleet:
        lists = fleet.get("/broker/lists")
    place.write(lists["crl_pem"], lists["acl"])
    told = place.tell()
    say({"shut_out": lists["shut_out"], "broker": told}, f"{len(lists['shut_out'])} shut out; {told}", json=json)
