"""Fetches signed metadata and release files for TUF in blocks over MQTT, where only the broker's port is open.

Names are those of a static host: what follows the address of metadata or targets. Nothing here is trusted: sizes are
capped by what TUF allows before anything is stored, lengths and hashes are checked by :mod:`tuf.ngclient`. A release
file is gone on with over restarts; a name without a hash in it may mean other content tomorrow and is begun anew.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO

from tuf.api.exceptions import (
    DownloadError,
    LengthOrHashMismatchError,
    SlowRetrievalError,
)

from edge.transport.fetching import ReleaseFetcher
from edge.transport.pace import Pace
from edge.transport.retry import RefusedError, ServerBusyError
from edge.transport.stream_desk import StreamDesk, Transfer
from edge.transport.stream_part import PartHead
from edge.transport.stream_plan import BlockPlan, Pacing
from mien.streams import METADATA, TARGETS, Layout, Refusal, hash_in

_log = logging.getLogger(__name__)

_STATUS: Mapping[str, int] = MappingProxyType(
    {
        "ResourceNotFound": 404,
        "Unauthorized": 403,
        "InvalidRequest": 400,
        "BlockSizeOutOfBounds": 400,
        "OffsetOutOfBounds": 400,
        "BlockCountLimitExceeded": 400,
        "BlockBitmapLimitExceeded": 400,
    }
)
"""Refusals that will be the same the next time, as HTTP's status, which TUF knows; all others may pass."""
_MOST_UNSIGNED_BYTES = 8 << 20
_LONGEST_WAIT_INSIDE_S = 30.0
"""A fleet that sheds load for longer is told to whoever asked, who may do something else meanwhile."""
_MOST_CHANGES = 3
"""So often may a file's content change while it is fetched."""


class StreamFetcher(ReleaseFetcher):
    """A TUF fetcher over MQTT.

    Args:
        desk: asks for blocks and takes them.
        metadata_url: addresses below it are metadata.
        targets_url: addresses below it are release files.
        pacing: how the device asks.
        pace: makes what watches one transfer for being too slow.
        begun: where another way keeps what it has fetched of an address from its start on; there may be nothing.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        desk: StreamDesk,
        metadata_url: str,
        targets_url: str,
        *,
        pacing: Pacing | None = None,
        pace: Callable[[], Pace] = Pace,
        begun: Callable[[str], Path] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._begun, self._clock = desk, begun, clock
        self._folders = ((metadata_url, METADATA), (targets_url, TARGETS))
        self._pacing = pacing or Pacing()
        self._pace = pace
        self._on_bytes: Callable[[int], None] = _nobody

    def close(self) -> None:
        """Nothing to give back: the connection is the device's."""

    def stored_bytes(self) -> int:
        """Room that unfinished files take."""
        return self._desk.parts.stored_bytes()

    def clear(self) -> None:
        """Delete all unfinished files."""
        self._desk.parts.clear()

    @contextmanager
    def counting(self, on_bytes: Callable[[int], None]) -> Iterator[None]:
        """Tell ``on_bytes`` of every block of a release file that arrives while the block runs; it may raise."""
        self._on_bytes = on_bytes
        try:
            yield
        finally:
            self._on_bytes = _nobody

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As TUF's own, but through a part on the disk, whose blocks outlive this process."""
        name = self._name_of(url)
        version = hash_in(name)
        if version is None:
            self._desk.parts.discard(name)
        else:
            self._go_on_with(url, name, PartHead(version=version, layout=self._layout(max_length)))
        size = self._pacing.block_bytes
        with self._desk.transfer(name, version=version, most_bytes=max_length, block_bytes=size) as transfer:
            self._fill(transfer)
        try:
            with self._desk.parts.whole(name).open("rb") as stream:
                yield stream
        except LengthOrHashMismatchError:
            self._desk.parts.discard(name)
            raise
        self._desk.parts.discard(name)

    def _fetch(self, url: str) -> Iterator[bytes]:
        """All of a small file; TUF itself asks by :meth:`download_file`."""
        with self.download_file(url, _MOST_UNSIGNED_BYTES) as stream:
            yield stream.read()

    def _name_of(self, url: str) -> str:
        for base, folder in self._folders:
            if url.startswith(base):
                return f"{folder}/{url[len(base) :]}"
        raise DownloadError(f"{url} is no address of this fleet's releases")

    def _layout(self, size: int) -> Layout:
        return Layout(size=size, block_bytes=self._pacing.block_bytes)

    def _go_on_with(self, url: str, name: str, head: PartHead) -> None:
        """Where another way was shut in the middle of a file: what it has counts, and is checked with the rest."""
        begun = self._begun(url) if self._begun is not None else None
        if begun is None or not begun.is_file() or self._desk.parts.whole(name).exists():
            return
        if begun.stat().st_size <= head.layout.size:
            self._desk.parts.adopt(name, head, begun)

    def _fill(self, transfer: Transfer) -> None:
        """Ask until all blocks are here.

        Raises:
            DownloadError: it does not come, or not as it should; the subclass says which.
        """
        clock = self._clock
        counts = self._on_bytes if transfer.name.startswith(TARGETS) else _nobody
        plan, pace, lapses, changes = BlockPlan(self._pacing, now=clock(), spread=_spread), self._pace(), 0, 0
        while not transfer.is_whole:
            came, refused = self._desk.news(transfer)
            for index, _ in came:
                plan.came(index, now=clock())
            for refusal in refused:
                changes += self._answered(transfer, plan, refusal)
            self._ask(transfer, plan)
            if plan.lapses != lapses:
                pace, lapses = self._pace(), plan.lapses
            for length in (*(length for _, length in came), 0):
                pace.saw(length)
                counts(length)  # waits, where a limit on bytes is exceeded
            _check(transfer, plan, changes, clock())
            self._desk.wait(transfer, plan.wait_s(clock()))
        for _, length in self._desk.news(transfer)[0]:
            counts(length)

    def _ask(self, transfer: Transfer, plan: BlockPlan) -> None:
        """Ask for what is due."""
        missing = self._desk.missing(transfer, 2 * self._pacing.most_in_flight)
        blocks = plan.ask(missing, now=self._clock())
        if blocks and not self._desk.ask(transfer, blocks):
            _log.debug("the broker is away; %s waits", transfer.name)

    def _answered(self, transfer: Transfer, plan: BlockPlan, refusal: Refusal) -> int:
        """What follows from a refusal; one where the file has other content now."""
        if refusal.error == "Busy":
            if refusal.retry_after_s > _LONGEST_WAIT_INSIDE_S:
                raise ServerBusyError(transfer.name, refusal.retry_after_s)
            blocks = transfer.asked.get(refusal.request_id, ())
            plan.shed(blocks, now=self._clock(), retry_after_s=refusal.retry_after_s)
            return 0
        if refusal.error == "VersionMismatch" and hash_in(transfer.name) is None:
            self._desk.begin_anew(transfer)
            plan.begin_anew()
            return 1
        raise _error_of(transfer.name, refusal)


def _check(transfer: Transfer, plan: BlockPlan, changes: int, now: float) -> None:
    if changes > _MOST_CHANGES:
        raise DownloadError(f"{transfer.name} changed {changes} times while it was fetched")
    if plan.is_exhausted:
        raise SlowRetrievalError(
            f"the fleet's streams did not answer for {transfer.name}, asked {plan.fruitless} times"
        )
    if plan.is_shed(now):
        raise ServerBusyError(transfer.name, _LONGEST_WAIT_INSIDE_S)


def _error_of(name: str, refusal: Refusal) -> DownloadError:
    told = f"the fleet's stream of {name} was refused: {refusal.error} ({refusal.detail})"
    status = _STATUS.get(refusal.error)
    return DownloadError(told) if status is None else RefusedError(told, status)


def _nobody(_: int) -> None:
    """Nobody counts."""


def _spread() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
