"""The few questions that the demo asks the fleet service over HTTP."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.errors import UnavailableError

_TIMEOUT_S = 10.0
_PAUSE_S = 0.2


def get_json(url: str, token_file: Path | None = None) -> Any:  # noqa: ANN401 - JSON is any value
    """Fetch and parse a JSON document from the demo's own loopback service.

    Args:
        url: where.
        token_file: of the service's data folder, for what is not open to everybody.

    Raises:
        UnavailableError: no answer, or an answer that is an error.
    """
    try:
        headers = {"Authorization": f"Bearer {token_file.read_text().strip()}"} if token_file else {}
        asked = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own loopback URL
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UnavailableError(f"the fleet service did not answer {url}", found=str(error)) from error


def wait_for(
    question: Callable[[], bool], *, what: str, child: subprocess.Popen[str], log: Path, timeout_s: float
) -> None:
    """Wait until a background process is ready.

    Raises:
        UnavailableError: it ended, or took too long; with the last lines of its log.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if child.poll() is not None:
            raise UnavailableError(f"{what} ended early", found=tail(log), remedy=f"see {log}")
        if question():
            return
        time.sleep(_PAUSE_S)
    raise UnavailableError(f"{what} was not ready after {timeout_s:.0f} s", found=tail(log), remedy=f"see {log}")


def answers(url: str) -> bool:
    """Whether a GET of this URL succeeds."""
    try:
        get_json(url)
    except UnavailableError:
        return False
    return True


def tail(log: Path, lines: int = 4) -> str:
    """The last lines of a log file."""
    if not log.exists():
        return "no log"
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])
