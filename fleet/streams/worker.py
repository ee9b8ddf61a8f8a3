"""Answers devices that ask for files in blocks: takes requests from one thread, sends blocks from another.

Serves accepted devices only, as an answer on their own topic. What it may take of the machine and the broker is bounded
by :mod:`fleet.streams.queue`; a payload is read when it is its turn, so what waits are numbers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from fleet.streams.files import RegistryFiles, ServedFile
from fleet.streams.interface import StreamBus
from fleet.streams.queue import FairQueue, Job, Rates
from mien import topics
from mien.errors import DataError
from mien.messages import decode
from mien.streams import Block, Get, Layout, StreamRefused, encode_block, encode_refusal, wanted_blocks

_log = logging.getLogger(__name__)

_MEMBERS_FOR_S, _STRANGERS_EACH_S = 5.0, 1.0
_LONGEST_LOOK_S = 0.5
_LOGGED_EACH_S = 60.0


class StreamWorker:
    """Serves the registry's files.

    Args:
        bus: the broker.
        files: what there is.
        accepted: the devices that are served; asked every few seconds.
        rates: how much goes out.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        bus: StreamBus,
        files: RegistryFiles,
        *,
        accepted: Callable[[], frozenset[str]],
        rates: Rates,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._files, self._accepted, self._clock = bus, files, accepted, clock
        self._queue: FairQueue[ServedFile] = FairQueue(rates, now=clock())
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._members: frozenset[str] = frozenset()
        self._members_at: float | None = None
        self._told_at = clock()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self.counts: Counter[str] = Counter()
        """requests, blocks, bytes, bad, and every refusal by its name."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._bus.start(self.received)

    def stop(self) -> None:
        """End; who asked asks again elsewhere or later."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._bus.stop()  # first: a block that waits for a broker which is away would hold the thread for ever
        if self._thread.is_alive():
            self._thread.join()

    def received(self, topic: str, payload: bytes) -> None:
        """A request came."""
        address = topics.parse(topic)
        if address is None or (address.channel, address.rest) != (topics.STREAM, (topics.GET,)):
            return
        self.counts["requests"] += 1
        try:
            get = decode(Get, payload, source=f"{address.device_id}/{topics.STREAM_GET}")
        except DataError as error:
            self.counts["bad"] += 1
            _log.debug("a stream's request is thrown away: %s", error)
            return
        try:
            self._offer(address.device_id, get)
        except StreamRefused as refusal:
            self.counts[refusal.name] += 1
            answer = encode_refusal(refusal.answer(get.request_id))
            self._bus.tell(topics.topic(address.device_id, topics.STREAM_DATA), answer)

    def _offer(self, device_id: str, get: Get) -> None:
        self._check_accepted(device_id)
        blocks = wanted_blocks(get)
        file = self._files.find(get.file, get.version)
        layout = Layout(size=file.size, block_bytes=get.block_bytes)
        if blocks[-1] >= layout.count:
            raise StreamRefused("OffsetOutOfBounds", f"block {blocks[-1]}; the file has {layout.count}")
        jobs = [Job(device_id, file, get.request_id, get.block_bytes, i, layout.length(i)) for i in blocks]
        with self._changed:
            self._queue.offer(jobs, now=self._clock())
            self._changed.notify_all()

    def _check_accepted(self, device_id: str) -> None:
        """Who is not on the list has it read anew, at most once a second: a device may have been accepted just now."""
        now = self._clock()
        age_s = None if self._members_at is None else now - self._members_at
        if age_s is not None and age_s <= _MEMBERS_FOR_S:
            if device_id in self._members:
                return
            if age_s < _STRANGERS_EACH_S:
                raise StreamRefused("Busy", "who is accepted was read just now", retry_after_s=_STRANGERS_EACH_S)
        try:
            self._members = self._accepted()
        except Exception:  # noqa: BLE001 - supervisor: a database that is away must not end the streams
            _log.exception("who is accepted cannot be read; the list of before counts")
        self._members_at = now
        if device_id not in self._members:
            raise StreamRefused("Unauthorized", f"{device_id} is not accepted here")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._send_next()
            except Exception:  # noqa: BLE001 - supervisor: one bad block must not end the thread
                _log.exception("streams: this block failed; the next one follows")

    def _send_next(self) -> None:
        with self._changed:
            now = self._clock()
            job = self._queue.take(now=now)
            if job is None:
                wait_s = self._queue.wait_s(now=now)
                self._changed.wait(_LONGEST_LOOK_S if wait_s is None else min(wait_s, _LONGEST_LOOK_S))
                return
        self._send(job)
        self._tell_now_and_then()

    def _send(self, job: Job[ServedFile]) -> None:
        topic = topics.topic(job.device_id, topics.STREAM_DATA)
        try:
            payload = job.file.read(job.index * job.block_bytes, job.length)
        except OSError as error:
            self.counts["InternalError"] += 1
            _log.error("%s cannot be read: %s", job.file.name, error)
            refusal = StreamRefused("InternalError", "the file cannot be read now").answer(job.request_id)
            self._bus.tell(topic, encode_refusal(refusal))
            return
        block = Block(
            request_id=job.request_id,
            version=job.file.version,
            size=job.file.size,
            block_bytes=job.block_bytes,
            index=job.index,
            payload=payload,
        )
        if self._bus.send(topic, encode_block(block)):
            self.counts["blocks"] += 1
            self.counts["bytes"] += job.length

    def _tell_now_and_then(self) -> None:
        now = self._clock()
        if now - self._told_at >= _LOGGED_EACH_S:
            self._told_at = now
            _log.info("streams so far: %s; %d devices wait", dict(self.counts), self._queue.devices)
