"""The device's look at itself, once a second: engine, cameras, limits. Tells what it finds, mends what it can."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from edge.camera_care import CameraCare, CameraSigns
from edge.engine_care import EngineCare, EngineSigns
from edge.pipeline.model import Source
from edge.pipeline.pipeline import Pipeline
from edge.telemetry.alerts import Alert
from mien.errors import MienError

_log = logging.getLogger(__name__)

_BEAT_S = 1.0
_LONGEST_LOOK_S = 60.0


class Keeper(Protocol):
    """Keeps the device within its limits."""

    def look(self, now_s: float) -> object:
        """Look at the board's health and turn what must be turned."""

    def model_changed(self) -> None:
        """Another release runs: bring it to the step that the device stands on."""


class DeviceWatch:
    """Looks at a pipeline.

    Args:
        pipeline: what runs.
        sources: its cameras.
        engine: decides about the engine.
        reopen: opens the engine anew; false when it may not be done now.
        keeper: of the limits; it does not look while an update compares the releases.
        is_comparing: whether one does.
        lost_at_start: whether the active release has an engine that could not be opened yet.
        tell: takes an event: kind, severity, message.
        before: done before each look: what waits for this thread.
        clock: monotonic seconds.
    """

    def __init__(  # noqa: PLR0913 - what it looks at and what it can do, by name
        self,
        pipeline: Pipeline,
        sources: Iterable[Source],
        *,
        engine: EngineCare,
        reopen: Callable[[], bool],
        keeper: Keeper,
        is_comparing: Callable[[], bool],
        lost_at_start: Callable[[], bool] = lambda: False,
        tell: Callable[[str, str, str], None],
        before: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._sources = tuple(sources)
        self._engine = engine
        self._reopen = reopen
        self._keeper = keeper
        self._is_comparing = is_comparing
        self._changed = threading.Event()
        self._tell = tell
        self._before = before
        self._clock = clock
        self._cameras = CameraCare(clock())
        self._failed_to_open = False
        self._lost_at_start = lost_at_start
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    @property
    def engine_is_lost(self) -> bool:
        """Whether nothing runs because the engine could not be opened anew; it is tried again."""
        return (self._failed_to_open or self._lost_at_start()) and self._pipeline.model is None

    def start(self) -> None:
        """Look every second, on a thread of its own: opening an engine takes longer than a watchdog waits."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; a look under way is finished."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_LONGEST_LOOK_S)

    def look(self) -> None:
        """Look once."""
        self._before()
        now_s = self._clock()
        self._say(self._cameras.look(self._camera_signs(), now_s))
        care = self._engine.look(self._engine_signs(), now_s)
        self._say(care.alerts)
        if care.reopen:
            self._open_anew()
        if not self._is_comparing():
            if self._changed.is_set():
                self._changed.clear()
                self._keeper.model_changed()
            self._keeper.look(now_s)

    def model_changed(self) -> None:
        """Another release was taken up; from any thread."""
        self._changed.set()

    def _run(self) -> None:
        """Supervisor: a fault of ours is told once, and the next look is taken."""
        failed = False
        while not self._stopping.wait(_BEAT_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a supervisor: the device must not lose its eyes
                if not failed:
                    _log.exception("the device could not look at itself")
                    self._tell("watch_failed", "error", f"the device could not look at itself: {error}"[:500])
                failed = True

    def _open_anew(self) -> None:
        was_lost = self.engine_is_lost
        try:
            done = self._reopen()
        except MienError as error:
            _log.error("the engine could not be opened anew: %s", error)
            self._failed_to_open = True
            return
        _log.warning("the engine %s", "was opened anew" if done else "is being opened or exchanged by the update")
        if done:
            self._failed_to_open = False
        if done and was_lost:
            self._changed.set()

    def _engine_signs(self) -> EngineSigns:
        return EngineSigns(
            answers=self._pipeline.finished_frames,
            errors_in_a_row=self._pipeline.model_errors_in_a_row,
            busy_s=self._pipeline.engine_busy_s,
            error=str(self._pipeline.last_model_error or ""),
            is_lost=self.engine_is_lost,
        )

    def _camera_signs(self) -> dict[str, CameraSigns]:
        gone = self._pipeline.camera_errors
        return {
            source.name: CameraSigns(
                away=source.camera.is_away,
                gone=str(gone.get(source.name, "")),
                bad_frames=source.camera.bad_frames,
            )
            for source in self._sources
        }

    def _say(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self._tell(alert.kind, alert.severity, alert.message)
