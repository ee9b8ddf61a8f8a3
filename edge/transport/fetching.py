"""What the update needs of a way to fetch files: TUF's interface, and parts that outlive a process.

Rules for implementations: nothing fetched is trusted; no more than the allowed length is stored; a failure is one of
TUF's download errors, or an ``OSError`` of this machine's disk.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

from tuf.ngclient import FetcherInterface


class ReleaseFetcher(FetcherInterface):
    """Fetches metadata and release files."""

    @abstractmethod
    def counting(self, on_bytes: Callable[[int], None]) -> AbstractContextManager[None]:
        """Tell ``on_bytes`` of every piece of a release file that arrives while the block runs; it may raise."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """Room that unfinished files take."""

    @abstractmethod
    def clear(self) -> None:
        """Delete unfinished files."""

    @abstractmethod
    def close(self) -> None:
        """Give connections back; unfinished files stay."""
