"""``mien fleet simulate``: many virtual devices against a running service."""

from __future__ import annotations

from pathlib import Path

import typer

from fleet.cli_shared import DATA, JSON, URL
from mien.console import err, out, print_json, progress_bar


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("simulate")(simulate)


def simulate(
    devices: int = typer.Option(..., min=1, help="How many."),
    profile: str = typer.Option("jetsons", help="A profile file, or a name from configs/simulations."),
    duration: str | None = typer.Option(None, help="How long, such as 10m; until Ctrl-C by default."),
    fail: str | None = typer.Option(None, help="Share of devices on which a release fails, such as 1%."),
    offline: str | None = typer.Option(None, help="Share of devices that stay away, such as 5%."),
    seed: int = typer.Option(0, help="Decides who is what, who fails and who is away."),
    prefix: str = typer.Option("sim", help="Begins the devices' names."),
    state: Path = typer.Option(Path("simulated-devices"), "--state", help="Where their certificates are kept."),
    enrol: str = typer.Option("api", help="api: over the service. store: in its database, many at once; needs --data."),
    database_url: str | None = typer.Option(None, help="With --enrol store: the service's, if it is not SQLite."),
    token: str | None = typer.Option(None, envvar="MIEN_FLEET_TOKEN", help="The operator token, without --data."),
    url: str = URL,
    data: Path = DATA,
    json: bool = JSON,
) -> None:
    """Simulate devices over real MQTT connections until Ctrl-C: telemetry, updates, failures, returns."""
    import signal
    import time

    from fleet.durations import seconds_of
    from fleet.simulator.options import chosen_profile, way_of
    from fleet.simulator.prepare import Plan, prepare
    from fleet.simulator.progress import Watch
    from fleet.simulator.summary import summary_of, summary_table

    plan = Plan(
        devices=devices,
        profile=chosen_profile(profile, fail=fail, offline=offline),
        url=url,
        state=state,
        data=data,
        token=token,
        prefix=prefix,
        seed=seed,
        enrol=way_of(enrol),
        database_url=database_url,
    )
    length = seconds_of(duration) if duration else None
    with progress_bar() as progress:
        fleet = prepare(plan, progress=progress)
        began = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: fleet.simulation.stop())
        watch = Watch(fleet, progress)
        try:
            fleet.simulation.run(duration_s=length, each_second=watch.look)
            found = summary_of(fleet, time.monotonic() - began)
        finally:
            fleet.close()
    if json:
        print_json(found)
        return
    out().print(summary_table(found))
    if found["refused"]:
        err().print("  some devices refused a release; 'mien fleet rollout explain' says which", highlight=False)
