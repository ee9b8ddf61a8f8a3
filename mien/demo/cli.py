"""``mien demo``: options to one run."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    once: bool = typer.Option(False, "--once", help="Exit after the summary instead of leaving the dashboard up."),
    profile: str = typer.Option("full", help="Which configs/demo/*.yaml to use: full or small."),
    out: Path = typer.Option(Path("runs/demo"), help="Where everything is written."),
    http_port: int = typer.Option(8321, help="Port of the fleet service and dashboard, on loopback."),
    mqtt_port: int = typer.Option(18831, help="Port of the embedded broker, on loopback."),
) -> None:
    """Run the main job end to end on this machine: from rendering data to taking a bad release back."""
    from mien.demo.run import run
    from mien.demo.settings import read_demo

    run(read_demo(profile), out.resolve(), http_port=http_port, mqtt_port=mqtt_port, once=once)
