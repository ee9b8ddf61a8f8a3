"""What devices should run, on its way to the broker: sent until the broker confirms it, whatever is killed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fleet.ingest.interface import Bus
from fleet.store.database import Store
from fleet.store.devices import Outgoing
from mien.messages import encode
from mien.topics import DESIRED, topic

_AT_ONCE = 500


class Outbox:
    """Sends desired releases that the broker does not hold yet.

    Args:
        store: where they wait.
        bus: where they go.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store, self._bus = store, bus
        self._all = threading.Event()

    def send_all(self) -> None:
        """Send everything again next time: the broker may have lost it."""
        self._all.set()

    def flush(self, *, timeout_s: float = 5.0) -> int:
        """Send what waits; the number of messages which the broker confirmed.

        Many are under way at once. What a part of them came to is noted before the next part begins, so a kill costs
        the repetition of one part at most.
        """
        if not self._bus.is_connected:
            return 0
        everything = self._all.is_set()
        self._all.clear()
        with self._store.read() as work:
            waiting = {message.device_id: message for message in (work.devices.all_desired() if everything else ())}
            waiting |= {message.device_id: message for message in work.devices.outgoing()}
        messages, sent = list(waiting.values()), 0
        for start in range(0, len(messages), _AT_ONCE):
            part = messages[start : start + _AT_ONCE]
            taken = self._send(part, timeout_s)
            sent += taken
            if taken < len(part):
                if everything:
                    self._all.set()
                break
        return sent

    def _send(self, messages: Sequence[Outgoing], timeout_s: float) -> int:
        """Send some; how many the broker took."""
        told = [
            (topic(message.device_id, DESIRED), encode(message.desired) if message.desired else b"")
            for message in messages
        ]
        confirmed = self._bus.publish_retained(told, timeout_s=timeout_s)
        taken = [message for message, is_safe in zip(messages, confirmed, strict=True) if is_safe]
        if taken:
            with self._store.write() as work:
                work.devices.sent(taken)
        return len(taken)
