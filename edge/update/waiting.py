"""How an update waits for windows, its share of the jitter and a busy server, and keeps to limits while bytes arrive.

Waiting is no fault and no attempt. It ends early when the deployment is called off, and within a second when the agent
stops; a restart goes on waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edge.transport.pace import Throttle
from edge.update.deployment import Deployment
from edge.update.interface import MOST_TRIES, WAITED_OUT_CODES, UpdateCancelled, UpdateFault
from edge.update.timetable import SiteTimes, Timetable
from mien.errors import ConfigError
from mien.messages import WaitsFor

_log = logging.getLogger(__name__)

_STEP_S = 1.0
_LONGEST_SHED_S = 6 * 3600.0
"""So long is a busy server waited for in one deployment, beyond the deployment's own time."""
_SET_BACK_S = 60.0
"""A clock that goes back further than this within a wait was set: the wait's end by the old time means nothing."""
_QUIET_S = 5.0
"""A busy server's shorter pauses are not reported."""


class WindowClosed(Exception):  # noqa: N818 - the day goes on; no fault
    """The window for downloads closed while bytes arrived."""


class Waiting:
    """Waits on behalf of one deployment.

    Args:
        deployment: who waits.
        site: the site's own windows and limit.
        cancel: set when the agent stops.
        clock: Unix seconds.
    """

    def __init__(
        self, deployment: Deployment, site: SiteTimes, cancel: threading.Event, clock: Callable[[], float]
    ) -> None:
        self._deployment = deployment
        self._cancel = cancel
        self._clock = clock
        self._times = Timetable(deployment.record.desired, site)
        limit = self._times.max_bytes_per_s
        self._throttle = Throttle(limit) if limit is not None else None
        self._looked_s = 0.0

    def check_windows(self) -> None:
        """Refuse what can never be done here, before anything is downloaded for it.

        Raises:
            UpdateFault: ``no_window``.
        """
        self._known(self._begins_at)
        self._known(self._switches_at)

    def for_download(self) -> None:
        """Until the device may download.

        Raises:
            UpdateFault: the deployment was called off meanwhile.
            UpdateCancelled: the agent stops.
        """
        while (moment := self._known(self._begins_at)) > self._clock():
            self._until(moment, "jitter" if self._times.may_download(self._clock()) else "download_window")

    def for_switch(self) -> bool:
        """Until the device may switch; whether it had to wait.

        Raises:
            UpdateFault: the deployment was called off meanwhile.
            UpdateCancelled: the agent stops.
        """
        waited = False
        while (moment := self._known(self._switches_at)) > self._clock():
            self._until(moment, "install_window")
            waited = True
        return waited

    def for_server(self, wait_s: float) -> None:
        """As long as a busy server asked for.

        Raises:
            UpdateFault: the deployment was called off meanwhile.
            UpdateCancelled: the agent stops.
        """
        begun = self._clock()
        self._until(begun + wait_s, "server", quietly=wait_s < _QUIET_S)
        waited_s = min(max(self._clock() - begun, 0.0), wait_s + _STEP_S)  # by a clock that may be set meanwhile
        self._deployment.note(shed_s=self._deployment.record.shed_s + waited_s)

    def check_passes(self, fault: UpdateFault, tries: int, pause_s: float) -> None:
        """Raise a fault after which another try is of no use.

        Args:
            fault: what was wrong.
            tries: so far.
            pause_s: how long the next pause would be.

        Raises:
            UpdateFault: the same.
        """
        if fault.wait_s is not None:
            may_pass = self._deployment.record.shed_s < _LONGEST_SHED_S
        elif fault.code in MOST_TRIES:
            may_pass = tries < MOST_TRIES[fault.code]
        else:
            may_pass = fault.code in WAITED_OUT_CODES
        if not may_pass or self._deployment.seconds_left() <= pause_s:
            raise fault

    def arrived(self, count: int) -> None:
        """Count bytes of a download; reads no further while the limit on bytes is exceeded.

        Raises:
            WindowClosed: no more may be downloaded now.
            UpdateFault: the deployment was called off, or its time is up.
            UpdateCancelled: the agent stops.
        """
        if self._cancel.wait(self._throttle.took(count) if self._throttle is not None else 0.0):
            raise UpdateCancelled
        self._deployment.check_time()
        if time.monotonic() - self._looked_s < _STEP_S:
            return
        self._looked_s = time.monotonic()
        self._deployment.check_wanted()
        if not self._times.may_download(self._clock()):
            raise WindowClosed

    def _begins_at(self) -> float | None:
        self._deployment.keep_to_clock()
        return self._times.begins_at(self._deployment.record.started_at, self._clock())

    def _switches_at(self) -> float | None:
        return self._times.switches_at(self._clock())

    @staticmethod
    def _known(asked: Callable[[], float | None]) -> float:
        try:
            moment = asked()
        except ConfigError as error:
            raise UpdateFault("no_window", error.what, wanted=error.wanted, remedy=error.remedy) from error
        if moment is None:
            raise UpdateFault(
                "no_window",
                "the fleet's windows and the site's own are never open together",
                wanted="windows that meet",
                remedy="compare the rollout's policy with 'updates' in the device's settings",
            )
        return moment

    def _until(self, moment: float, waits_for: WaitsFor, *, quietly: bool = False) -> None:
        deployment, begun = self._deployment, self._clock()
        _log.info("waiting %.0f s for %s", moment - self._clock(), waits_for.replace("_", " "))
        deployment.begin_waiting(waits_for, moment, quietly=quietly)
        try:
            while (left_s := moment - self._clock()) > 0:
                if self._cancel.wait(min(left_s, _STEP_S)):
                    raise UpdateCancelled
                deployment.check_wanted()
                if self._clock() < begun - _SET_BACK_S:
                    break  # whoever waits looks anew
        except UpdateFault:
            deployment.end_waiting()
            raise
        deployment.end_waiting()
