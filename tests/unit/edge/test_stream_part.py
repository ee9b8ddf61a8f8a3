"""A file of which some blocks are here: what counts at the next start, whatever was damaged meanwhile."""

from __future__ import annotations

import pytest

from edge.transport.stream_part import PartHead, StreamParts
from mien.streams import Layout

HEAD = PartHead(version="ab" * 32, layout=Layout(size=1000, block_bytes=256))


@pytest.fixture
def parts(tmp_path):
    """A folder with a part that has blocks 0 and 3."""
    made = StreamParts(tmp_path)
    part = made.create("f", HEAD)
    assert part.put(0, b"a" * 256)
    assert part.put(3, b"d" * 232)
    part.close()
    return made


def opened(parts):
    part = parts.open("f")
    return None if part is None else (part.head, part.count, list(part.missing()), part.is_whole)


def test_what_was_put_is_there_at_the_next_start(parts):
    """By number; the rest is missing, and nothing is kept twice."""
    assert opened(parts) == (HEAD, 2, [1, 2], False)
    part = parts.open("f")
    assert part.put(0, b"x" * 256) is False
    assert part.put(1, b"b" * 256)
    assert part.put(2, b"c" * 256)
    assert part.is_whole
    part.close()
    part.close()
    assert parts.whole("f").read_bytes() == b"a" * 256 + b"b" * 256 + b"c" * 256 + b"d" * 232


def test_the_order_of_the_disk_does_not_matter(parts, tmp_path):
    """A block without its mark, and a mark without its block: both are missing."""
    content, marks = next(tmp_path.glob("*.stream")), next(tmp_path.glob("*.map"))
    with content.open("r+b") as stream:
        stream.write(bytes(256))
    assert opened(parts)[2] == [0, 1, 2]
    raw = bytearray(marks.read_bytes())
    raw[-8:] = bytes(8)
    marks.write_bytes(raw)
    assert opened(parts)[2] == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["no map", "short map", "long map", "other magic", "short content", "no content"])
def test_a_part_that_was_never_whole_is_begun_anew(parts, tmp_path, damage):
    """A kill between its two files, or a foreign file under its name: nothing of it counts, and it is swept."""
    content, marks = next(tmp_path.glob("*.stream")), next(tmp_path.glob("*.map"))
    raw = marks.read_bytes()
    if damage == "no map":
        marks.unlink()
    elif damage == "short content":
        content.write_bytes(b"x")
    elif damage == "no content":
        content.unlink()
    else:
        marks.write_bytes({"short map": raw[:20], "long map": raw + b"x", "other magic": b"X" + raw[1:]}[damage])
    assert opened(parts) is None
    assert list(tmp_path.iterdir()) == []


def test_a_map_that_claims_an_endless_file_is_not_believed(parts, tmp_path):
    """Sizes out of the protocol's bounds are no part."""
    marks = next(tmp_path.glob("*.map"))
    raw = bytearray(marks.read_bytes())
    raw[40:48] = (1 << 50).to_bytes(8, "big")
    marks.write_bytes(raw)
    assert opened(parts) is None


def test_a_block_that_nobody_waits_for_finds_its_file(parts):
    """By content and layout; of another content it is thrown away."""
    other = PartHead(version="cd" * 32, layout=HEAD.layout)
    assert parts.put_stray(HEAD, 1, b"b" * 256)
    assert not parts.put_stray(other, 2, b"c" * 256)
    assert opened(parts)[2] == [2]


def test_clearing_leaves_other_ways_files_alone(parts, tmp_path):
    """HTTPS keeps its parts in the same folder."""
    (tmp_path / "x.part").write_bytes(b"x")
    assert parts.stored_bytes() > 0
    parts.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["x.part"]
    assert parts.stored_bytes() == 0
