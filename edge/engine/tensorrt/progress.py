"""Tells a build's steps, and stops it when whoever listens wants to.

TensorRT calls a monitor from its own threads, and an exception that crosses its code ends the process. So whatever a
listener raises, Ctrl-C included, is kept, the build is asked to stop, and the builder raises it afterwards.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, cast

from mien.console import Progress

if TYPE_CHECKING:
    import tensorrt as trt

    from edge.engine.tensorrt.library import TensorRt


class Monitor(Protocol):
    """What TensorRT is given, and what is asked after the build."""

    def raise_stopped(self) -> None:
        """Raise what the listener raised, if it did."""


class Steps:
    """Follows nested phases; tells the outermost one as progress and the innermost as its note.

    Args:
        progress: the listener.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._outer: str | None = None
        self._note = ""
        self._stopped: BaseException | None = None

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._note = "" if parent is None else phase.lower()
            if parent is None:
                self._outer = phase
                self._guarded(lambda: self._progress.start(f"TensorRT: {phase.lower()}", steps))
            else:
                self._guarded(self._tell_note)

    def step(self, phase: str) -> bool:
        """A step was done; whether the build goes on. The listener is asked at each: an outer one takes minutes."""
        with self._lock:
            self._guarded(self._progress.advance if phase == self._outer else self._tell_note)
            return self._stopped is None

    def finish(self, phase: str) -> None:
        """A phase ended."""
        with self._lock:
            if phase == self._outer:
                self._outer = None

    def raise_stopped(self) -> None:
        """Raise what the listener raised, if it did."""
        if self._stopped is not None:
            raise self._stopped

    def _tell_note(self) -> None:
        self._progress.advance(0, note=self._note)

    def _guarded(self, tell: object) -> None:
        if self._stopped is not None or not callable(tell):
            return
        try:
            tell()
        except BaseException as error:  # noqa: BLE001 - a supervisor: no exception may cross TensorRT's code
            self._stopped = error


def monitor_of(library: TensorRt, progress: Progress) -> tuple[trt.IProgressMonitor, Monitor]:
    """TensorRT's monitor, and what to ask after the build. Only where there is the capability."""
    steps = Steps(progress)

    class Watching(library.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            steps.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002 - TensorRT's signature
            return steps.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            steps.finish(phase_name)

    return cast("trt.IProgressMonitor", Watching()), steps
