"""Ends this process by SIGKILL at a chosen point: at a named place of the update, or at a step of the file system.

Steps are seen where Python announces them (audit events) and at ``os.fsync``: opening to write, rename, unlink, symlink,
mkdir, rmdir, fsync. Each is met before it happens; after one is before the next. A ``power cut`` also takes what was not
flushed: every file that was written since its last fsync is cut to half its size before the kill.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR
_KINDS = {
    "os.rename": "rename",
    "os.remove": "unlink",
    "os.rmdir": "rmdir",
    "os.mkdir": "mkdir",
    "os.symlink": "symlink",
}
_PLACE = {"rename": (1, 3), "unlink": (0, 1), "rmdir": (0, 1), "mkdir": (0, 2), "symlink": (1, 2)}
"""For each kind, where its path and the folder that it counts from stand among the event's arguments."""
_CHANCE = re.compile(r"\.\d+-[0-9a-f]{8}\.part$|tmp\w{8}$|[0-9a-f]{40,}")
OWN = ("loads.log", "verdict.json", "steps.json", "spool.sqlite")


@dataclass
class KillPoints:
    """The points of one run.

    Args:
        folder: steps below it count.
        place: a named place, and at which of its visits; ``None`` for none.
        step: the number of a step; ``None`` for none.
        power_cut: whether the kill takes what was not flushed.
    """

    folder: Path
    place: tuple[str, int] | None = None
    step: int | None = None
    power_cut: bool = False
    steps: list[str] = field(default_factory=list)
    """The steps so far, in words."""
    visits: Counter[str] = field(default_factory=Counter)
    _unflushed: set[str] = field(default_factory=set)
    _busy: bool = False

    def install(self) -> None:
        """From now on, for the rest of this process."""
        sys.addaudithook(self._audit)
        flush = os.fsync

        def fsync(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            path = _opened(number)
            kind = "fsync folder" if os.path.isdir(path) else "fsync"  # noqa: PTH112 - no events of its own
            self._met(kind, path)
            flush(descriptor)
            self._unflushed.discard(path)

        os.fsync = fsync  # type: ignore[assignment]

    def reach(self, place: str) -> None:
        """Say that a named place was reached."""
        self.visits[place] += 1
        if self.place == (place, self.visits[place]):
            self._die()

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or (event != "open" and event not in _KINDS):
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & _WRITES:
                self._met("write", os.fsdecode(path))
            return
        kind = _KINDS[event]
        at, within = _PLACE[kind]
        path = _full(arguments[at], arguments[within])
        self._met(kind, path)
        if kind == "rename" and (source := _full(arguments[0], arguments[2])) in self._unflushed:
            self._unflushed = (self._unflushed - {source}) | {path}

    def _met(self, kind: str, path: str) -> None:
        if not path.startswith(f"{self.folder}/") or path.rpartition("/")[2].startswith(OWN):
            return
        self.steps.append(f"{kind} {_CHANCE.sub('*', path.removeprefix(f'{self.folder}/'))}")
        if self.step == len(self.steps) - 1:
            self._die()
        if kind == "write":
            self._unflushed.add(path)

    def _die(self) -> None:
        self._busy = True
        if self.power_cut:
            for path in self._unflushed:
                with suppress(OSError):
                    os.truncate(path, os.stat(path).st_size // 2)  # noqa: PTH116
        os.kill(os.getpid(), signal.SIGKILL)


def _full(path: Any, folder: int) -> str:
    text = os.fsdecode(path)
    return text if folder < 0 or text.startswith("/") else f"{_opened(folder)}/{text}"


def _opened(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())
