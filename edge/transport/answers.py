"""Asks a server and waits for its answer to begin, but not for ever.

The client's own time limit is about a single read: an answer whose head comes one byte at a time never meets it. So a
timer hangs up on a head that is not complete in time.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from tuf.api.exceptions import SlowRetrievalError

HEAD_WITHIN_S = 60.0
_CONNECTIONS = 4
_OPENED = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})


class Answers:
    """GET requests over one client.

    Args:
        client: the connections.
        head_within_s: how long an answer may take to begin.
    """

    def __init__(self, client: httpx.Client, head_within_s: float = HEAD_WITHIN_S) -> None:
        self._client, self._head_within_s = client, head_within_s
        self._streams: deque[Any] = deque(maxlen=_CONNECTIONS)

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """An answer whose body is still to come.

        Raises:
            SlowRetrievalError: its head did not come in time.
        """
        late = threading.Event()
        timer = threading.Timer(self._head_within_s, self._hang_up, [late])
        timer.daemon = True
        timer.start()
        request = self._client.build_request("GET", url, headers=headers or {}, extensions={"trace": self._remember})
        try:
            response = self._client.send(request, stream=True)
        except httpx.TransportError as error:
            if late.is_set():
                raise SlowRetrievalError(f"{url} did not begin to answer in {self._head_within_s:g} s") from error
            raise
        finally:
            timer.cancel()
        try:
            yield response
        finally:
            response.close()

    def _remember(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by the client at each of its steps."""
        if event in _OPENED:
            self._streams.append(info["return_value"])

    def _hang_up(self, late: threading.Event) -> None:
        late.set()
        for stream in list(self._streams):
            with suppress(OSError, AttributeError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
