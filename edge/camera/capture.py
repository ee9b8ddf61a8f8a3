"""Reads a live source, and opens it again with growing pauses when it goes away, for ever unless told otherwise."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from edge.camera.interface import CameraError, Frame, LiveSource, Picture
from edge.camera.options import CameraOptions
from mien.errors import MienError

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


class LiveCapture:
    """A live source and its returns.

    Args:
        name: what to call it, without a password.
        opener: opens the source or raises; called again after a loss.
        options: how long is waited, for a frame and for a lost source.
        first_pause_s: before a lost source is opened again; doubled each time, up to a quarter of a minute.

    Raises:
        CameraError: the first opening failed, and the options do not say to wait.
        ConfigError: what was asked of the camera is not what it has.
        UnsupportedError: this machine cannot read such a camera.
    """

    live = True

    def __init__(
        self,
        name: str,
        opener: Callable[[], LiveSource],
        options: CameraOptions,
        *,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self.name = name
        self.reconnects = 0
        self.bad_frames = 0
        self.is_away = False
        self.description = ""
        self._opener = opener
        self._options = options
        self._first_pause_s = first_pause_s
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sequence = 0
        self._reason = ""
        self._source: LiveSource | None = None
        try:
            self._open()
        except CameraError as error:
            if not options.wait_for_first:
                raise
            self._lost(error)

    @property
    def away_because(self) -> str:
        """What the last try to open or read it met; empty while it is there."""
        return (self._reason or "it gives no frames") if self.is_away else ""

    def read(self) -> Frame | None:
        """The next frame; ``None`` once closed.

        Raises:
            CameraError: the source stayed away for longer than allowed.
        """
        picture = None if self.is_away else self._next()
        if picture is None and not self._closed.is_set():
            picture = self._after_loss()
        if picture is None or picture.image is None:
            return None
        self._sequence += 1
        return Frame(image=picture.image, sequence=self._sequence, captured_at_s=picture.taken_at_s)

    def close(self) -> None:
        """End every wait and release the source; a read under way releases it when it ends."""
        self._closed.set()
        if self._lock.acquire(timeout=2.0):
            self._release()
            self._lock.release()

    def _open(self) -> None:
        self._source = self._opener()
        if self._source.description != self.description:
            self.description = self._source.description
            _log.info("camera %s: %s", self.name, self.description)

    def _release(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _next(self) -> Picture | None:
        """The next picture that can be seen; ``None`` when the source is lost or closed."""
        end_s = time.monotonic() + self._options.read_timeout_s
        with self._lock:
            try:
                while self._source is not None and not self._closed.is_set():
                    picture = self._source.next()
                    if picture is None or picture.image is not None:
                        return picture
                    self._count_bad()
                    if time.monotonic() > end_s:
                        self._reason = "frames that cannot be decoded"
                        return None
            except CameraError as error:
                self._reason = str(error)
            finally:
                if self._closed.is_set():
                    self._release()
        return None

    def _after_loss(self) -> Picture | None:
        """The first picture after a loss; a source that opens and stays dark is still away. ``None`` once closed."""
        lost_at_s, pause_s, limit_s = time.monotonic(), self._first_pause_s, self._options.give_up_after_s
        if not self.is_away:
            self._lost(None)
        while not self._closed.wait(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, no secret
            picture = self._again()
            if picture is not None:
                self.reconnects += 1
                self.is_away = False
                self._reason = ""
                _log.info("camera %s is back after %.1f s", self.name, time.monotonic() - lost_at_s)
                return picture
            if limit_s is not None and time.monotonic() - lost_at_s > limit_s:
                raise CameraError(
                    f"camera {self.name} went away",
                    found=self._reason or f"no frames for {limit_s:g} s",
                    remedy="check that it is on and connected",
                )
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        return None

    def _again(self) -> Picture | None:
        with self._lock:
            self._release()
            try:
                if not self._closed.is_set():
                    self._open()
            except MienError as error:
                if str(error) != self._reason:
                    self._reason = str(error)
                    _log.warning("camera %s cannot be opened: %s", self.name, error)
        return self._next()

    def _lost(self, error: CameraError | None) -> None:
        self.is_away = True
        self._reason = str(error) if error else self._reason
        _log.warning(
            "camera %s gives no frames; opening it again%s", self.name, f": {self._reason}" if self._reason else ""
        )

    def _count_bad(self) -> None:
        self._sequence += 1
        self.bad_frames += 1
        if self.bad_frames == 1:
            _log.warning("camera %s sent a frame that cannot be decoded; such frames are skipped, counted", self.name)
