"""One agent on one state folder, which ends in order when it is told to."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mien.errors import UnavailableError


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM ask for an orderly end while the block runs: ``stop`` returns at once."""

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def only_agent(state: Path) -> Iterator[None]:
    """Hold the state folder while the block runs.

    Raises:
        UnavailableError: another agent holds it, or it cannot be written to.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        stream = (state / "lock").open("w")
    except OSError as error:
        raise UnavailableError(
            f"could not use the state folder {state}",
            found=error.strerror or str(error),
            remedy="set 'state' to a folder that this user may write to",
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(
                f"another agent runs on {state}",
                remedy="stop it first, or give this one another state folder: --state DIR",
            ) from error
        yield
