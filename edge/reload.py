"""Reads the settings again on SIGHUP (``systemctl reload mien-edge``): faulty ones change nothing, new ones count.

To take new ones up, everything is taken down in order and built anew in the same process, under the same identity.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from edge.config import EdgeSettings
from edge.process import stopped_by_signals
from edge.systemd import Notifier
from mien.errors import MienError

_log = logging.getLogger(__name__)


class Runnable(Protocol):
    """What runs with one set of settings."""

    def run(self) -> None:
        """Run until told to stop."""

    def stop(self) -> None:
        """Ask for an orderly end."""

    def reload(self) -> None:
        """Ask for an orderly end, after which another goes on."""


def run_with_reloads(read: Callable[[], EdgeSettings], build: Callable[[EdgeSettings], Runnable]) -> None:
    """Run a device, and build another in its place whenever sound new settings are taken up.

    Settings that read well and cannot be run with (a camera that names nothing) give way to those before.

    Args:
        read: reads the settings.
        build: makes the device.

    Raises:
        MienError: the first settings are faulty or cannot be run with, or the device ended in an error.
    """
    settings: EdgeSettings | None = read()
    former: EdgeSettings | None = None
    while settings is not None:
        try:
            device = build(settings)
        except MienError as error:
            if former is None:
                raise
            _log.error("the new settings cannot be run with, and the device goes on with those before: %s", error)
            settings, former = former, None
            continue
        reload = Reload(read, settings, device.reload)
        with stopped_by_signals(device.stop), reload.on_hangup():
            device.run()
        former, settings = settings, reload.wanted


class Reload:
    """Decides what a wish to reload comes to.

    Args:
        read: reads the settings again.
        settings: those that the device runs with.
        take_up: told that there are new ones; returns at once.
    """

    def __init__(self, read: Callable[[], EdgeSettings], settings: EdgeSettings, take_up: Callable[[], None]) -> None:
        self._read, self._settings, self._take_up = read, settings, take_up
        self.wanted: EdgeSettings | None = None
        """The settings to go on with; ``None`` when none were taken up."""

    @contextmanager
    def on_hangup(self) -> Iterator[None]:
        """Listen to SIGHUP while the block runs, as a service; elsewhere it says that the terminal is gone."""
        if not Notifier().is_heard:
            yield
            return
        before = signal.signal(signal.SIGHUP, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN if self.wanted is not None else before)

    def reread(self) -> None:
        """Read the settings; take them up when they are sound and differ."""
        try:
            settings = self._read()
        except MienError as error:
            _log.error("the settings were not taken up, and the device goes on as before: %s", error)
            return
        if settings == self._settings:
            _log.info("the settings did not change")
            return
        self.wanted = settings
        self._take_up()

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.reread()
