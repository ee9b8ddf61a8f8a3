"""``mien fleet ingest``: further processes that store telemetry beside the service."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from fleet.cli_shared import JSON, say
from mien.console import err


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    config: Path = typer.Option(..., help="The service's settings, with ingest: {shared: true}."),
    worker: int = typer.Option(2, min=2, help="Which worker this is; the service itself is the first."),
    leave: bool = typer.Option(False, "--leave", help="Store what waits for this worker, then give it up for good."),
    json: bool = JSON,
) -> None:
    """Store telemetry and events beside the service, until Ctrl-C. See docs/runbooks/postgresql.md."""
    import signal
    import threading

    from fleet.config import read_fleet
    from fleet.ingest.worker import run_worker

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("fleet").setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings = read_fleet(config, {})
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())

    def ready() -> None:
        err().print(f"worker {worker} takes its share  (Ctrl-C ends it)", highlight=False)

    counts = run_worker(settings, worker, leave=leave, stopping=stopping, ready=ready)
    text = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(counts.items())) or "nothing came"
    say({"worker": worker, "left": leave, "counts": counts}, f"worker {worker}: {text}", json=json)
