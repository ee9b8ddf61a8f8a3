"""How processes end together: a command that is told to end cleans up first, and no child outlives its parent."""

from __future__ import annotations

import signal
from types import FrameType

_PR_SET_PDEATHSIG = 1


def end_in_order() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) unwind the command as Ctrl-C does.

    A signal that was ignored when the process started, as under ``nohup``, stays ignored. Services put handlers of
    their own in place later.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it dies, however that happens (prctl(2))."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
