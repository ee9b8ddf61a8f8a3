"""How much of a download comes twice after the device is killed at 90 % of it.

A process fetches a file with the device's own fetcher from the server that the fleet uses for its registry's files, is
ended by SIGKILL once nine tenths are on its disk, and is started again. Counted are the bytes that the server sent.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import uvicorn  # noqa: E402 - the checkout comes first
from starlette.staticfiles import StaticFiles  # noqa: E402

from bench.common import Row, row, show  # noqa: E402
from edge.transport.https import BLOCK_BYTES, ResumingFetcher  # noqa: E402

SIZE = 96 << 20
CUT_AT = 0.9
_PAUSE_S = 0.001
"""After each piece, so that the file takes seconds and the kill comes where it should."""


class Counted:
    """The fleet's way of serving files, with the bytes of content counted."""

    def __init__(self, folder: Path) -> None:
        self._files = StaticFiles(directory=folder)
        self.served = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Answer one request."""

        async def counted(message: Any) -> None:  # noqa: ANN401 - ASGI
            await send(message)
            self.served += len(message.get("body", b""))

        if scope["type"] == "http":
            await self._files(scope, receive, counted)


@contextmanager
def serving(app: Counted) -> Iterator[str]:
    """Serve on a free port of the loopback interface."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(timeout=20)


def fetch(url: str, size: int, folder: Path, block_bytes: int) -> None:
    """What the device's process does; the file's hash goes to standard output."""
    fetcher = ResumingFetcher(folder, url, block_bytes=block_bytes)
    with fetcher.counting(lambda _: time.sleep(_PAUSE_S)), fetcher.download_file(f"{url}file", size) as stream:
        out = (
            hashlib.file_digest(stream, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(stream.read())
        )
        sys.stdout.write(out.hexdigest())
    fetcher.close()


def started(url: str, folder: Path, block_bytes: int) -> subprocess.Popen[str]:
    """The device's process."""
    command = [sys.executable, __file__, "--fetch", url, str(SIZE), str(folder), str(block_bytes)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def fetched_twice(folder: Path, block_bytes: int) -> int:
    """Bytes that the server sent beyond the file's length, for a download that is killed at 90 % and started again."""
    (folder / "served").mkdir(parents=True)
    content = os.urandom(SIZE)
    (folder / "served" / "file").write_bytes(content)
    app, parts = Counted(folder / "served"), folder / "parts"
    with serving(app) as url:
        part = ResumingFetcher(parts, url).part_of(f"{url}file")
        device = started(url, parts, block_bytes)
        while not part.exists() or part.stat().st_size < CUT_AT * SIZE:
            if device.poll() is not None:
                raise RuntimeError("the download ended before it was to be killed")
            time.sleep(0.001)
        device.kill()
        device.wait()
        time.sleep(0.5)  # what the server still sends to nobody counts
        digest, _ = started(url, parts, block_bytes).communicate(timeout=120)
    if digest != hashlib.sha256(content).hexdigest():
        raise RuntimeError("the file that arrived is not the one that was served")
    return app.served - SIZE


def rows() -> list[Row]:
    """The figure over HTTP, beside the same download asked for with one range to the end."""
    with tempfile.TemporaryDirectory() as folder:
        twice = fetched_twice(Path(folder) / "blocks", BLOCK_BYTES)
        whole = fetched_twice(Path(folder) / "whole", SIZE)
    peer = (
        f"{twice / 1024:.0f} KiB of a {SIZE >> 20} MiB file in blocks of {BLOCK_BYTES >> 20} MiB, device killed; "
        f"asked for with one range to the end, {whole / 1024:.0f} KiB came twice"
    )
    figure = "resumed transfer over HTTP after a cut at 90 %"
    return [row(figure, twice / BLOCK_BYTES, "blocks fetched twice", 1.0, peer=peer)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fetch"]:
        fetch(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
    else:
        show("transfer", rows())
