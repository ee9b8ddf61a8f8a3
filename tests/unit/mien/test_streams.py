"""What goes over a stream reads back, and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mien.errors import DataError
from mien.streams import (
    ERROR_NAMES,
    HEAD_BYTES,
    Block,
    Get,
    Layout,
    Refusal,
    StreamRefused,
    bitmap_of,
    blocks_of,
    decode_answer,
    encode_block,
    encode_refusal,
    hash_in,
    wanted_blocks,
)

VERSION = "ab" * 32
GET = {"request_id": 1, "file": "metadata/timestamp.json", "block_bytes": 4096, "offset": 0, "bitmap": "01"}


def block_of(content, index, block_bytes=256):
    layout = Layout(size=len(content), block_bytes=block_bytes)
    place = layout.place(index)
    return Block(
        request_id=7,
        version=VERSION,
        size=len(content),
        block_bytes=block_bytes,
        index=index,
        payload=content[place : place + block_bytes],
    )


@given(st.sets(st.integers(0, 900), min_size=1), st.integers(0, 10_000))
def test_a_bitmap_reads_back(blocks, shift):
    """Any set of blocks survives the way through offset and bitmap."""
    wanted = sorted(index + shift for index in blocks)
    assert blocks_of(*bitmap_of(wanted)) == wanted


def test_the_least_significant_bit_comes_first():
    """As AWS IoT's streams have it: the first bit of the first byte is the block at the offset."""
    assert bitmap_of([5, 6, 13]) == (5, "0301")
    assert bitmap_of([]) == (0, "")


@given(st.binary(max_size=2000), st.sampled_from([256, 300, 1024]))
def test_a_file_is_cut_without_gap_or_overlap(content, block_bytes):
    """All blocks, read back from the wire, make up the file."""
    layout = Layout(size=len(content), block_bytes=block_bytes)
    read = [decode_answer(encode_block(block_of(content, index, block_bytes))) for index in range(layout.count)]
    assert b"".join(block.payload for block in read) == content
    assert read == [block_of(content, index, block_bytes) for index in range(layout.count)]


@given(st.binary(min_size=1, max_size=700), st.data())
def test_a_changed_byte_is_found(content, data):
    """Whichever byte of a block's message changes, head or content, it is refused or becomes no block."""
    wire = bytearray(encode_block(block_of(content, 0)))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DataError):
        decode_answer(bytes(wire))


@given(st.binary(max_size=HEAD_BYTES + 300), st.booleans())
def test_noise_is_refused_by_name(noise, alike):
    """Nothing that was not made by an encoder reads as an answer, and nothing but DataError comes of it."""
    with pytest.raises(DataError):
        decode_answer(b"ms\x01\x00" + noise if alike else b"\x00" + noise)


def test_a_block_that_cannot_be_of_its_file_is_refused():
    """A good hash does not help a block beyond the end, of another length, or of an endless file."""
    good = block_of(b"x" * 1000, 1)
    for change in ({"index": 4}, {"payload": b"x"}, {"size": 1 << 41}, {"block_bytes": 255}):
        fields = {name: getattr(good, name) for name in Block.__dataclass_fields__} | change
        with pytest.raises(DataError, match="cannot be of such a file"):
            decode_answer(encode_block(Block(**fields)))


@pytest.mark.parametrize("name", ERROR_NAMES)
def test_a_refusal_reads_back_by_name(name):
    """Each name survives, with how long to wait."""
    refusal = StreamRefused(name, "d" * 900, retry_after_s=1e9).answer(3)
    assert decode_answer(encode_refusal(refusal)) == refusal
    assert (refusal.error, len(refusal.detail), refusal.retry_after_s) == (name, 300, 3600.0)
    assert isinstance(refusal, Refusal)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"block_bytes": 255}, "BlockSizeOutOfBounds"),
        ({"block_bytes": 131_073}, "BlockSizeOutOfBounds"),
        ({"offset": -1}, "OffsetOutOfBounds"),
        ({"offset": 1 << 30}, "OffsetOutOfBounds"),
        ({"bitmap": "ff" * 129}, "BlockBitmapLimitExceeded"),
        ({"bitmap": "xy"}, "InvalidRequest"),
        ({"bitmap": "0"}, "InvalidRequest"),
        ({"bitmap": "00"}, "InvalidRequest"),
        ({"bitmap": "ff" * 128, "block_bytes": 4096}, "BlockCountLimitExceeded"),
    ],
)
def test_a_request_out_of_bounds_is_refused_by_name(change, name):
    """With the names that AWS IoT gives."""
    with pytest.raises(StreamRefused) as caught:
        wanted_blocks(Get(**(GET | change)))
    assert caught.value.name == name


def test_one_block_of_any_size_may_be_asked_for():
    """The largest block is no more than a request may ask for."""
    assert wanted_blocks(Get(**(GET | {"block_bytes": 131_072, "offset": 9, "bitmap": "81"}))) == [9, 16]


@pytest.mark.parametrize("version", ["", "AB" * 32, "ab" * 31, "../" * 22])
def test_a_version_is_a_hash(version):
    """Nothing else is read as one."""
    with pytest.raises(ValidationError):
        Get(**(GET | {"version": version}))


def test_the_name_of_a_signed_file_says_its_hash():
    """Only below targets, where repositories with consistent snapshots put it."""
    assert hash_in(f"targets/faces/1.0.0/{VERSION}.model.onnx") == VERSION
    for name in (f"metadata/{VERSION}.root.json", "targets/faces/1.0.0/model.onnx", f"targets/{VERSION}", ""):
        assert hash_in(name) is None
