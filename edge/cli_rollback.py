"""``mien edge rollback``: return to the release before, at the device."""

from __future__ import annotations

from pathlib import Path

import typer


def add_to(app: typer.Typer, state: Path) -> None:
    """Register the command; ``state`` is where a device keeps its own."""

    @app.command()
    def rollback(
        state: Path = typer.Option(state, help="State folder of the device."),
        reason: str = typer.Option("", help="Why, for the fleet's operator."),
        wait: str = typer.Option("2m", help="How long a running agent may take: 90s, 10m."),
        as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
    ) -> None:
        """Return to the release before, without a network; the order that brought this one does not undo it."""
        from dataclasses import asdict

        from edge.take_back import take_back
        from mien.console import out, print_json
        from mien.durations import seconds_of

        done = take_back(state, reason=reason, wait_s=seconds_of(wait))
        if as_json:
            print_json(asdict(done))
            return
        when = "now" if done.by_agent else "from the agent's next start on"
        out().print(
            f"{done.was} was taken back; {done.runs} runs {when}. The fleet is told when it is reached, and a new "
            "deployment of it brings the release again.",
            highlight=False,
            soft_wrap=True,
        )
