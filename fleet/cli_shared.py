"""What the modules of the command line share: options, the way to the service, and how an answer is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mien.console import out, print_json

if TYPE_CHECKING:
    from fleet.client import FleetClient

DATA = typer.Option(Path("fleet-data"), "--data", help="The service's data folder.")
URL = typer.Option("http://127.0.0.1:8321", "--url", envvar="MIEN_FLEET_URL", help="Where the service answers.")
JSON = typer.Option(False, "--json", help="Print one JSON document.")


def client(url: str, data: Path) -> FleetClient:
    """A connection to the service, with a token."""
    from fleet.client import FleetClient, find_authority, find_token

    return FleetClient(url, find_token(data, url), ca=find_authority(data) if url.startswith("https:") else None)


def say(answer: Any, text: str, *, json: bool) -> None:  # noqa: ANN401 - JSON is any value
    """Print an answer, for machines or for people."""
    if json:
        print_json(answer)
    else:
        out().print(text, highlight=False, soft_wrap=True)
