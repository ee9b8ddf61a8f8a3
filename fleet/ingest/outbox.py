"""What devices should run, on its way to the broker: sent until the broker confirms it, whatever is killed."""

from __future__ import annotations

import threading

from fleet.ingest.interface import Bus
from fleet.store.database import Store
from mien.messages import encode
from mien.topics import DESIRED, topic


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
        """Send what waits; the number of messages which the broker confirmed."""
        if not self._bus.is_connected:
            return 0
        everything = self._all.is_set()
        self._all.clear()
        with self._store.read() as work:
            waiting = work.devices.outgoing()
            if everything:
                waiting += [message for message in work.devices.all_desired() if message not in waiting]
        sent = []
        for message in waiting:
            payload = encode(message.desired) if message.desired else b""
            if self._bus.publish_retained(topic(message.device_id, DESIRED), payload, timeout_s=timeout_s):
                sent.append(message)
            elif everything:
                self._all.set()
        if sent:
            with self._store.write() as work:
                work.devices.sent(sent)
        return len(sent)
