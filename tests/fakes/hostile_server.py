"""Serves a folder, and answers for chosen files as nobody should: without an end, or a byte now and then."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

Manner = Literal["endless", "dripping", "dripping head", "pointing elsewhere"]
_STEP_S = 0.02


class HostileServer:
    """A server whose manner a test chooses by the ending of a path.

    Args:
        folder: what is served to all other requests.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manners: dict[str, Manner] = {}
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hostile": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(_STEP_S,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def manner_of(self, path: str) -> Manner | None:
        """How to answer."""
        return next((manner for ending, manner in self.manners.items() if path.endswith(ending)), None)

    def close(self) -> None:
        """Answer no more."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hung up is what is wanted."""


class _Handler(BaseHTTPRequestHandler):
    hostile: HostileServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = self.hostile.folder / self.path.lstrip("/")
        manner = self.hostile.manner_of(self.path)
        with suppress(OSError):
            if manner == "dripping head":
                self._drip(b"HTTP/1.0 200 OK\r\nX: ")
                return
            if manner == "pointing elsewhere":
                self.send_response(302)
                self.send_header("Location", "/metadata/1.root.json")
                self.end_headers()
                return
            if not path.is_file():
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            if manner == "endless":
                while not self.hostile.closing.is_set():
                    self.wfile.write(bytes(65536))
            elif manner == "dripping":
                self._drip(b"")
            else:
                self.wfile.write(path.read_bytes())

    def _drip(self, begin: bytes) -> None:
        self.wfile.write(begin)
        while not self.hostile.closing.wait(_STEP_S):
            self.wfile.write(b"x")
            self.wfile.flush()
