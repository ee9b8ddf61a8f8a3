"""Runs NVIDIA's ``tegrastats`` and keeps its newest line; :mod:`edge.power.tegraline` reads it.

A program that ended, fell silent or shows no rails (some releases show them to root only) is no source of power: it is
refused or given up, with what it said last.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from edge.power.board import Board, completed
from edge.power.interface import PowerError, PowerSample
from edge.power.sysfs import SYS
from edge.power.tegraline import TegraLine, parse

_FIRST_LINE_S = 3.0
_SILENT_AFTER_S = 10.0
_SILENT_INTERVALS = 5
_ENDS_WITHIN_S = 5.0


class Tegrastats:
    """The running program.

    Args:
        interval_s: how often it reports.
        sys: the root of sysfs, for what its lines do not say.

    Raises:
        PowerError: this machine has no tegrastats, or it ends at once, says nothing or shows no rails.
    """

    name = "tegrastats"

    def __init__(self, interval_s: float, sys: Path = SYS) -> None:
        program = shutil.which("tegrastats")
        if program is None:
            raise PowerError(
                "there is no tegrastats on this machine",
                wanted="an NVIDIA Jetson with JetPack",
                remedy="choose power.source: auto",
            )
        self._board = Board(sys)
        self._newest: PowerSample | None = None
        self._last_words = ""
        self._spoken = threading.Event()
        self._silent_after_s = max(_SILENT_AFTER_S, _SILENT_INTERVALS * interval_s)
        self._process = subprocess.Popen(
            [program, "--interval", str(int(interval_s * 1000))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()
        self._spoken.wait(max(_FIRST_LINE_S, 2 * interval_s))
        if self._newest is None or not self._newest.rails_w:
            error = self._why_useless()
            self.close()
            raise error

    def read(self) -> PowerSample | None:
        """The newest line's figures."""
        newest = self._newest
        ended = self._process.poll()
        if ended is not None:
            raise PowerError("tegrastats ended", found=self._last_words or f"exit code {ended}")
        if newest is not None and time.monotonic() - newest.at_s > self._silent_after_s:
            raise PowerError("tegrastats fell silent", found=f"no line for {self._silent_after_s:.0f} s")
        return newest and completed(newest, self._board.look())

    def close(self) -> None:
        """Stop the program, by force if it does not want to."""
        self._process.terminate()
        try:
            self._process.wait(timeout=_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(timeout=_ENDS_WITHIN_S)
        if self._process.stdout is not None and not self._thread.is_alive():
            self._process.stdout.close()

    def _follow(self) -> None:
        with suppress(ValueError, OSError):  # the pipe may be closed while it is read
            for text in self._process.stdout or ():
                line = parse(text)
                if line is not None:
                    self._newest = sample_of(line, time.monotonic())
                    self._spoken.set()
                elif text.strip():
                    self._last_words = text.strip()[:200]
        self._spoken.set()

    def _why_useless(self) -> PowerError:
        if self._newest is not None:
            return PowerError(
                "tegrastats shows no power rails to this user", remedy="run as root, or choose power.source: auto"
            )
        found = self._last_words or "no line"
        return PowerError("tegrastats gives no figures", found=found, remedy="run tegrastats by hand and mend it")


def sample_of(line: TegraLine, at_s: float) -> PowerSample:
    """A line as a reading taken at ``at_s``."""
    return PowerSample(
        at_s=at_s,
        total_w=line.total_w,
        rails_w=line.rails_w,
        temperature_c=line.temperature_c,
        clocks_hz=line.clocks_hz,
        gpu_percent=line.gpu_percent,
        cpu_percent=line.cpu_percent,
        ram_bytes=line.ram_bytes,
        ram_total_bytes=line.ram_total_bytes,
    )
