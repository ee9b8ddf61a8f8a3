"""Empties the spool into the broker: a bounded number on their way, none forgotten before it is acknowledged."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import Empty, SimpleQueue

from edge.supervisor import Supervisor, Tell
from edge.telemetry.schedule import Allowance, Lane, in_turn
from edge.telemetry.spool import Spool, SpoolItem
from edge.transport.interface import MessageLink

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0
_PAUSE_AFTER_FAULT_S = 1.0
_CATCH_UP_PER_S = 10.0


class Publisher:
    """Sends what the spool holds, by the lanes of :mod:`edge.telemetry.schedule`.

    Args:
        spool: the messages.
        link: the broker.
        topic_of: a channel's full topic.
        first_pause_s: of a lane after one of its messages did not get through; doubled each time.
        catch_up_per_s: windows from before the connection that are sent in a second at most.
        clock: monotonic seconds.
        tell: takes an event when something unforeseen went wrong; the thread goes on.
    """

    def __init__(
        self,
        spool: Spool,
        link: MessageLink,
        topic_of: Callable[[str], str],
        *,
        first_pause_s: float = 1.0,
        catch_up_per_s: float = _CATCH_UP_PER_S,
        clock: Callable[[], float] = time.monotonic,
        tell: Tell | None = None,
    ) -> None:
        self._spool = spool
        self._link = link
        self._topic_of = topic_of
        self._clock = clock
        self._on_their_way: dict[int, tuple[int, Lane]] = {}
        self._answers: SimpleQueue[tuple[int, bool]] = SimpleQueue()
        self._before = spool.last_id
        """Windows up to this number are from before the connection."""
        self._was_connected = False
        self._allowance = Allowance(catch_up_per_s)
        self._first_pause_s = first_pause_s
        self._pauses_s = dict.fromkeys(Lane, first_pause_s)
        self._not_before_s = dict.fromkeys(Lane, float("-inf"))
        self._supervisor = Supervisor("publisher", tell)
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

    def look(self) -> None:
        """Note the broker's answers and send what may be sent now; the thread's work, once."""
        self._settle()
        connected = self._link.is_connected
        if connected and not self._was_connected:
            self._before = self._spool.last_id
        self._was_connected = connected
        if connected:
            self._send(self._clock())

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()
            if not self._supervisor.guarded(self.look):
                self._stopping.wait(_PAUSE_AFTER_FAULT_S)

    def _settle(self) -> None:
        accepted: list[int] = []
        try:
            while True:
                ticket, taken = self._answers.get_nowait()
                item_id, lane = self._on_their_way.pop(ticket, (None, None))
                if item_id is None or lane is None:
                    continue
                if taken:
                    accepted.append(item_id)
                    self._pauses_s[lane] = self._first_pause_s
                else:
                    self._pause(lane, item_id)
        except Empty:
            pass
        if accepted:
            self._spool.done(*accepted)

    def _pause(self, lane: Lane, item_id: int) -> None:
        now_s, pause_s = self._clock(), self._pauses_s[lane]
        if now_s < self._not_before_s[lane]:
            return
        _log.warning("message %d did not reach the fleet; trying again in %g s", item_id, pause_s)
        self._not_before_s[lane] = now_s + pause_s
        self._pauses_s[lane] = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _send(self, now_s: float) -> None:
        busy = Counter(lane for _, lane in self._on_their_way.values())
        rooms = {lane: lane.places - busy[lane] for lane in Lane if now_s >= self._not_before_s[lane]}
        if Lane.BACKLOG in rooms:
            rooms[Lane.BACKLOG] = min(rooms[Lane.BACKLOG], self._allowance.at(now_s))
        batches = {lane: self._of(lane, room) for lane, room in rooms.items() if room > 0}
        lanes = {item.item_id: lane for lane, batch in batches.items() for item in batch}
        if not lanes:
            return
        for item in self._spool.claim(in_turn(batches)):
            lane = lanes[item.item_id]
            ticket = self._link.publish(self._topic_of(item.channel), item.payload)
            self._on_their_way[ticket] = (item.item_id, lane)
            if lane is Lane.BACKLOG:
                self._allowance.take(1)

    def _of(self, lane: Lane, most: int) -> list[SpoolItem]:
        already = {item_id for item_id, _ in self._on_their_way.values()}
        return self._spool.waiting(
            lane.channel,
            after=self._before if lane is Lane.LIVE else 0,
            upto=self._before if lane is Lane.BACKLOG else None,
            most=most,
            without=already,
        )
