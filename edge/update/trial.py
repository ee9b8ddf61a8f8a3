"""The trial of a new engine on the device: reference frames, then live ones beside the old release's figures.

Measures and waits for cameras; :mod:`edge.update.probe` decides.
"""

from __future__ import annotations

import logging
import threading
import time

from edge.update.active import ActiveRelease
from edge.update.deployment import Deployment
from edge.update.interface import Device, UpdateCancelled, UpdateFault
from edge.update.probe import LiveFigures, ReferenceLook, judge
from edge.update.slots import Installed
from mien.messages import ProbeResult

_log = logging.getLogger(__name__)

_CAMERA_LOOK_S = 0.5


class Trial:
    """Tries releases.

    Args:
        device: the running device.
        active: brings a release to run.
        cancel: set when the agent stops.
        latency_slack_ms: see :func:`edge.update.probe.judge`.
    """

    def __init__(
        self, device: Device, active: ActiveRelease, cancel: threading.Event, *, latency_slack_ms: float
    ) -> None:
        self._device = device
        self._active = active
        self._cancel = cancel
        self._latency_slack_ms = latency_slack_ms
        self.is_waiting = False
        """Whether it waits for cameras: nothing is measured meanwhile, so the device may keep to its limits."""

    def of(self, deployment: Deployment, installed: Installed, before: LiveFigures | None) -> ProbeResult:
        """What a release showed here, and whether it may stay.

        Args:
            deployment: whose probe policy and time hold.
            installed: the release, in the active slot.
            before: the old release's last figures.

        Raises:
            UpdateFault: its engine cannot be opened, or there was nothing to look at in the deployment's time.
            UpdateCancelled: the agent stops.
        """
        desired = deployment.record.desired
        agreement = self._device.reference_agreement(installed)
        recorded = installed.variant().reference_agreement
        look = None
        if agreement is not None:
            look = ReferenceLook(agreement=agreement, recorded=1.0 if recorded is None else recorded)
            first = judge(desired.probe, look, None, None)
            if not first.passed:
                return first
        self._active.run(installed)
        if desired.rollback and look is not None:
            return judge(desired.probe, look, None, None)
        return self._judged_live(deployment, look, None if desired.rollback else before)

    def _judged_live(
        self, deployment: Deployment, look: ReferenceLook | None, before: LiveFigures | None
    ) -> ProbeResult:
        """The verdict with live frames; one against the release is not given before a second look."""
        result = self._verdict(deployment, look, before)
        if not result.passed:
            _log.warning("looking once more: %s", "; ".join(result.reasons))
            result = self._verdict(deployment, look, before)
        return result

    def _verdict(self, deployment: Deployment, look: ReferenceLook | None, before: LiveFigures | None) -> ProbeResult:
        live = self._seen_live(deployment)
        if live.cameras_away and look is None:
            raise UpdateFault(
                "timed_out",
                "the new release could not be looked at in the deployment's time",
                found=f"no frames from {', '.join(live.cameras_away)}, and no reference frames in the bundle",
                remedy="bring the camera back, then deploy the release again",
            )
        policy = deployment.record.desired.probe
        return judge(policy, look, live, before, latency_slack_ms=self._latency_slack_ms)

    def _seen_live(self, deployment: Deployment) -> LiveFigures:
        """Live figures with every camera there, waited for in the deployment's time; else what is away."""
        end_s = time.monotonic() + max(deployment.seconds_left(), 0.0)
        while True:
            away = self._cameras_still_away(deployment, end_s)
            if away:
                return LiveFigures(frames=0, fps=0.0, cameras_away=away)
            live = self._device.watch(deployment.record.desired.probe)
            if not live.cameras_away or time.monotonic() >= end_s:
                return live

    def _cameras_still_away(self, deployment: Deployment, end_s: float) -> tuple[str, ...]:
        """Wait for cameras that are away. That is no trial of the release: a power cut meanwhile does not count."""
        if not (away := self._device.cameras_away()):
            return ()
        _log.info("the probe waits for %s", ", ".join(away))
        probes = deployment.record.probes
        deployment.note(probes=probes - 1)
        self.is_waiting = True
        try:
            away = self._waited_for_cameras(away, end_s)
        except UpdateCancelled:
            deployment.note(probes=probes)
            raise
        finally:
            self.is_waiting = False
        deployment.note(probes=probes)
        return away

    def _waited_for_cameras(self, away: tuple[str, ...], end_s: float) -> tuple[str, ...]:
        while away and (left_s := end_s - time.monotonic()) > 0:
            if self._cancel.wait(min(_CAMERA_LOOK_S, left_s)):
                raise UpdateCancelled
            away = self._device.cameras_away()
        return away
