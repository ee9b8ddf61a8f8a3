"""Where blocks of files arrive: on the link's thread, straight to their place on the disk, and only then acknowledged.

So no more than the block at hand is in memory, and what a killed agent had asked for is not lost: the broker keeps what
was not acknowledged and delivers it to the next start, where it finds the part that it belongs to.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tuf.api.exceptions import DownloadLengthMismatchError

from edge.transport.stream_part import PartHead, StreamPart, StreamParts
from mien.errors import DataError
from mien.messages import encode
from mien.streams import Block, Get, Refusal, bitmap_of, decode_answer

_log = logging.getLogger(__name__)
_ASKED_KEPT = 64


@dataclass(kw_only=True)
class Transfer:
    """One file on its way; all of it belongs to the desk's lock."""

    name: str
    most_bytes: int
    """More is not taken, whatever the sender says."""
    block_bytes: int
    version: str | None
    """The content that is wanted; learnt from the first block where it is not known before."""
    part: StreamPart | None = None
    asked: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Blocks by request, the last few."""
    came: deque[tuple[int, int]] = field(default_factory=deque)
    """Number and length of blocks that came since somebody looked."""
    refused: deque[Refusal] = field(default_factory=lambda: deque(maxlen=_ASKED_KEPT))
    fault: Exception | None = None
    """Why it cannot go on."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return self.part is not None and self.part.is_whole


class StreamDesk:
    """Asks for blocks and takes what comes.

    Args:
        parts: where unfinished files are.
        send: sends a request; false when the broker is away.
    """

    def __init__(self, parts: StreamParts, send: Callable[[bytes], bool] = lambda _: False) -> None:
        self.parts, self.send = parts, send
        self.counts: Counter[str] = Counter()
        """blocks, stray, doubled, bad, refused."""
        self._transfer: Transfer | None = None
        self._news = threading.Condition()

    @contextmanager
    def transfer(self, name: str, *, version: str | None, most_bytes: int, block_bytes: int) -> Iterator[Transfer]:
        """Take a file's blocks while the block of code runs; what is here of it is gone on with.

        Raises:
            OSError: the disk cannot be read.
        """
        with self._news:
            part = self.parts.open(name)
            transfer = Transfer(name=name, most_bytes=most_bytes, block_bytes=block_bytes, version=version, part=part)
            if part is not None and not _fits(part, transfer):
                part.delete()
                transfer.part = None
            if transfer.part is not None:
                transfer.version = transfer.part.head.version
            self._transfer = transfer
        try:
            yield transfer
        finally:
            with self._news:
                self._transfer = None
                if transfer.part is not None:
                    transfer.part.close()

    def ask(self, transfer: Transfer, blocks: list[int]) -> bool:
        """Ask for blocks; false when the broker is away."""
        request_id = secrets.randbelow((1 << 62) - 1) + 1
        offset, bitmap = bitmap_of(blocks)
        with self._news:
            transfer.asked[request_id] = tuple(blocks)
            while len(transfer.asked) > _ASKED_KEPT:
                del transfer.asked[next(iter(transfer.asked))]
            version = transfer.version
        get = Get(
            request_id=request_id,
            file=transfer.name,
            version=version,
            block_bytes=transfer.block_bytes,
            offset=offset,
            bitmap=bitmap,
        )
        return self.send(encode(get))

    def missing(self, transfer: Transfer, most: int) -> list[int]:
        """Some of the blocks that are not here, rising; the first one while nothing is known of the file."""
        with self._news:
            if transfer.part is None:
                return [0]
            return [index for _, index in zip(range(most), transfer.part.missing(), strict=False)]

    def wait(self, transfer: Transfer, timeout_s: float) -> None:
        """Wait until something comes, at most so long."""
        with self._news:
            if not (transfer.came or transfer.refused or transfer.fault):
                self._news.wait(timeout_s)

    def news(self, transfer: Transfer) -> tuple[list[tuple[int, int]], list[Refusal]]:
        """Blocks (number and length) and refusals that came since the last look.

        Raises:
            DownloadLengthMismatchError: the sender's file is larger than what is signed.
            OSError: the disk does not take a block.
        """
        with self._news:
            if transfer.fault is not None:
                raise transfer.fault
            came, refused = list(transfer.came), list(transfer.refused)
            transfer.came.clear()
            transfer.refused.clear()
            return came, refused

    def begin_anew(self, transfer: Transfer) -> None:
        """The file has other content now: forget what is here of it."""
        with self._news:
            if transfer.part is not None:
                transfer.part.delete()
            transfer.part, transfer.version = None, None
            transfer.asked.clear()

    def received(self, payload: bytes) -> None:
        """Something came on ``stream/data``; returns once it is on the disk, or thrown away."""
        try:
            answer = decode_answer(payload)
        except DataError as error:
            self.counts["bad"] += 1
            if str(self.counts["bad"]).strip("0") == "1":  # the first, the tenth, the hundredth …
                _log.warning("an answer to a stream is thrown away, %d so far: %s", self.counts["bad"], error)
            return
        with self._news:
            if isinstance(answer, Refusal):
                self._refused(answer)
            else:
                self._take(answer)
            self._news.notify_all()

    def _refused(self, refusal: Refusal) -> None:
        self.counts["refused"] += 1
        if self._transfer is not None and refusal.request_id in self._transfer.asked:
            self._transfer.refused.append(refusal)

    def _take(self, block: Block) -> None:
        transfer, head = self._transfer, PartHead(version=block.version, layout=block.layout)
        try:
            if transfer is not None and self._belongs(transfer, block, head):
                self._put(transfer, block)
            elif not self.parts.put_stray(head, block.index, block.payload):
                self.counts["stray"] += 1
        except OSError as error:
            _log.warning("a block cannot be kept: %s", error)
            if transfer is not None:
                transfer.fault = error

    def _belongs(self, transfer: Transfer, block: Block, head: PartHead) -> bool:
        """Whether a block is of the file that is fetched; begins the part with the first one."""
        if transfer.part is not None:
            return transfer.part.head == head
        asked = block.request_id in transfer.asked and block.block_bytes == transfer.block_bytes
        if not asked or transfer.version not in {None, block.version}:
            return False
        if block.size > transfer.most_bytes:
            transfer.fault = DownloadLengthMismatchError(
                f"{transfer.name} has {block.size} bytes, more than the {transfer.most_bytes} that are allowed"
            )
            return False
        transfer.part, transfer.version = self.parts.create(transfer.name, head), block.version
        return True

    def _put(self, transfer: Transfer, block: Block) -> None:
        if transfer.part is None or not transfer.part.put(block.index, block.payload):
            self.counts["doubled"] += 1
            return
        self.counts["blocks"] += 1
        transfer.came.append((block.index, len(block.payload)))


def _fits(part: StreamPart, transfer: Transfer) -> bool:
    layout = part.head.layout
    version = transfer.version in {None, part.head.version}
    return version and layout.size <= transfer.most_bytes and layout.block_bytes == transfer.block_bytes
