"""A channel between a device and a fleet's streams, with a clock of its own: it loses, doubles, delays and damages."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.transport.stream_desk import StreamDesk, Transfer
from edge.transport.stream_part import StreamParts
from mien.messages import decode
from mien.streams import Block, Get, Layout, Refusal, encode_block, encode_refusal, wanted_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How likely each is, for each answer."""

    lost: float = 0.0
    doubled: float = 0.0
    damaged: float = 0.0
    late: float = 0.0
    """Comes after others that were sent later."""


class Served:
    """A fleet that has some files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.blocks: list[tuple[str, int]] = []
        """Every block that was sent."""
        self.requests: list[Get] = []
        self.lies: Callable[[Block], Block] = lambda block: block

    def answers(self, get: Get) -> list[bytes]:
        """What a request brings."""
        self.requests.append(get)
        content = self.files.get(get.file)
        if content is None:
            return [encode_refusal(Refusal(request_id=get.request_id, error="ResourceNotFound"))]
        version = hashlib.sha256(content).hexdigest()
        if get.version not in {None, version}:
            return [encode_refusal(Refusal(request_id=get.request_id, error="VersionMismatch"))]
        layout = Layout(size=len(content), block_bytes=get.block_bytes)
        return [self._block(get, content, version, layout, index) for index in wanted_blocks(get)]

    def _block(self, get: Get, content: bytes, version: str, layout: Layout, index: int) -> bytes:
        self.blocks.append((get.file, index))
        place = layout.place(index)
        block = Block(
            request_id=get.request_id,
            version=version,
            size=layout.size,
            block_bytes=layout.block_bytes,
            index=index,
            payload=content[place : place + layout.length(index)],
        )
        return encode_block(self.lies(block))


class ChannelDesk(StreamDesk):
    """A desk whose requests go to a :class:`Served` through a channel with faults, in time that only waiting spends."""

    def __init__(self, folder: Path, served: Served, faults: Faults | None = None, *, seed: int = 0) -> None:
        super().__init__(StreamParts(folder), self._to_fleet)
        self.served, self.faults = served, faults or Faults()
        self.now = 1000.0
        self.is_away = False
        self._random = random.Random(seed)
        self._on_way: list[tuple[float, int, bytes]] = []
        self._number = 0

    def clock(self) -> float:
        """Its time."""
        return self.now

    def wait(self, transfer: Transfer, timeout_s: float) -> None:
        """Time passes, and what arrives in it is delivered."""
        end = self.now + timeout_s
        if self._on_way and self._on_way[0][0] <= end:
            self.now = max(self.now, self._on_way[0][0])
            self.received(heapq.heappop(self._on_way)[2])
        else:
            self.now = end

    def _to_fleet(self, payload: bytes) -> bool:
        if self.is_away:
            return False
        for answer in self.served.answers(decode(Get, payload, source="device")):
            self._send(answer)
        return True

    def _send(self, answer: bytes) -> None:
        rolls, faults = self._random.random, self.faults
        if rolls() < faults.lost:
            return
        if rolls() < faults.damaged:
            place = self._random.randrange(len(answer))
            answer = answer[:place] + bytes([answer[place] ^ 0x5A]) + answer[place + 1 :]
        for _ in range(2 if rolls() < faults.doubled else 1):
            self._number += 1
            delay = 0.01 + (self._random.uniform(0.0, 20.0) if rolls() < faults.late else 0.0)
            heapq.heappush(self._on_way, (self.now + delay, self._number, answer))
