"""Composition root: builds a device from its settings, runs it, and takes it down in order."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import cv2

from edge.agent import LONGEST_GOODBYE_S, Agent, Outbox, status_message
from edge.api.interface import BrokerStatus, LimitsStatus, UpdateStatus
from edge.api.port import PipelinePort, cameras_of, pulse_of
from edge.api.server import LocalApi, preview_for
from edge.api.state import DeviceState
from edge.building.apart import BuildApart
from edge.camera import environment
from edge.camera.chooser import open_camera
from edge.camera.interface import Camera, CameraError
from edge.config import EdgeSettings, TelemetrySettings
from edge.engine_care import EngineCare
from edge.engine_sharing import sharing
from edge.faces.teller import FaceTeller
from edge.faces.tracker import FaceTracker
from edge.facts import read_facts
from edge.file_ways import FileWays
from edge.identity.store import Identity, IdentityStore
from edge.limits.keeper import LimitsKeeper
from edge.liveness import Liveness, Patience, Vitals
from edge.pipeline.batching import Batching
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import Sink, Source
from edge.pipeline.pipeline import Pipeline
from edge.power.chooser import open_power
from edge.power.sampler import PowerSampler
from edge.process import only_agent
from edge.runtime import DeviceRuntime
from edge.systemd import Notifier
from edge.telemetry.alerts import alerts_between
from edge.telemetry.publisher import Publisher
from edge.telemetry.recorder import Recorder
from edge.telemetry.spool import Spool, SpoolLimits
from edge.transport.mqtt import MqttLink
from edge.transport.way_choice import Way
from edge.update.journal import Journal
from edge.update.ready_made import ReadyMade
from edge.update.site import site_times
from edge.update.slots import SlotStore
from edge.update.tuf_source import TufSource
from edge.update.updater import Updater
from edge.watch import DeviceWatch
from mien import topics
from mien.errors import MienError, UnavailableError
from mien.lifecycle import UpdateState
from mien.messages import Twin, Window, encode
from mien.release import ReleaseRef, VariantPolicy

_log = logging.getLogger(__name__)

_COMPARES = frozenset({UpdateState.INSTALLING, UpdateState.PROBING, UpdateState.ROLLING_BACK})
_LONGEST_START_S = 900.0
"""Cameras that are away are waited for once each, for as long as the settings say, before the device is ready."""


class EdgeDevice:
    """A device that is tied to a fleet.

    Args:
        settings: what the site chose.

    Raises:
        TrustError: the device has not enrolled.
        UnavailableError: another agent runs on this state, or the camera does not answer.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        cv2.setNumThreads(1)
        self._settings = settings
        self._stop = threading.Event()
        self._is_reloading = False
        self._boot_id = uuid.uuid4().hex
        self._closing = ExitStack()
        with ExitStack() as undo:
            undo.enter_context(only_agent(settings.state))
            identities = IdentityStore(settings.state, fleet_url=settings.fleet.url)
            identity = identities.load()
            self.facts = read_facts()
            with Notifier().more_time(lambda: True, most_s=_LONGEST_START_S):
                self._wire(identities, identity, undo)
            self._closing = undo.pop_all()

    def run(self) -> None:
        """Run until told to stop, by a signal or by the end of the source.

        Raises:
            TrustError: the fleet does not accept this device.
            CameraError: the camera went away for good.
        """
        notifier = Notifier()
        try:
            self._check_session_once()
            self._power.start()
            self._pipeline.start()
            self._recorder.start()
            self._agent.start()
            self._api.start()
            self._watch.start()
            notifier.ready(f"{self._agent.device_id}")
            patience = Patience.at(_expected_fps(self._settings))
            liveness = Liveness(self._vitals, clock=time.monotonic, patience=patience)
            while not self._stop.wait(notifier.beat_s):
                pulse = liveness.pulse()
                notifier.status(f"{self._agent.device_id}: {pulse.why}")
                if pulse.is_alive:
                    notifier.alive()
                if self._pipeline.wait(0):
                    break
            self._raise_what_ended_it()
        finally:
            if self._is_reloading:
                notifier.reloading()
            else:
                notifier.stopping(f"{self._agent.device_id}: stopping")
            with notifier.more_time(lambda: self._agent.is_updating, most_s=LONGEST_GOODBYE_S):
                self.close()

    def stop(self) -> None:
        """Ask for an orderly end; returns at once, from any thread or signal handler."""
        self._stop.set()

    def reload(self) -> None:
        """Ask for an orderly end, after which another device goes on in this process."""
        self._is_reloading = True
        self._stop.set()

    def close(self) -> None:
        """End all threads and give everything back, frames first: so the last window still reaches the fleet.

        What the broker does not take in time stays in the spool.
        """
        self._stop.set()
        self._closing.close()

    def _wire(self, identities: IdentityStore, identity: Identity, undo: ExitStack) -> None:
        settings, state = self._settings, self._settings.state
        self._spool = Spool(state / "spool.sqlite", limits=_spool_limits(settings.telemetry))
        undo.callback(self._spool.close)
        self._outbox = outbox = Outbox(self._spool)
        source = open_power(settings.power.source, interval_s=settings.power.interval_s, replay=settings.power.replay)
        self._power = PowerSampler(source, interval_s=settings.power.interval_s, tell=outbox.event)
        undo.callback(self._power.close)
        meter = FrameMeter(sources=[camera.name for camera in settings.all_cameras])
        look, preview = FrameMeter(), preview_for(settings.api, settings.privacy)
        sinks: list[Sink] = [meter, look] if preview is None else [meter, look, preview]
        self._teller = FaceTeller(settings.faces, tell=outbox.event)
        if settings.faces.events:
            sinks.append(self._teller)
        self._pipeline, self._sources = _pipeline_of(settings, sinks)
        undo.callback(environment.forget)
        undo.callback(self._end_model)
        undo.callback(self._pipeline.stop)
        self._slots = SlotStore(state / "slots")
        self._journal = Journal(state / "update")
        self._state = self._shown(identity)
        outbox.on_event = self._state.add_event
        self._recorder = self._recorder_of(settings, meter)
        undo.callback(self._recorder.close)
        self._runtime = DeviceRuntime(
            self._pipeline,
            self._recorder,
            self._power,
            look=look,
            facts=self.facts,
            state=state,
            threads=settings.engine.threads,
            calls_at_once=settings.engine.calls_at_once,
            frames_a_call=1 if settings.engine.batching == "latency" else len(settings.all_cameras),
            settle_s=settings.probe.settle_s,
            cancel=self._stop,
            on_switch=self._switched,
            builds=BuildApart(self._stop, least_memory=settings.updates.least_memory),
        )
        self._agent = self._agent_of(identities, identity, outbox, undo)
        undo.callback(self._end_frames)
        shares = (settings.updates, identities, self._slots, self._journal, self.facts)
        self._offers = sharing(*shares, tell=outbox.event, undo=undo)
        self._limits = LimitsKeeper(settings.limits, self, health=self._power.health, tell=outbox.event)
        self._watch = self._watch_of(settings)
        undo.callback(self._watch.close)
        self._api = LocalApi(settings.api, self._state, preview=preview, show_faces=settings.privacy.show_faces)
        undo.callback(self._api.close)

    def _recorder_of(self, settings: EdgeSettings, meter: FrameMeter) -> Recorder:
        return Recorder(
            meter=meter,
            power=self._power,
            spool=self._spool,
            window_s=settings.telemetry.window_s,
            boot_id=self._boot_id,
            model=lambda: self._pipeline.model,
            dropped=self._pipeline.take_dropped,
            stored=self._window_stored,
            tell=self._outbox.event,
        )

    def _watch_of(self, settings: EdgeSettings) -> DeviceWatch:
        return DeviceWatch(
            self._pipeline,
            self._sources,
            engine=EngineCare(
                stalled_after_s=settings.engine.stalled_after_s,
                reopen_after_errors=settings.engine.reopen_after_errors,
            ),
            reopen=self._reopen_engine,
            keeper=self._limits,
            is_comparing=self._is_comparing,
            lost_at_start=lambda: self._agent.engine_is_lost,
            before=self._teller.flush,
            tell=self._outbox.event,
        )

    def _shown(self, identity: Identity) -> DeviceState:
        """What the local API shows of this device."""
        state = DeviceState(
            device_id=identity.device_id,
            spool_length=lambda: len(self._spool),
            spool_lost=lambda: sum(self._spool.lost.values()),
            model=PipelinePort(self._pipeline),
        )
        state.cameras = lambda: cameras_of(self._pipeline, self._sources)
        state.pulse = lambda: pulse_of(self._pipeline, self._power, self._sources)
        state.broker = lambda: BrokerStatus(connected=self._link.is_connected, detail=identity.mqtt.host)
        state.update = self._update_shown
        state.limits = self._limits_shown
        return state

    def _update_shown(self) -> UpdateStatus | None:
        report = self._outbox.last_report
        if report is None:
            return None
        return UpdateStatus(
            release=str(report.release),
            state=report.state.value,
            message=report.message or "",
            percent=report.percent,
        )

    def _limits_shown(self) -> LimitsStatus:
        return LimitsStatus(step=self._limits.level, detail=self._limits.standing)

    def set_rate(self, factor: float) -> None:
        """Take this share of the cameras' frames; see :class:`edge.limits.interface.Actuator`."""
        self._runtime.set_rate(factor)

    def use_lighter(self, wanted: bool) -> bool:
        """Run the lighter variant, or the release's own; see :class:`edge.limits.interface.Actuator`."""
        active = self._slots.active()
        return active is not None and self._runtime.use_lighter(active, wanted)

    def _is_comparing(self) -> bool:
        """Whether an update is at the point where the releases are held against each other."""
        report = self._outbox.last_report
        measures = self._agent.is_updating and not self._agent.is_waiting_for_cameras
        return measures and report is not None and report.state in _COMPARES

    def _reopen_engine(self) -> bool:
        if self._agent.engine_is_lost:
            return self._agent.take_up_again()
        active = self._slots.active()
        return active is not None and self._runtime.reopen(active)

    def _agent_of(self, identities: IdentityStore, identity: Identity, outbox: Outbox, undo: ExitStack) -> Agent:
        settings, state = self._settings, self._settings.state
        self._ways = FileWays(settings.fleet, identity, state / "update" / "parts", on_turn=self._way_turned)
        undo.callback(self._ways.fetcher.close)
        source = TufSource(
            state / "tuf",
            identity.tuf_root,
            metadata_url=identity.metadata_url,
            targets_url=identity.targets_url,
            fetcher=self._ways.fetcher,
        )
        updater = Updater(
            slots=self._slots,
            journal=self._journal,
            source=source,
            ready_made=ReadyMade(source, self._runtime, outbox, wanted=settings.updates.take_engines),
            device=self._runtime,
            reporter=outbox,
            policy=_variants(settings),
            latency_slack_ms=settings.probe.latency_slack_ms,
            cancel=self._stop,
            site=site_times(settings.updates, seed=identity.device_id),
        )
        status_topic = topics.topic(identity.device_id, topics.STATUS)
        plain = MqttLink(
            identity.device_id,
            identity.mqtt.address(),
            tls=identity.files,
            will=(status_topic, encode(status_message("offline", self._boot_id))),
            tell=outbox.event,
        )
        self._link = link = self._ways.over(plain)
        publisher = Publisher(
            self._spool,
            link,
            lambda channel: topics.topic(identity.device_id, channel),
            catch_up_per_s=settings.telemetry.catch_up_per_s,
            tell=outbox.event,
        )
        outbox.on_put = publisher.wake
        self._publisher = publisher
        agent = Agent(
            identities=identities,
            link=link,
            publisher=publisher,
            updater=updater,
            twin=self._twin,
            boot_id=self._boot_id,
            session_check_s=settings.fleet.session_check_s,
            stop=self._stop,
            tell=outbox.event,
        )
        undo.callback(agent.close)
        return agent

    def _twin(self) -> Twin:
        active, fallback = self._slots.active(), self._slots.fallback()
        bad = self._journal.known_bad().releases.values()
        return Twin(
            facts=self.facts,
            hardware_class=self.facts.hardware_class()[:200],
            active=active.release if active else None,
            precision=active.record.precision if active else None,
            runtime=active.record.runtime if active else None,
            fallback=fallback.release if fallback else None,
            known_bad=tuple(ReleaseRef.parse(text) for text in dict.fromkeys(bad)),
            power_source=self._power.name,
            capabilities=("update", "rollback", "diagnostics", *self._ways.capabilities),
            at=time.time(),
        )

    def _switched(self) -> None:
        self._watch.model_changed()
        self._agent.publish_twin()
        if self._offers is not None:
            self._offers.wake()

    def _way_turned(self, way: Way) -> None:
        self._outbox.event("way_changed", "info", f"signed files come over {way} from now on")
        self._agent.publish_twin()

    def _window_stored(self, window: Window) -> None:
        """Show and send a window, and tell what it changed; where the device ends, frames are meant to stop."""
        alerts = [] if self._stop.is_set() else alerts_between(self._state.window, window)
        for alert in alerts:
            self._outbox.event(alert.kind, alert.severity, alert.message)
        self._state.add_window(window)
        self._publisher.wake()

    def _check_session_once(self) -> None:
        try:
            self._agent.check_session()
        except UnavailableError as error:
            _log.warning("the fleet does not answer; the device starts without it: %s", error)

    def _vitals(self) -> Vitals:
        return Vitals(
            frames=self._pipeline.finished_frames,
            engine_busy_s=self._pipeline.engine_busy_s,
            has_model=self._pipeline.model is not None or self._watch.engine_is_lost,
            camera_is_away=self._pipeline.camera_is_away,
            is_updating=self._agent.is_updating,
        )

    def _raise_what_ended_it(self) -> None:
        if self._agent.error is not None:
            raise self._agent.error
        error = self._pipeline.error
        if isinstance(error, CameraError):
            self._outbox.event("camera_lost", "error", str(error)[:500])
        if isinstance(error, MienError):
            raise error
        if error is not None:
            raise RuntimeError("the pipeline ended") from error

    def _end_frames(self) -> None:
        """Finish the frames on their way and close their window, while the agent is still there to send it."""
        self._pipeline.stop()
        self._recorder.close()

    def _end_model(self) -> None:
        """Close the engine, unless a call of it never came back: its memory may still be in use."""
        model = self._pipeline.model
        if model is not None and not self._pipeline.engine_busy_s:
            model.engine.close()


def _spool_limits(settings: TelemetrySettings) -> SpoolLimits:
    return SpoolLimits(
        most_bytes=settings.spool_bytes,
        detail_s=settings.spool_detail_days * 86_400,
        oldest_s=settings.spool_days * 86_400,
    )


def _variants(settings: EdgeSettings) -> VariantPolicy:
    """What the site takes; a second, lighter variant where its limits would use one."""
    return VariantPolicy(
        precisions=settings.engine.precisions,
        allow_build=settings.engine.allow_build,
        lighter=settings.limits.enabled and bool(settings.limits.lighter_rates),
    )


def _pipeline_of(settings: EdgeSettings, sinks: list[Sink]) -> tuple[Pipeline, tuple[Source, ...]]:
    """Open all cameras at once, since each may be waited for; all are closed again when one cannot be opened."""
    sources = []
    with ExitStack() as half, ThreadPoolExecutor(thread_name_prefix="open") as pool:
        opening = [pool.submit(open_camera, wanted.source, wanted.options()) for wanted in settings.all_cameras]
        for future in opening:
            half.callback(_close_if_open, future)
        for wanted, future in zip(settings.all_cameras, opening, strict=True):
            tracker = FaceTracker(settings.faces)
            sources.append(Source(name=wanted.name, camera=future.result(), max_fps=wanted.max_fps, tracker=tracker))
        half.pop_all()
    batching = Batching(mode=settings.engine.batching, wait_s=settings.engine.batch_wait_ms / 1000)
    return Pipeline(sources, sinks=sinks, batching=batching), tuple(sources)


def _close_if_open(opening: Future[Camera]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _expected_fps(settings: EdgeSettings) -> float | None:
    """At least so many frames come a second, on the lowest step of the limits; ``None`` where a site sets no rate."""
    rates = [camera.max_fps for camera in settings.all_cameras]
    fastest = max((rate for rate in rates if rate is not None), default=None) if all(rates) else None
    if fastest is None or not settings.limits.enabled:
        return fastest
    return fastest * min((*settings.limits.rates, *settings.limits.lighter_rates))
