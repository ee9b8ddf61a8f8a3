"""The update from a desired release to its end, and what a start finds left of one.

Decides the order of steps; the lifecycle's table (:mod:`mien.lifecycle`) decides which steps there are. Runs on one
thread. A kill at any point is survived: :meth:`Updater.recover` takes the journal and the slots as they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from edge.update.active import ActiveRelease
from edge.update.by_hand import Request, Requests, record_of, way_back
from edge.update.deployment import Deployment
from edge.update.installer import Installer
from edge.update.interface import (
    REFUSED_CODES,
    Device,
    ReleaseSource,
    Reporter,
    UpdateCancelled,
    UpdateFault,
)
from edge.update.journal import Journal, NextStep, UpdateRecord, next_step
from edge.update.probe import LiveFigures
from edge.update.ready_made import ReadyMade
from edge.update.slots import Installed, SlotStore
from edge.update.timetable import SiteTimes
from edge.update.trial import Trial
from edge.update.waiting import Waiting, WindowClosed
from mien.errors import BundleError, MienError, UnavailableError
from mien.lifecycle import TERMINAL, UpdateEvent, UpdateState, advance
from mien.messages import Desired
from mien.release import VariantPolicy

_log = logging.getLogger(__name__)

_E = UpdateEvent
_LONGEST_PAUSE_S = 30.0
_UNKNOWN = ""
"""Before the fleet has said anything since the start."""
_AGAIN = "deploy the release again"
_CONDEMNING_CODES = frozenset({"probe_failed", "interrupted"})
"""What was measured, or ended the process again and again; an engine that cannot be opened may lack memory just now."""
_BEFORE_SWITCH = frozenset({UpdateState.IDLE, UpdateState.DOWNLOADING, UpdateState.VERIFYING, UpdateState.BUILDING})


class Updater:
    """Works off deployments, one at a time.

    Args:
        slots: the slots.
        journal: the durable record.
        source: signed releases.
        device: the running device.
        reporter: the way to the fleet.
        policy: which variants this site takes.
        latency_slack_ms: see :func:`edge.update.probe.judge`.
        clock: Unix seconds.
        cancel: set when the agent stops.
        first_pause_s: after the first fault of the network; doubled each time.
        site: the site's own windows and limit.
        ready_made: engines that other devices built.
    """

    def __init__(  # noqa: PLR0913 - ports, all of them
        self,
        *,
        slots: SlotStore,
        journal: Journal,
        source: ReleaseSource,
        device: Device,
        reporter: Reporter,
        policy: VariantPolicy | None = None,
        latency_slack_ms: float = 0.0,
        clock: Callable[[], float] = time.time,
        cancel: threading.Event | None = None,
        first_pause_s: float = 1.0,
        site: SiteTimes | None = None,
        ready_made: ReadyMade | None = None,
    ) -> None:
        self._slots = slots
        self._journal = journal
        self._source = source
        self._device = device
        self._reporter = reporter
        self._clock = clock
        self._site = site or SiteTimes()
        self._first_pause_s = first_pause_s
        self._cancel = cancel or threading.Event()
        self._active = ActiveRelease(slots, device, reporter)
        self._trial = Trial(device, self._active, self._cancel, latency_slack_ms=latency_slack_ms)
        self._requests = Requests(journal.folder)
        self._wanted: str | None = _UNKNOWN
        self._installer = Installer(slots, source, device, policy or VariantPolicy(), self._cancel, ready_made)

    @property
    def is_waiting(self) -> bool:
        """Whether a probe waits for cameras: nothing is measured meanwhile, so the device may keep to its limits."""
        return self._trial.is_waiting

    @property
    def engine_is_lost(self) -> bool:
        """Whether the active release does not run because its engine could not be opened or built; not: no release."""
        return self._active.is_lost

    def take_up_again(self) -> bool:
        """Try once more to run the active release, whose engine could not be opened; may build it, which takes long.

        For the updater's own thread; from others, :meth:`edge.agent.Agent.take_up_again`.

        Returns:
            Whether the release runs, or none is here; false says: try again later.
        """
        return self._active.take_up() if self._active.is_lost else True

    def overtake(self, deployment_id: str | None) -> None:
        """The fleet wants this deployment from now on, or none; from any thread.

        Another one that is under way ends before it switches; after that, it goes to its end first.
        """
        self._wanted = deployment_id

    @property
    def is_asked_to_take_back(self) -> bool:
        """Whether a person at the device asks for the release before."""
        return self._requests.waits()

    def take_back_if_asked(self) -> None:
        """Return to the release before, if a person at the device asks for it; cheap when nobody does."""
        if not self.is_asked_to_take_back:
            return
        request, active = self._requests.read(), self._slots.active()
        if request is None or active is None or active.record.manifest_sha256 != request.manifest_sha256:
            self._requests.drop()
            return
        try:
            way_back(self._slots)
        except BundleError as error:
            self._requests.drop()
            self._reporter.event("rollback_refused", "warning", f"{active.release} stays: {error}"[:500])
            return
        self._take_back(active, request)

    def recover(self) -> None:
        """Finish what a kill or a power cut left, and take up the active release."""
        self._journal.sweep()
        self._slots.sweep()
        record = self._journal.read()
        step = next_step(record)
        if record is not None and step is not NextStep.NOTHING:
            _log.info("deployment %s was left in state %s: %s", record.desired.deployment_id, record.state, step.value)
            self._go_on(self._deployment(record), step)
        else:
            self._active.take_up()
        self._tidy()

    def _go_on(self, deployment: Deployment, step: NextStep) -> None:
        if step is NextStep.ROLL_BACK:
            self._roll_back(deployment, _interrupted("the device died while the new release was tried"))
            return
        if step is NextStep.PROBE:
            self._resume_probe(deployment)
            return
        if step is NextStep.REPORT:
            deployment.report()
        self._active.take_up()
        if step is NextStep.GIVE_UP:
            deployment.fault(_E.ERROR, _interrupted("the device was restarted too often while updating"))
        elif step is NextStep.BEGIN_AGAIN:
            self._begin(deployment.record.desired, deployment.record)

    def _tidy(self) -> None:
        """Nothing is under way: what was downloaded for it is not needed any more."""
        record = self._journal.read()
        if record is None or record.state in TERMINAL:
            self._source.forget()
            self._slots.clear_staging()

    def handle(self, desired: Desired) -> None:
        """Bring the device to the desired release; returns at the deployment's end.

        Raises:
            UpdateCancelled: the agent stops; the deployment goes on at its next start.
        """
        last = self._journal.read()
        if last is None or not self._is_done(desired, last):
            self._begin(desired, last)
        self.take_back_if_asked()

    def _is_done(self, desired: Desired, last: UpdateRecord) -> bool:
        if desired.deployment_id in last.answered:
            return True
        if last.desired.deployment_id != desired.deployment_id or last.state not in TERMINAL:
            return False
        active = self._slots.active()
        lost = active is None or active.record.manifest_sha256 != desired.manifest_sha256
        return not (last.state is UpdateState.COMMITTED and lost)

    def _begin(self, desired: Desired, last: UpdateRecord | None) -> None:
        again = last is not None and last.desired.deployment_id == desired.deployment_id
        if last is not None and last.state in TERMINAL:
            advance(last.state, _E.SETTLED)
        active = self._slots.active()
        deployment = self._deployment(
            UpdateRecord(
                desired=desired,
                sequence=last.sequence if last and again else 0,
                attempts=last.attempts + 1 if last and again else 1,
                started_at=last.started_at if last and again else self._clock(),
                waited_s=last.waited(self._clock()) if last and again else 0.0,
                shed_s=last.shed_s if last and again else 0.0,
                previous=active.release if active else None,
            )
        )
        try:
            self._carry_out(deployment, lambda: self._work(deployment, active))
        except UpdateCancelled:
            if deployment.record.waits_for is None:
                deployment.note(attempts=deployment.record.attempts - 1)  # an orderly stop is no sign of a bad release
            raise
        self._tidy()

    def _carry_out(self, deployment: Deployment, work: Callable[[], None]) -> None:
        try:
            work()
        except UpdateFault as fault:
            self._end_in_fault(deployment, fault)
        except MienError as error:
            _log.exception("the update failed unexpectedly")
            self._end_in_fault(deployment, UpdateFault("internal", error.what, found=error.found, remedy=error.remedy))

    def _work(self, deployment: Deployment, active: Installed | None) -> None:
        desired = deployment.record.desired
        if active is not None and active.record.manifest_sha256 == desired.manifest_sha256 and self._runs(active):
            self._already_there(deployment)
            return
        self._check_known_bad(desired, active)
        waiting = Waiting(deployment, self._site, self._cancel, self._clock)
        waiting.check_windows()
        local = self._local(desired)
        if local is None:
            waiting.for_download()
        before = self._device.figures()
        deployment.move(_E.ACCEPTED)
        if local is not None:
            deployment.note(target_slot=local.slot)
            for event in (_E.DOWNLOADED, _E.VERIFIED):
                deployment.move(event)
            installed = local
        else:
            installed = self._patiently(deployment, waiting)
        if waiting.for_switch():
            before = self._device.figures()
        deployment.check_wanted()
        deployment.move(_E.BUILT, target_slot=installed.slot)
        self._slots.switch(installed.slot)
        deployment.move(_E.SWITCHED)
        self._probe(deployment, installed, before)

    def _check_known_bad(self, desired: Desired, active: Installed | None) -> None:
        known = self._journal.known_bad()
        bad = known.against(desired.release, desired.manifest_sha256, active.release if active else None)
        if bad is None or (desired.rollback and desired.manifest_sha256 not in known.releases):
            return
        raise UpdateFault(
            "known_bad",
            f"{bad} was taken back by this device before",
            found=f"an order for {desired.release}",
            wanted="a newer version, or a return to a release that ran here",
            remedy="publish a new version",
        )

    def _runs(self, active: Installed) -> bool:
        """Whether the active release runs; false when its bytes proved changed, so that it must be brought again.

        Raises:
            UpdateFault: its engine cannot be opened now.
        """
        if self.take_up_again():
            now = self._slots.active()
            return now is not None and now.record.manifest_sha256 == active.record.manifest_sha256
        raise UpdateFault(
            "build_failed",
            f"{active.release} is installed here, and its engine cannot be opened now",
            remedy="the device tries again by itself; look at its memory: mien edge doctor",
        )

    def _already_there(self, deployment: Deployment) -> None:
        for event in (_E.ACCEPTED, _E.DOWNLOADED, _E.VERIFIED, _E.BUILT, _E.SWITCHED, _E.PROBE_PASSED):
            deployment.move(event, quietly=True)

    def _local(self, desired: Desired) -> Installed | None:
        slot = self._slots.read(self._slots.free())
        if slot is None or slot.record.manifest_sha256 != desired.manifest_sha256:
            return None
        if slot.record.hardware_class != self._device.facts().hardware_class():
            return None
        try:
            slot.verify()
        except BundleError as error:
            _log.warning("the local slot cannot be used: %s", error)
            return None
        return slot

    def _patiently(self, deployment: Deployment, waiting: Waiting) -> Installed:
        """Bring the release; while it cannot come, wait and go on: for windows, a busy server, or the network."""
        pause_s, tries = self._first_pause_s, 0
        while True:
            tries += 1
            try:
                return self._installer.bring(deployment, waiting.arrived)
            except WindowClosed:
                _log.info("the window for downloads has closed; what came is kept")
                waiting.for_download()
                continue
            except UpdateFault as fault:
                waiting.check_passes(fault, tries, pause_s)
                _log.warning("%s; trying again", fault)
                if fault.wait_s is not None:
                    waiting.for_server(max(fault.wait_s, pause_s))
                elif self._cancel.wait(pause_s):
                    raise UpdateCancelled from fault
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _probe(self, deployment: Deployment, installed: Installed, before: LiveFigures | None) -> None:
        desired = deployment.record.desired
        deployment.note(probes=deployment.record.probes + 1)
        try:
            result = self._trial.of(deployment, installed, before)
        except UpdateCancelled:
            deployment.note(probes=deployment.record.probes - 1)
            raise
        deployment.note(probe=result)
        if not result.passed:
            raise UpdateFault(
                "probe_failed",
                f"{installed.release} did not pass its probe",
                found="; ".join(result.reasons),
                remedy="look at the release: mien fleet rollout explain",
            )
        deployment.move(_E.PROBE_PASSED)
        if desired.rollback:
            self._slots.drop_fallback()
        self._device.switched()

    def _resume_probe(self, deployment: Deployment) -> None:
        slot = deployment.record.target_slot
        installed = self._slots.read(slot) if slot else None
        if installed is None:
            self._roll_back(
                deployment,
                UpdateFault("hash_mismatch", "the new release is no longer whole in its slot", remedy=_AGAIN),
            )
            return
        self._slots.switch(installed.slot)
        if deployment.state is UpdateState.INSTALLING:
            deployment.move(_E.SWITCHED)
        self._carry_out(deployment, lambda: self._probe(deployment, installed, None))

    def _end_in_fault(self, deployment: Deployment, fault: UpdateFault) -> None:
        _log.warning("deployment %s: %s", deployment.record.desired.deployment_id, fault)
        if deployment.state in TERMINAL:
            return
        if deployment.state not in _BEFORE_SWITCH:
            self._roll_back(deployment, fault)
        elif fault.code in REFUSED_CODES and deployment.state is not UpdateState.BUILDING:
            deployment.fault(_E.REFUSED, fault)
        else:
            if deployment.state is UpdateState.IDLE:
                deployment.move(_E.ACCEPTED, quietly=True)
            deployment.fault(_E.ERROR, fault)

    def _roll_back(self, deployment: Deployment, fault: UpdateFault) -> None:
        desired, bad = deployment.record.desired, deployment.record.target_slot or self._slots.free()
        if deployment.state is not UpdateState.ROLLING_BACK:
            probing = deployment.state is UpdateState.PROBING and fault.code == "probe_failed"
            _though_the_disk_is_full(lambda: deployment.fault(_E.PROBE_FAILED if probing else _E.ERROR, fault))
        if not desired.rollback and deployment.record.error_code in _CONDEMNING_CODES:
            _though_the_disk_is_full(lambda: self._journal.condemn(desired.release, desired.manifest_sha256))
        active = self._slots.switch_back(bad)
        try:
            self._active.restore(active)
        except UpdateFault as second:
            deployment.fault(
                _E.ERROR, UpdateFault("rollback_failed", second.what, found=second.found, remedy=second.remedy)
            )
            return
        finally:
            self._device.switched()
        deployment.move(_E.RESTORED)
        back_to = str(active.release) if active else "none: it was the first"
        self._reporter.event(
            "rolled_back",
            "error",
            f"{desired.release} was taken back: {deployment.record.message or fault.what}"[:500],
            (("release", str(desired.release)), ("active", back_to)),
        )

    def _take_back(self, active: Installed, request: Request) -> None:
        what = f"{active.release} was taken back by a person at the device"
        fault = UpdateFault("by_hand", what, found=request.reason, remedy="ask at the site, then deploy again")
        last = self._journal.read()
        if last is not None and last.state not in TERMINAL:  # left by an agent that does not run now
            self._end_in_fault(self._deployment(last), fault)
        if last is None or last.state in TERMINAL or last.state in _BEFORE_SWITCH:
            deployment = self._deployment(record_of(active, request, self._journal.read(), self._clock()))
            deployment.fault(_E.TAKEN_BACK, fault, target_slot=active.slot, reported_end=False)
            self._requests.drop()
            self._roll_back(deployment, fault)
        self._requests.drop()

    def _deployment(self, record: UpdateRecord) -> Deployment:
        return Deployment(
            record, journal=self._journal, reporter=self._reporter, clock=self._clock, called_off=self._called_off
        )

    def _called_off(self, record: UpdateRecord) -> UpdateFault | None:
        wanted = self._wanted
        if self._requests.waits():
            return UpdateFault("by_hand", "a person at the device takes the running release back", remedy=_AGAIN)
        if wanted is None:
            return UpdateFault("withdrawn", f"the order for {record.desired.release} was taken back")
        if wanted not in {_UNKNOWN, record.desired.deployment_id}:
            return UpdateFault(
                "superseded", f"deployment {wanted} came before {record.desired.release} was switched to"
            )
        return None


def _though_the_disk_is_full(write: Callable[[], None]) -> None:
    """Write what a way back is to be remembered by; where nothing can be written, the old release runs all the same.

    The next start then finds the trial in the journal and an empty slot, and ends in the same release.
    """
    try:
        write()
    except UnavailableError:
        _log.exception("the way back cannot be noted; it is taken without that")


def _interrupted(what: str) -> UpdateFault:
    return UpdateFault("interrupted", what, remedy="look at the device's log and power supply")
