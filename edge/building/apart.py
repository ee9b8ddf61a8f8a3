"""Has an engine built in a process of its own, and ends it when memory runs short or the agent stops.

What runs is not touched: a builder that crashes, hangs in one of its steps or takes all memory takes itself with it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from edge.building.memory import memory_left
from edge.building.order import BuildOrder
from edge.update.interface import UpdateCancelled, UpdateFault

_log = logging.getLogger(__name__)

_LOOK_S = 0.25
_HERE = Path(__file__).resolve().parents[2]
"""Where this checkout or installation is. Python looks for modules in the working folder first, whatever lies there."""
_CHILD = (sys.executable, "-m", "edge.building.child")
_SMALLER = "free some memory on the device, or publish a smaller model or a ready engine for its hardware"


class BuildApart:
    """Builds engines in processes of their own.

    Args:
        cancel: set when the agent stops.
        least_memory: the fraction of memory that must stay free.
        left: how much is free now; ``None`` where that is not known.
        command: the process that builds; it gets the order as its last argument.
    """

    def __init__(
        self,
        cancel: threading.Event,
        *,
        least_memory: float,
        left: Callable[[], float | None] = memory_left,
        command: tuple[str, ...] = _CHILD,
    ) -> None:
        self._cancel = cancel
        self._least = least_memory
        self._left = left
        self._command = command

    def __call__(self, order: BuildOrder) -> Path:
        """Build an engine.

        Raises:
            UpdateFault: ``build_failed`` or ``low_memory``.
            UpdateCancelled: the agent stops.
        """
        self._check_memory()
        command = [*self._command, _absolute(order).model_dump_json()]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=_environment(), cwd=_HERE
        ) as child:
            told = _Told(child)
            try:
                while told.thread.is_alive():
                    if self._cancel.wait(_LOOK_S):
                        raise UpdateCancelled
                    if child.poll() is None:
                        self._check_memory()
            finally:
                child.kill()
            code = child.wait()
        if code != 0:
            raise _failed(code, told.last)
        return order.engine

    def _check_memory(self) -> None:
        left = self._left()
        if left is None or left >= self._least:
            return
        _log.error("only %.1f %% of memory is free; the build of an engine is ended", left * 100)
        raise UpdateFault(
            "low_memory",
            "memory ran short while the engine was built, and the build was ended",
            found=f"{left:.1%} free",
            wanted=f"{self._least:.1%}",
            remedy=_SMALLER,
        )


class _Told:
    """Reads what the child says, so that it never waits for somebody to listen; keeps the last line."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.last = b""
        self._child = child
        self.thread = threading.Thread(target=self._read, name="build", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self._child.stdout or ():
            self.last = line.strip() or self.last


def _absolute(order: BuildOrder) -> BuildOrder:
    """The order as another working folder understands it."""
    paths = {name: getattr(order, name).absolute() for name in ("model", "engine", "timing")}
    return order.model_copy(update=paths)


def _environment() -> dict[str, str]:
    """This checkout or installation first, wherever the agent was started."""
    paths = [str(_HERE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _failed(code: int, last: bytes) -> UpdateFault:
    if code == -signal.SIGKILL:
        return UpdateFault(
            "low_memory", "the build of the engine was ended from outside", found="SIGKILL", remedy=_SMALLER
        )
    try:
        told = json.loads(last)
        found = "; ".join(part for part in (told["what"], told["found"]) if part)
    except (ValueError, KeyError, TypeError):
        found = f"the builder ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
    remedy = "publish a release that fits this device"
    return UpdateFault("build_failed", "could not build the engine", found=found[:500], remedy=remedy)
