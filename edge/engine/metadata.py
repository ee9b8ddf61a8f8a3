"""Reads what a graph says of itself, without a library that knows graphs.

TensorRT's parser keeps no metadata, and a device has no ``onnx``. A graph is a protocol buffer, so its outermost fields
can be walked (https://protobuf.dev/programming-guides/encoding): the metadata are those with the number 14 of
``ModelProto``, each a key (1) and a value (2); the others are stepped over unread.
"""

from __future__ import annotations

from collections.abc import Iterator

_METADATA, _KEY, _VALUE = 14, 1, 2
_VARINT, _EIGHT_BYTES, _BLOCK, _FOUR_BYTES = 0, 1, 2, 5
_MOST_SHIFT = 63


def metadata_of(content: bytes) -> dict[str, str]:
    """A graph's metadata; as far as it can be read, since whether it is a graph is for others to say."""
    found: dict[str, str] = {}
    for number, block in _blocks(memoryview(content)):
        if number == _METADATA:
            entry = {inner: bytes(text).decode(errors="replace") for inner, text in _blocks(block)}
            found[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    return found


def _blocks(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields that have a length, by number, up to the first byte that is none of a protocol buffer."""
    place = 0
    try:
        while place < len(content):
            tag, place = _number(content, place)
            kind = tag & 7
            if kind == _VARINT:
                _, place = _number(content, place)
            elif kind == _BLOCK:
                length, place = _number(content, place)
                if place + length > len(content):
                    return
                yield tag >> 3, content[place : place + length]
                place += length
            elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
                place += 8 if kind == _EIGHT_BYTES else 4
            else:
                return
    except (IndexError, OverflowError):
        return


def _number(content: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place behind it."""
    value = 0
    for shift in range(0, _MOST_SHIFT + 1, 7):
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the eighth bit says that more follows
            return value, place
    raise OverflowError
