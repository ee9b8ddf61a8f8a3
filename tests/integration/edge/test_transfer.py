"""Downloads over real HTTP: blocks, what is tried again and what is not, and a server that sheds."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError

from edge.transport.https import ResumingFetcher
from edge.transport.retry import RefusedError, ServerBusyError
from tests.fakes.scripted_files import Answer, ScriptedFiles

BLOCK = 1000
CONTENT = os.urandom(3500)

Serve = Callable[..., tuple[ScriptedFiles, ResumingFetcher]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server with a script, and a fetcher that asks it for blocks of 1,000 bytes."""
    with ExitStack() as closing:

        def start(*script: Answer, content: bytes = CONTENT) -> tuple[ScriptedFiles, ResumingFetcher]:
            files = ScriptedFiles(content, script or (Answer(),))
            closing.callback(files.close)
            fetcher = ResumingFetcher(tmp_path / "parts", files.url, attempts=3, block_bytes=BLOCK)
            closing.callback(fetcher.close)
            return files, fetcher

        yield start


def fetched(files: ScriptedFiles, fetcher: ResumingFetcher) -> bytes:
    with fetcher.download_file(f"{files.url}f", len(files.content)) as stream:
        return stream.read()


def test_a_large_file_comes_in_blocks(serve: Serve) -> None:
    """Each block is asked for by itself, and no byte comes twice."""
    files, fetcher = serve()
    assert fetched(files, fetcher) == CONTENT
    assert files.ranges == ["bytes=0-999", "bytes=1000-1999", "bytes=2000-2999", "bytes=3000-3499"]
    assert files.served == len(CONTENT)


@pytest.mark.parametrize("size", [0, 1, BLOCK])
def test_a_small_file_is_asked_for_as_a_whole(serve: Serve, size: int) -> None:
    """A file of one block at most needs no range, and an empty one is a file too."""
    files, fetcher = serve(content=CONTENT[:size])
    assert fetched(files, fetcher) == CONTENT[:size]
    assert files.ranges == [""]


def test_a_cut_within_a_block_costs_nothing_that_had_come(serve: Serve) -> None:
    """The next request begins with the byte after the last one that came."""
    files, fetcher = serve(Answer("cut", cut_after=400), Answer())
    assert fetched(files, fetcher) == CONTENT
    assert files.ranges[:2] == ["bytes=0-999", "bytes=400-1399"]
    assert files.served == len(CONTENT)


def test_a_server_without_ranges_sends_the_whole(serve: Serve) -> None:
    """It ignores what was asked for, and the file arrives all the same."""
    files, fetcher = serve(Answer("without ranges"))
    assert fetched(files, fetcher) == CONTENT
    assert len(files.ranges) == 1


def test_nothing_is_unpacked_that_was_not_asked_for(serve: Serve) -> None:
    """A few bytes that would become megabytes are taken as they came; their hash is for others to judge."""
    packed = gzip.compress(bytes(8 << 20))
    files, fetcher = serve(Answer("without ranges", headers={"Content-Encoding": "gzip"}), content=packed)
    assert fetched(files, fetcher) == packed


def test_another_range_than_asked_for_is_not_taken(serve: Serve) -> None:
    """Bytes from elsewhere in the file never stand in the part."""
    files, fetcher = serve(Answer(), Answer("other range"))
    with pytest.raises(DownloadError, match="another range"):
        fetched(files, fetcher)
    assert fetcher.part_of(f"{files.url}f").read_bytes() == CONTENT[:1000]


def test_answers_that_bring_nothing_come_to_an_end(serve: Serve) -> None:
    """A server that answers well with no bytes is tried as often as one that fails."""
    files, fetcher = serve(Answer("empty range"))
    with pytest.raises(DownloadError, match="nothing came"):
        fetched(files, fetcher)
    assert len(files.ranges) == 3


@pytest.mark.parametrize("status", [500, 502, 408])
def test_what_may_pass_is_tried_again(serve: Serve, status: int) -> None:
    """A fault of the server between two blocks is sat out."""
    files, fetcher = serve(Answer(), Answer(status=status), Answer())
    assert fetched(files, fetcher) == CONTENT


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410])
def test_what_will_not_pass_is_not_tried_again(serve: Serve, status: int) -> None:
    """One question, one answer; what came before stays."""
    files, fetcher = serve(Answer(), Answer(status=status))
    with pytest.raises(RefusedError):
        fetched(files, fetcher)
    assert len(files.ranges) == 2
    assert fetcher.stored_bytes() == BLOCK


@pytest.mark.parametrize(("status", "asked", "wait_s"), [(429, "7", 7.0), (503, None, 5.0), (503, "90000", 3600.0)])
def test_a_server_that_sheds_says_when_to_come_back(
    serve: Serve, status: int, asked: str | None, wait_s: float
) -> None:
    """It is not asked again before; the wait is bounded, and has a length where the server names none."""
    headers = {"Retry-After": asked} if asked else {}
    files, fetcher = serve(Answer(), Answer(status=status, headers=headers))
    with pytest.raises(ServerBusyError) as busy:
        fetched(files, fetcher)
    assert busy.value.wait_s == wait_s
    assert len(files.ranges) == 2
    files.script = [Answer()]
    assert fetched(files, fetcher) == CONTENT
    assert files.served == len(CONTENT)
