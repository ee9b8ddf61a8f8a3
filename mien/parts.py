"""What is half made: a hidden name beside the final one, held by the process that makes it.

A kill or a power cut leaves such a part behind. The next run that writes under the same name sweeps it away. A part
whose lock is held is in use, whoever asks, in whatever container; its name carries the owner's process id besides. On a
file system without locks nothing is swept.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_YOUNG_S = 60.0
"""A part this young may belong to a process that is about to lock it."""


def part_of(path: Path) -> Path:
    """A new hidden name for what will become ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


@contextmanager
def held(part: Path) -> Iterator[None]:
    """Hold a part, a file or a folder that exists, so that nobody sweeps it while the block runs."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        hold(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder on the same disk as ``path``, for libraries to write into; it vanishes with the block."""
    folder = part_of(path)
    try:
        folder.mkdir(mode=0o700)
        with held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hold(descriptor: int) -> None:
    """The same for an open file: as long as it is open."""
    with suppress(OSError):  # a file system without locks; there nothing is swept
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(path: Path) -> tuple[str, ...]:
    """Remove the parts of ``path`` that dead processes left behind.

    Returns:
        Names of what was removed.
    """
    form = re.compile(rf"\.{re.escape(path.name)}\.(\d+)-[0-9a-f]{{8}}\.part")
    try:
        names = sorted(found.name for found in path.parent.iterdir())
    except OSError:
        return ()
    owners = {name: int(one[1]) for name in names if (one := form.fullmatch(name))}
    return tuple(name for name, owner in owners.items() if _swept(path.parent / name, owner))


def _swept(part: Path, owner: int) -> bool:
    try:
        if _is_alive(owner) and time.time() - part.stat().st_mtime < _YOUNG_S:
            return False
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()
