"""Serves one file as a script says: each request takes the next answer, and the last one stays."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Manner = Literal["well", "cut", "without ranges", "other range", "empty range"]


@dataclass(frozen=True)
class Answer:
    """One answer: a status without content, or the file in some manner."""

    manner: Manner = "well"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = 0
    """With ``cut``: so many bytes, then the connection is closed."""


class ScriptedFiles:
    """A server of one file, whatever the path.

    Args:
        content: the file.
        script: answers, first come first served.
    """

    def __init__(self, content: bytes, script: Sequence[Answer] = (Answer(),)) -> None:
        self.content = content
        self.script = list(script)
        self.ranges: list[str] = []
        """The Range header of each request."""
        self.served = 0
        """Bytes of content that were sent."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/targets/"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    files: ScriptedFiles
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        files = self.files
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        files.ranges.append(self.headers.get("Range", ""))
        answer = files.script.pop(0) if len(files.script) > 1 else files.script[0]
        if answer.status is not None:
            self._send(answer.status, b"", answer.headers)
            return
        first, end = 0, len(files.content)
        if asked and answer.manner != "without ranges":
            first = int(asked[1])
            end = min(int(asked[2]) + 1, end) if asked[2] else end
            if answer.manner == "other range":
                first, end = 0, end - first
            if answer.manner == "empty range":
                end = first
            place = f"bytes {first}-{max(end - 1, first)}/{len(files.content)}"
            self._send(206, files.content[first:end], {"Content-Range": place}, cut=answer)
        else:
            self._send(200, files.content, answer.headers, cut=answer)

    def _send(self, status: int, content: bytes, headers: dict[str, str], cut: Answer | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut is not None and cut.manner == "cut":
            content, self.close_connection = content[: cut.cut_after], True
        self.wfile.write(content)
        self.files.served += len(content)
