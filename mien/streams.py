"""Files in blocks over MQTT: what a device asks on ``stream/get`` and what it gets on ``stream/data``.

The device drives: it asks for the blocks that it lacks by a bitmap, as AWS IoT's MQTT file delivery does, whose names
are kept; a lost block is asked for again. A request is JSON; an answer is a fixed binary head with the block behind it,
or a refusal by name. A block carries the hash of itself and its head, so that damage is found at once; whether the file
is the one that was signed is for TUF to say. Touches nothing.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from mien.errors import DataError
from mien.messages import Message, decode, encode
from mien.release import Sha256

LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES = 256, 131_072
MOST_OFFSET = 1 << 24
"""The highest number of a block."""
MOST_BITMAP_BITS = 1024
"""Blocks that one bitmap spans."""
MOST_ASKED_BYTES = 1 << 20
"""Bytes that one request may ask for."""
MOST_FILE_BYTES = 1 << 40

METADATA, TARGETS = "metadata", "targets"
"""The two folders of a TUF repository: every name begins with one of them."""

ErrorName = Literal[
    "InvalidRequest",
    "BlockSizeOutOfBounds",
    "OffsetOutOfBounds",
    "BlockCountLimitExceeded",
    "BlockBitmapLimitExceeded",
    "ResourceNotFound",
    "VersionMismatch",
    "Unauthorized",
    "Busy",
    "InternalError",
]
"""``Busy`` is ours: the fleet sheds load, and says how long to wait. All others are AWS IoT's."""
ERROR_NAMES: tuple[str, ...] = get_args(ErrorName)

_MAGIC = b"ms"
_FORMAT = 1
_BLOCK, _REFUSAL = 0, 1
_PREFIX = struct.Struct(">2sBB")
_HEAD = struct.Struct(">Q32sQII")
_DIGEST_BYTES = 16
HEAD_BYTES = _PREFIX.size + _HEAD.size + _DIGEST_BYTES
_HASH_PREFIX = re.compile(r"([0-9a-f]{64})\..+")


class Get(Message):
    """``stream/get``: blocks of a file that the device lacks. Bounds are checked by :func:`wanted_blocks`, by name."""

    request_id: Annotated[int, Field(ge=1, lt=1 << 63)]
    file: str = Field(max_length=512)
    """``metadata/…`` or ``targets/…``, as a static host would serve it."""
    version: Sha256 | None = None
    """The content that is meant; ``None`` while the device does not know which there is."""
    block_bytes: int
    offset: int
    """The block that the first bit stands for."""
    bitmap: str = Field(max_length=4096)
    """Hexadecimal, least significant bit first: a set bit is a block that is wanted."""


class Refusal(Message):
    """``stream/data``: why a request is not answered."""

    request_id: int
    error: ErrorName
    detail: str = Field(default="", max_length=300)
    retry_after_s: Annotated[float, Field(ge=0, le=3600)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a file is cut into blocks."""

    size: int
    block_bytes: int

    @property
    def count(self) -> int:
        """How many blocks there are; an empty file has one, which is empty."""
        return max(1, -(-self.size // self.block_bytes))

    def place(self, index: int) -> int:
        """Where a block begins."""
        return index * self.block_bytes

    def length(self, index: int) -> int:
        """How long a block is: the last one is shorter."""
        return max(0, min(self.block_bytes, self.size - self.place(index)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """``stream/data``: one block, with all that is needed to put it in its place."""

    request_id: int
    version: str
    """SHA-256 of the file, as the sender says."""
    size: int
    block_bytes: int
    index: int
    payload: bytes

    @property
    def layout(self) -> Layout:
        """How its file is cut."""
        return Layout(size=self.size, block_bytes=self.block_bytes)


class StreamRefused(DataError):  # noqa: N818 - the protocol's word
    """A request that cannot be answered, by its name in the protocol."""

    def __init__(self, name: ErrorName, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(f"a stream was refused: {name}", found=detail)
        self.name: ErrorName = name
        self.detail = detail
        self.retry_after_s = retry_after_s

    def answer(self, request_id: int) -> Refusal:
        """What the device is told."""
        return Refusal(
            request_id=request_id,
            error=self.name,
            detail=self.detail[:300],
            retry_after_s=min(max(self.retry_after_s, 0.0), 3600.0),
        )


def bitmap_of(blocks: Iterable[int]) -> tuple[int, str]:
    """Offset and bitmap of some blocks; none give an empty bitmap."""
    wanted = sorted(set(blocks))
    if not wanted:
        return 0, ""
    offset = wanted[0]
    bits = bytearray((wanted[-1] - offset) // 8 + 1)
    for index in wanted:
        bits[(index - offset) // 8] |= 1 << ((index - offset) % 8)
    return offset, bits.hex()


def blocks_of(offset: int, bitmap: str) -> list[int]:
    """The blocks that a bitmap names, rising.

    Raises:
        ValueError: not hexadecimal.
    """
    return [
        offset + 8 * place + bit
        for place, byte in enumerate(bytes.fromhex(bitmap))
        for bit in range(8)
        if byte >> bit & 1
    ]


def wanted_blocks(get: Get) -> list[int]:
    """The blocks that a request asks for.

    Raises:
        StreamRefused: out of bounds, by name.
    """
    if not LEAST_BLOCK_BYTES <= get.block_bytes <= MOST_BLOCK_BYTES:
        raise StreamRefused("BlockSizeOutOfBounds", f"{get.block_bytes}; {LEAST_BLOCK_BYTES} to {MOST_BLOCK_BYTES}")
    if not 0 <= get.offset <= MOST_OFFSET:
        raise StreamRefused("OffsetOutOfBounds", f"{get.offset}; 0 to {MOST_OFFSET}")
    if 4 * len(get.bitmap) > MOST_BITMAP_BITS:
        raise StreamRefused("BlockBitmapLimitExceeded", f"{4 * len(get.bitmap)} bits; at most {MOST_BITMAP_BITS}")
    try:
        blocks = blocks_of(get.offset, get.bitmap)
    except ValueError:
        raise StreamRefused("InvalidRequest", "the bitmap is not hexadecimal") from None
    if not blocks:
        raise StreamRefused("InvalidRequest", "the bitmap names no block")
    if len(blocks) * get.block_bytes > max(MOST_ASKED_BYTES, get.block_bytes):
        raise StreamRefused("BlockCountLimitExceeded", f"{len(blocks)} blocks; at most {MOST_ASKED_BYTES} bytes")
    return blocks


def hash_in(name: str) -> str | None:
    """The SHA-256 that a signed file's name begins with (``…/HASH.name``); ``None`` where there is none."""
    folder, _, rest = name.partition("/")
    found = _HASH_PREFIX.fullmatch(rest.rpartition("/")[2])
    return found[1] if folder == TARGETS and found else None


def encode_block(block: Block) -> bytes:
    """A block as it goes on the wire."""
    head = _PREFIX.pack(_MAGIC, _FORMAT, _BLOCK) + _HEAD.pack(
        block.request_id, bytes.fromhex(block.version), block.size, block.block_bytes, block.index
    )
    return b"".join((head, _digest(head, block.payload), block.payload))


def encode_refusal(refusal: Refusal) -> bytes:
    """A refusal as it goes on the wire."""
    return _PREFIX.pack(_MAGIC, _FORMAT, _REFUSAL) + encode(refusal)


def decode_answer(payload: bytes) -> Block | Refusal:
    """Read what came on ``stream/data``.

    Raises:
        DataError: no answer of this format, damaged, or a block that cannot be of such a file. Never anything else.
    """
    if len(payload) < _PREFIX.size or payload[:3] != _MAGIC + bytes([_FORMAT]):
        raise DataError("no answer to a stream's request", found=payload[:8].hex(), wanted="format 1")
    if payload[3] == _REFUSAL:
        return decode(Refusal, payload[_PREFIX.size :], source="stream/data")
    if payload[3] != _BLOCK or not HEAD_BYTES <= len(payload) <= HEAD_BYTES + MOST_BLOCK_BYTES:
        raise DataError("no block of a stream", found=f"kind {payload[3]}, {len(payload)} bytes")
    head, content = payload[: HEAD_BYTES - _DIGEST_BYTES], payload[HEAD_BYTES:]
    if _digest(head, content) != payload[HEAD_BYTES - _DIGEST_BYTES : HEAD_BYTES]:
        raise DataError("a block of a stream does not have its hash", remedy="it is asked for again")
    return _checked(_block(head, content))


def _block(head: bytes, content: bytes) -> Block:
    request_id, version, size, block_bytes, index = _HEAD.unpack(head[_PREFIX.size :])
    return Block(
        request_id=request_id,
        version=version.hex(),
        size=size,
        block_bytes=block_bytes,
        index=index,
        payload=content,
    )


def _checked(block: Block) -> Block:
    bounds = LEAST_BLOCK_BYTES <= block.block_bytes <= MOST_BLOCK_BYTES and block.size <= MOST_FILE_BYTES
    if not bounds or block.index >= block.layout.count or len(block.payload) != block.layout.length(block.index):
        raise DataError(
            "a block cannot be of such a file",
            found=f"block {block.index}, {len(block.payload)} bytes",
            wanted=f"a part of {block.size} bytes in blocks of {block.block_bytes}",
        )
    return block


def _digest(head: bytes, content: bytes) -> bytes:
    hashed = hashlib.blake2b(head, digest_size=_DIGEST_BYTES)
    hashed.update(content)
    return hashed.digest()
