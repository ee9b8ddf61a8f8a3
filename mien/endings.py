"""How processes end together: a command that is told to end cleans up first, and no child outlives its parent.

An interrupt unwinds a command as a KeyboardInterrupt, with three exceptions of its own. Before the command has begun it
ends the process. While modules are imported it waits: an exception that rises in a native library's start-up aborts the
process. While something half-made lies on the disk it removes that and ends the command on the spot: an exception on
its way through libraries can be swallowed.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mien.errors import ExitCode

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_AGAIN_S = 0.05
_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h\n"

_half_made: list[Path] = []
_unwinding: list[bool] = []


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) end the command as Ctrl-C does.

    A signal that was ignored when the process started, as under ``nohup``, stays ignored. Services put handlers of
    their own in place later.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def interrupts_unwind() -> Iterator[None]:
    """Have an interrupt rise as a KeyboardInterrupt while the block runs, for it is caught around it.

    Outside, nothing was begun that would have to be undone, and nobody would catch it: the process ends at once.
    """
    _unwinding.append(True)
    try:
        yield
    finally:
        _unwinding.pop()


def ended() -> None:
    """Let no signal disturb the way out of a command whose outcome is decided."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def removed_when_interrupted(folder: Path) -> Iterator[None]:
    """Have an interrupt of a ``mien`` command remove a folder and end the process at once while the block runs.

    Name the folder before it is made, so that there is no moment at which nobody knows of it. In a process where
    :func:`end_in_order` was not called nothing changes.
    """
    _half_made.append(folder)
    try:
        yield
    finally:
        _half_made.remove(folder)


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it dies, however that happens (prctl(2))."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _half_made:
        _end_at_once(b"interrupted: nothing is left behind\n")
    if not _unwinding:
        _end_at_once(b"interrupted\n")
    if _is_importing(frame):
        signal.signal(signal.SIGALRM, lambda _, later: _interrupt(number, later))
        signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_S)
        return
    raise KeyboardInterrupt(signal.Signals(number).name)


def _end_at_once(words: bytes) -> None:
    ended()
    for folder in reversed(_half_made):
        shutil.rmtree(folder, ignore_errors=True)
    os.write(_STDERR, (_SHOW_CURSOR if os.isatty(_STDERR) else b"") + words)
    os._exit(ExitCode.INTERRUPTED)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
