"""The service's own recurring work, each in a thread: rollouts every second, signatures and retention every minute.

A fault in one round is logged, and the next round comes anyway; deciding is left to the parts that are called.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from fleet.config import RetentionSettings
from fleet.registry.repository import Repository
from fleet.store.database import Store

_log = logging.getLogger(__name__)
_DAY_S = 86400.0
_WARN_BEFORE = dt.timedelta(days=21)


class Loop:
    """Calls something again and again until it is stopped.

    Args:
        name: of the thread.
        work: what to call.
        every_s: the pause between two calls.
    """

    def __init__(self, name: str, work: Callable[[], object], *, every_s: float) -> None:
        self._work, self._every_s = work, every_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def nudge(self) -> None:
        """Call at once instead of after the pause."""
        self._wake.set()

    def stop(self) -> None:
        """End after the present call."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._work()
            except Exception:  # noqa: BLE001 - supervisor: one bad round must not end the loop
                _log.exception("%s: this round failed; the next one follows", self._thread.name)
            self._wake.wait(self._every_s)
            self._wake.clear()


def in_turn(*steps: Callable[[], object]) -> Callable[[], None]:
    """One call for several; a fault of one is raised once the others had their turn."""

    def run() -> None:
        with ExitStack() as turns:
            for step in reversed(steps):
                turns.callback(step)

    return run


class Upkeep:
    """Renews online signatures, warns of offline ones, forgets old telemetry.

    Args:
        repository: whose signatures run out.
        store: whose telemetry grows old.
        retention: how long it is kept.
        clock: Unix seconds.
    """

    def __init__(
        self, repository: Repository, store: Store, retention: RetentionSettings, clock: Callable[[], float]
    ) -> None:
        self._repository, self._store, self._retention, self._clock = repository, store, retention, clock

    def run(self) -> None:
        """One round."""
        now = self._clock()
        moment = dt.datetime.fromtimestamp(now, dt.timezone.utc)
        with self._repository.locked():
            if self._repository.renew(moment):
                _log.info("signed the registry's timestamp anew")
            for role in self._repository.expires_soon(moment, _WARN_BEFORE):
                _log.warning("the registry's %s metadata expires soon; sign it: mien fleet keys renew", role)
        with self._store.write() as work:
            work.windows.forget_before(now - self._retention.windows_days * _DAY_S)
            work.events.forget_before(now - self._retention.events_days * _DAY_S)
