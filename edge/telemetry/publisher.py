"""Empties the spool into the broker: a bounded number on their way, none forgotten before it is acknowledged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from edge.telemetry.spool import Spool
from edge.transport.interface import MessageLink

_log = logging.getLogger(__name__)

_MOST_ON_THEIR_WAY = 20
_LOOK_EVERY_S = 0.5
_LONGEST_PAUSE_S = 30.0


class Publisher:
    """Sends what the spool holds, in order.

    Args:
        spool: the messages.
        link: the broker.
        topic_of: a channel's full topic.
        first_pause_s: after a message did not get through; doubled each time.
    """

    def __init__(
        self,
        spool: Spool,
        link: MessageLink,
        topic_of: Callable[[str], str],
        *,
        first_pause_s: float = 1.0,
    ) -> None:
        self._spool = spool
        self._link = link
        self._topic_of = topic_of
        self._on_their_way: dict[int, int] = {}
        self._answers: SimpleQueue[tuple[int, bool]] = SimpleQueue()
        self._last_sent = 0
        self._not_before_s = 0.0
        self._first_pause_s = self._pause_s = first_pause_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the spool now: something was put into it, or the broker is back."""
        self._wake.set()

    def acknowledged(self, ticket: int, *, accepted: bool) -> None:
        """The broker answered a publication. Called on the link's thread: only notes it."""
        self._answers.put((ticket, accepted))
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything was acknowledged; whether it was in time."""
        end_s = time.monotonic() + timeout_s
        while len(self._spool) and self._link.is_connected and time.monotonic() < end_s:
            self._wake.set()
            time.sleep(0.02)
        return not len(self._spool)

    def close(self) -> None:
        """Stop the thread; what was not acknowledged stays in the spool."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()
            self._settle()
            if self._link.is_connected and time.monotonic() >= self._not_before_s:
                self._send()

    def _settle(self) -> None:
        while True:
            try:
                ticket, accepted = self._answers.get_nowait()
            except Empty:
                return
            item_id = self._on_their_way.pop(ticket, None)
            if item_id is None:
                continue
            if accepted:
                self._spool.done(item_id)
                self._pause_s = self._first_pause_s
            else:
                self._try_later(item_id)

    def _try_later(self, item_id: int) -> None:
        now_s = time.monotonic()
        self._last_sent = min(self._last_sent, item_id - 1)
        if now_s < self._not_before_s:
            return
        _log.warning("message %d did not reach the fleet; trying again in %g s", item_id, self._pause_s)
        self._not_before_s = now_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _send(self) -> None:
        room = _MOST_ON_THEIR_WAY - len(self._on_their_way)
        if room <= 0:
            return
        already = set(self._on_their_way.values())
        for item in self._spool.waiting(after=self._last_sent, most=room):
            if item.item_id not in already:
                ticket = self._link.publish(self._topic_of(item.channel), item.payload)
                self._on_their_way[ticket] = item.item_id
            self._last_sent = item.item_id
