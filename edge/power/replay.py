"""Replays a tegrastats recording by time, where a machine has no power sensor of its own.

The figures are the recording's, not this machine's: the source's name, ``replay``, goes wherever they go. Its CPU, GPU
and memory figures are left out: these are this machine's own to state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edge.power.interface import PowerSample
from edge.power.tegraline import TegraLine, parse
from mien.errors import ConfigError


class ReplayedPower:
    """A recording, one line after another at its own interval, in a loop.

    Args:
        path: a file of tegrastats lines; lines that start with ``#`` are comments.
        interval_s: time between two lines of the recording.
        clock: monotonic seconds.

    Raises:
        ConfigError: the file cannot be read or holds no tegrastats line.
    """

    name = "replay"

    def __init__(self, path: Path, *, interval_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = read_recording(path)
        self._interval_s = interval_s
        self._clock = clock
        self._started_at_s = clock()

    def read(self) -> PowerSample:
        """The line whose time has come."""
        now_s = self._clock()
        index = int((now_s - self._started_at_s) / self._interval_s) % len(self._lines)
        line = self._lines[index]
        return PowerSample(
            at_s=now_s,
            total_w=line.total_w,
            rails_w=line.rails_w,
            temperature_c={f"{name} (replay)": value for name, value in line.temperature_c.items()},
            is_replayed=True,
        )

    def close(self) -> None:
        """Nothing to give back."""


def read_recording(path: Path) -> list[TegraLine]:
    """All lines of a recording.

    Raises:
        ConfigError: the file cannot be read or holds no tegrastats line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"could not read the power recording {path}", found=str(error), remedy="check power.replay"
        ) from error
    parsed = (parse(line) for line in text.splitlines() if not line.startswith("#"))
    lines = [line for line in parsed if line is not None]
    if not lines:
        raise ConfigError(
            f"{path} holds no tegrastats line",
            wanted="output of 'tegrastats --interval 1000', one line a second",
            remedy="record one on a Jetson: tegrastats --interval 1000 --logfile recording.log",
        )
    return lines
