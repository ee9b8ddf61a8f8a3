"""Decides who may call the local API: the token, who tried wrong ones, and which host and site a request names.

A token is compared in constant time and never written anywhere. A page cannot send a header, so a browser trades the
token once, in a form, for a random cookie; those live in memory and end with the process.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from mien.errors import ConfigError

COOKIE = "mien_session"
SESSION_S = 12 * 3600.0

_LEAST_TOKEN = 32
_MOST_TOKEN_BYTES = 4096
_MOST_SESSIONS = 32
_WRONG_TRIES = 5
_WRONG_WITHIN_S = 60.0
_MOST_ADDRESSES = 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_token(path: Path) -> str:
    """The token in a file which only its owner may read.

    Raises:
        ConfigError: the file cannot be read, is open to others, or holds no token; says which command mends it.
    """
    make = f"openssl rand -hex 32 | install -m 600 /dev/stdin {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"could not read api.token_file {path}", found=error.strerror or "", remedy=make) from error
    with os.fdopen(descriptor, "rb") as stream:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & _OTHERS:
            raise ConfigError(
                f"api.token_file {path} is open to others",
                found=f"mode {stat.S_IMODE(mode):04o}" if stat.S_ISREG(mode) else "no plain file",
                wanted="a plain file with mode 0600",
                remedy=f"chmod 600 {path}; make a new token if others have read it: {make}",
            )
        token = stream.read(_MOST_TOKEN_BYTES).decode("ascii", "replace").strip()
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"api.token_file {path} holds no token that could stand against guessing",
            wanted=f"one line of at least {_LEAST_TOKEN} ASCII characters without blanks",
            remedy=make,
        )
    return token


class WrongTries:
    """Counts wrong tokens by address, and says who must wait. Holds a bounded number of addresses.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def must_wait_s(self, address: str) -> float:
        """For how long an address is not listened to; 0 when it may try."""
        with self._lock:
            tries = self._tries.get(address)
            if tries is None or len(tries) < _WRONG_TRIES:
                return 0.0
            return max(tries[0] + _WRONG_WITHIN_S - self._clock(), 0.0)

    def note(self, address: str) -> None:
        """An address showed a wrong token."""
        with self._lock:
            self._tries.setdefault(address, deque(maxlen=_WRONG_TRIES)).append(self._clock())
            self._tries.move_to_end(address)
            while len(self._tries) > _MOST_ADDRESSES:
                self._tries.popitem(last=False)


class Doorkeeper:
    """Knows the token and the sessions that came of it.

    Args:
        token: what a caller must show; ``None`` lets everyone in who reaches the port.
        clock: monotonic seconds.
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._digest = _digest(token) if token is not None else None
        self._clock = clock
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        self.wrong = WrongTries(clock)

    @property
    def asks(self) -> bool:
        """Whether a token is wanted at all."""
        return self._digest is not None

    def knows_token(self, token: str) -> bool:
        """Whether this is the token; takes as long for a wrong one."""
        return self._digest is not None and hmac.compare_digest(_digest(token), self._digest)

    def knows_session(self, value: str) -> bool:
        """Whether this is a cookie given out here that has not ended."""
        with self._lock:
            ends_s = self._sessions.get(_digest(value))
        return ends_s is not None and self._clock() < ends_s

    def new_session(self) -> str:
        """A cookie's value; the oldest one ends when there are too many."""
        value = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(value)] = self._clock() + SESSION_S
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return value

    def end_session(self, value: str) -> None:
        """Forget a cookie."""
        with self._lock:
            self._sessions.pop(_digest(value), None)


def bearer_of(authorization: str) -> str | None:
    """The token of an ``Authorization`` header; ``None`` when it is of another kind."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def names_this_machine(host: str) -> bool:
    """Whether a ``Host`` header names the loopback interface.

    A page of another site that points its own name at 127.0.0.1 sends that name, and is refused.
    """
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name.lower() == "localhost":
        return True
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def comes_from_elsewhere(*, host: str, origin: str | None, fetch_site: str | None, navigates: bool) -> bool:
    """Whether another site's page sent this request; programs send neither header, and pass.

    Args:
        host: the ``Host`` header.
        origin: the ``Origin`` header.
        fetch_site: ``Sec-Fetch-Site``.
        navigates: a person followed a link: harmless for what only reads.
    """
    if origin is not None and origin.partition("://")[2] != host:
        return True
    return fetch_site in {"cross-site", "same-site"} and not navigates


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
