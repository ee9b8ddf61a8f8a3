"""A TUF fetcher that takes the way which :mod:`edge.transport.way_choice` says, and tells when it takes the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO

import httpx
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from edge.transport.fetching import ReleaseFetcher
from edge.transport.retry import ServerBusyError
from edge.transport.way_choice import Way, WayChoice

_log = logging.getLogger(__name__)

_ANSWERED = (DownloadHTTPError, DownloadLengthMismatchError, ServerBusyError)
"""Somebody is there and said something: the way is open."""


class WayFetcher(ReleaseFetcher):
    """Fetches over one of several ways.

    Args:
        ways: those that this site allows.
        choice: which of them is taken.
        on_turn: told the way from now on.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        ways: Mapping[Way, ReleaseFetcher],
        choice: WayChoice,
        *,
        on_turn: Callable[[Way], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ways, self._choice, self._on_turn, self._clock = dict(ways), choice, on_turn, clock
        self._told = choice.way

    @property
    def way(self) -> Way:
        """The way that is taken."""
        return self._choice.way

    def close(self) -> None:
        """Give connections back; unfinished files stay."""
        for fetcher in self._ways.values():
            fetcher.close()

    def stored_bytes(self) -> int:
        """Room that unfinished files take."""
        return sum(fetcher.stored_bytes() for fetcher in self._ways.values())

    def clear(self) -> None:
        """Delete unfinished files."""
        for fetcher in self._ways.values():
            fetcher.clear()

    @contextmanager
    def counting(self, on_bytes: Callable[[int], None]) -> Iterator[None]:
        """Tell ``on_bytes`` of every piece of a release file that arrives while the block runs; it may raise."""
        with ExitStack() as all_of_them:
            for fetcher in self._ways.values():
                all_of_them.enter_context(fetcher.counting(on_bytes))
            yield

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As TUF's own, over the way now; at once over the other one where this turns out to be shut."""
        with ExitStack() as stack:
            stream = self._opened(url, max_length, stack)
            yield stream

    def _fetch(self, url: str) -> Iterator[bytes]:
        """TUF itself asks by :meth:`download_file`."""
        return self._ways[self._choice.at(self._clock())].fetch(url)

    def _opened(self, url: str, max_length: int, stack: ExitStack) -> IO[bytes]:
        while True:
            way = self._choice.at(self._clock())
            self._tell(way, "it is tried again")
            try:
                stream = stack.enter_context(self._ways[way].download_file(url, max_length))
            except _ANSWERED:
                self._choice.worked()
                raise
            except (DownloadError, httpx.TransportError) as error:
                if not self._choice.failed(self._clock()):
                    raise
                self._tell(self._choice.way, str(error))
                if self._choice.way == "https":
                    raise  # both ways are shut: whoever asked decides when to try again
            else:
                self._choice.worked()
                return stream

    def _tell(self, way: Way, why: str) -> None:
        if way != self._told:
            self._told = way
            _log.warning("signed files come over %s from now on: %s", way, why)
            self._on_turn(way)
