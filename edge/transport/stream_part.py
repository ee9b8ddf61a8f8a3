"""A file of which some blocks are here: its bytes at their places, and beside it a map of what is known of each block.

The map holds a hash of each block. At the next start a block counts only if its bytes on the disk have that hash, so
neither a kill nor a power cut, whichever of both files it caught, leaves a hole that counts as filled.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mien.streams import LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES, MOST_FILE_BYTES, Layout

_HEAD = struct.Struct(">8s32sQI")
_MAGIC = b"mienmap1"
_MARK_BYTES = 8
_NOTHING = bytes(_MARK_BYTES)
_SYNC_BYTES = 4 << 20
"""So much at most must be fetched again after a power cut."""
_CONTENT, _MAP = ".stream", ".map"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHead:
    """Which content a part is of, and how it is cut."""

    version: str
    layout: Layout


class StreamPart:
    """An unfinished file; not for several threads at once.

    Args:
        path: of its content; the map lies beside it.
        head: what it is of.
        have: by block, one where it is here.
    """

    def __init__(self, path: Path, head: PartHead, have: bytearray) -> None:
        self.path, self.head = path, head
        self._have, self._first = have, 0
        self.count = sum(have)
        """Blocks that are here."""
        self._unsynced = 0
        self._content = os.open(path, os.O_RDWR)
        self._map = os.open(_map_of(path), os.O_RDWR)

    @property
    def is_whole(self) -> bool:
        """Whether all blocks are here."""
        return self.count == self.head.layout.count

    def missing(self) -> Iterator[int]:
        """Blocks that are not here, rising."""
        have = self._have
        while self._first < len(have) and have[self._first]:
            self._first += 1
        return (index for index in range(self._first, len(have)) if not have[index])

    def put(self, index: int, payload: bytes) -> bool:
        """Keep a block; false when it was here already.

        Raises:
            OSError: the disk does not take it.
        """
        if self._have[index]:
            return False
        _put(self._content, self._map, self.head.layout, index, payload)
        self._have[index] = 1
        self.count += 1
        self._unsynced += len(payload)
        if self._unsynced >= _SYNC_BYTES:
            self.sync()
        return True

    def sync(self) -> None:
        """Have the disk keep what is here through a power cut."""
        os.fdatasync(self._content)
        os.fdatasync(self._map)
        self._unsynced = 0

    def close(self) -> None:
        """Give the files back; they stay. May be called twice."""
        for descriptor in (self._content, self._map):
            if descriptor >= 0:
                os.close(descriptor)
        self._content = self._map = -1

    def delete(self) -> None:
        """Close, and delete the files."""
        self.close()
        _delete(self.path)


class StreamParts:
    """The folder of unfinished files.

    Args:
        folder: where; others may keep files with other endings in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> StreamPart | None:
        """What is here of a file; blocks whose bytes are not what was noted do not count."""
        path = self._path(name)
        head = _read_head(path)
        if head is None:
            _delete(path)
            return None
        return StreamPart(path, head, _checked(path, head.layout))

    def create(self, name: str, head: PartHead) -> StreamPart:
        """Begin a file anew.

        Raises:
            OSError: the disk does not take it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        _delete(path)
        layout = head.layout
        with path.open("wb") as content:
            content.truncate(layout.size)
        with _map_of(path).open("wb") as marks:
            marks.write(_HEAD.pack(_MAGIC, bytes.fromhex(head.version), layout.size, layout.block_bytes))
            marks.truncate(_HEAD.size + _MARK_BYTES * layout.count)
        return StreamPart(path, head, bytearray(layout.count))

    def adopt(self, name: str, head: PartHead, begun: Path) -> None:
        """Begin a file with what another way has fetched of it from its start on; that is used up.

        Raises:
            OSError: the disk does not take it.
        """
        part, layout = self.create(name, head), head.layout
        try:
            with begun.open("rb") as content:
                for index in range(layout.count):
                    payload = content.read(layout.length(index))
                    if len(payload) < layout.length(index) or not payload:
                        break
                    part.put(index, payload)
        finally:
            part.close()
        begun.unlink()

    def put_stray(self, head: PartHead, index: int, payload: bytes) -> bool:
        """Keep a block that nobody waits for now, if a part of its file is here; whether one is."""
        for path in self._folder.glob(f"*{_CONTENT}"):
            if _read_head(path) == head:
                with path.open("r+b") as content, _map_of(path).open("r+b") as marks:
                    _put(content.fileno(), marks.fileno(), head.layout, index, payload)
                return True
        return False

    def whole(self, name: str) -> Path:
        """Where the content of a file lies of which all blocks are here."""
        return self._path(name)

    def discard(self, name: str) -> None:
        """Delete what is here of a file."""
        _delete(self._path(name))

    def stored_bytes(self) -> int:
        """Room that parts take on the disk."""
        return sum(path.stat().st_blocks * 512 for path in self._folder.glob(f"*{_CONTENT}"))

    def clear(self) -> None:
        """Delete all parts."""
        for path in self._folder.glob(f"*{_CONTENT}"):
            _delete(path)

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}{_CONTENT}"


def _map_of(path: Path) -> Path:
    return path.with_suffix(_MAP)


def _delete(path: Path) -> None:
    for one in (_map_of(path), path):
        with suppress(FileNotFoundError):
            one.unlink()


def _read_head(path: Path) -> PartHead | None:
    """What a part is of; ``None`` where there is none, or one that was never whole."""
    try:
        with _map_of(path).open("rb") as marks:
            magic, version, size, block_bytes = _HEAD.unpack(marks.read(_HEAD.size))
            length, content_length = os.fstat(marks.fileno()).st_size, path.stat().st_size
    except (OSError, struct.error):
        return None
    bounds = size <= MOST_FILE_BYTES and LEAST_BLOCK_BYTES <= block_bytes <= MOST_BLOCK_BYTES
    if magic != _MAGIC or not bounds:
        return None
    head = PartHead(version=version.hex(), layout=Layout(size=size, block_bytes=block_bytes))
    whole = length == _HEAD.size + _MARK_BYTES * head.layout.count and content_length == size
    return head if whole else None


def _checked(path: Path, layout: Layout) -> bytearray:
    have = bytearray(layout.count)
    with path.open("rb") as content, _map_of(path).open("rb") as marks:
        marks.seek(_HEAD.size)
        for index in range(layout.count):
            mark = marks.read(_MARK_BYTES)
            if mark != _NOTHING:
                content.seek(layout.place(index))
                have[index] = _mark(content.read(layout.length(index))) == mark
    return have


def _put(content: int, marks: int, layout: Layout, index: int, payload: bytes) -> None:
    place, rest = layout.place(index), memoryview(payload)
    while rest:
        done = os.pwrite(content, rest, place)
        place, rest = place + done, rest[done:]
    os.pwrite(marks, _mark(payload), _HEAD.size + _MARK_BYTES * index)


def _mark(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_MARK_BYTES).digest()
