"""What must hold before the demo starts: each failure is one sentence that says what to do."""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import UnavailableError


def check_disk(folder: Path, wanted_mb: int) -> None:
    """Refuse to start on a disk that would fill up half-way.

    Raises:
        UnavailableError: less than ``wanted_mb`` is free.
    """
    free_mb = shutil.disk_usage(folder).free // (1 << 20)
    if free_mb < wanted_mb:
        raise UnavailableError(
            f"too little disk for the demo in {folder}",
            found=f"{free_mb} MB free",
            wanted=f"{wanted_mb} MB",
            remedy='free some space, or name a folder on another disk: make demo ARGS="--out /other/disk/demo"',
        )


def check_port(port: int, option: str) -> None:
    """Refuse to start when a loopback port is taken.

    Raises:
        UnavailableError: something listens there already.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UnavailableError(
                f"port {port} is in use",
                found=error.strerror or str(error),
                remedy=f'stop what listens there, or choose another one: make demo ARGS="{option} {port + 100}"',
            ) from error


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for one demo at a time.

    Raises:
        UnavailableError: another demo holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(
                f"another demo is running in {folder}", remedy="stop it with Ctrl-C, or use --out another/folder"
            ) from error
        yield
