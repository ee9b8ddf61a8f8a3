"""``mien fleet engines``: engines that devices built and offer to others of their hardware class."""

from __future__ import annotations

from pathlib import Path

import typer

from fleet.cli_shared import DATA, JSON, URL, client, say
from mien.console import out, print_json, table_of

engines_app = typer.Typer(no_args_is_help=True, help="Engines that one device built and others may take.")
_ID = typer.Argument(..., metavar="ENGINE", help="The beginning of its id, as 'list' shows it.")
_WHY = typer.Option("", "--reason", help="Why; kept with it and in the audit record.")


@engines_app.command("list")
def engines_list(url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """List engines that were offered, newest first."""
    from fleet.cli_views import engine_rows

    with client(url, data) as fleet:
        found = fleet.get("/engines")
    if json:
        print_json(found)
        return
    columns = ("id", "release", "precision", "class", "built by", "state", ">MB", ">built s")
    out().print(table_of("Engines", columns, engine_rows(found)))


@engines_app.command("show")
def engines_show(engine: str = _ID, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Print an engine's record, and what was decided about it."""
    from fleet.cli_views import fact_rows

    with client(url, data) as fleet:
        found = fleet.get(f"/engines/{engine}")
    if json:
        print_json(found)
        return
    out().print(table_of(found["id"][:12], ("what", "value"), fact_rows(found)))


@engines_app.command("approve")
def engines_approve(engine: str = _ID, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Sign an engine that waits for a person: later devices of its class take it instead of building."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/engines/{engine}/approve")
    say(answer, f"{answer['id'][:12]} is signed for {answer['record']['hardware_class']}", json=json)


@engines_app.command("reject")
def engines_reject(engine: str = _ID, reason: str = _WHY, url: str = URL, data: Path = DATA, json: bool = JSON) -> None:
    """Refuse an engine that is not decided about; its bytes are thrown away."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/engines/{engine}/reject", {"reason": reason})
    say(answer, f"{answer['id'][:12]} is rejected", json=json)


@engines_app.command("withdraw")
def engines_withdraw(
    engine: str = _ID, reason: str = _WHY, url: str = URL, data: Path = DATA, json: bool = JSON
) -> None:
    """Sign an engine no longer: no more devices take it; those that run it measured it and keep it."""
    with client(url, data) as fleet:
        answer = fleet.post(f"/engines/{engine}/withdraw", {"reason": reason})
    say(answer, f"{answer['id'][:12]} is withdrawn", json=json)
