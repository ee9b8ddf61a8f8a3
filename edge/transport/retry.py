"""What follows from a download that did not come: whether and when it is tried again. Pure.

Three classes. What may pass (a cut connection, a fault of the server) is tried again with growing pauses. A server that
sheds load (429, 503) says when to come back, and neither the download nor the device is at fault. Everything else that
a server answers will be answered again the same way, so it is not asked again.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from enum import Enum

from tuf.api.exceptions import DownloadError, DownloadHTTPError

FIRST_PAUSE_S = 0.3
LONGEST_PAUSE_S = 10.0
SHED_PAUSE_S = 5.0
"""Where a server that sheds does not say how long."""
LONGEST_SHED_S = 3600.0
"""A server that asks for more is asked again after this."""

_TIMEOUT, _TOO_EARLY, _TOO_MANY, _UNAVAILABLE = 408, 425, 429, 503
_SERVER_ERROR = 500


class ServerBusyError(DownloadError):
    """The server sheds load, and said when to come back.

    Args:
        url: what was asked for.
        wait_s: how long to leave it alone.
    """

    def __init__(self, url: str, wait_s: float) -> None:
        super().__init__(f"{url} is not served now; to be asked for again in {wait_s:g} s")
        self.wait_s = wait_s


class RefusedError(DownloadHTTPError):
    """The server's answer brings no content, and will be the same the next time."""


class Failure(str, Enum):
    """The class of a failed answer."""

    PASSES = "passes"
    SHED = "shed"
    REFUSED = "refused"


def failure_of(status: int) -> Failure:
    """The class of an answer that brought no content, by its status."""
    if status in {_TOO_MANY, _UNAVAILABLE}:
        return Failure.SHED
    if status >= _SERVER_ERROR or status in {_TIMEOUT, _TOO_EARLY}:
        return Failure.PASSES
    return Failure.REFUSED


def pause_s(attempt: int, chance: float) -> float:
    """How long to wait before the next try.

    Args:
        attempt: tries without a byte of progress, from 0 on.
        chance: a random number in 0..1, so that devices which failed together do not come back together.
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(attempt, 16), LONGEST_PAUSE_S) * (0.5 + chance / 2)


def shed_s(retry_after: str | None, now: float) -> float:
    """How long a server that sheds wants to be left alone: seconds or a date, as in RFC 9110; within bounds.

    Args:
        retry_after: the header, if there was one.
        now: Unix seconds.
    """
    return min(max(_asked_s(retry_after, now), 0.1), LONGEST_SHED_S)


def _asked_s(retry_after: str | None, now: float) -> float:
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return float(parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return SHED_PAUSE_S
