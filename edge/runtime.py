"""The running device as the update sees it.

Builds engines, checks them on reference frames, exchanges them between two frames and looks at live ones.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.building.order import BuildOrder, build_here
from edge.engine.chooser import open_engine
from edge.engine.interface import Engine, infer_one
from edge.engine.stoppable import Stoppable
from edge.pipeline.meter import FrameMeter, FrameTally
from edge.pipeline.model import LoadedModel
from edge.pipeline.pipeline import Pipeline
from edge.power.energy import mean_power_w
from edge.power.sampler import PowerSampler
from edge.telemetry.recorder import Recorder
from edge.update.interface import UpdateCancelled, UpdateFault
from edge.update.probe import LiveFigures, ReferenceLook, judge
from edge.update.slots import Installed, SlotRecord
from edge.vision.decode import decode
from edge.vision.detections import agreement
from edge.vision.letterbox import Geometry
from edge.vision.reference import read_reference
from mien.errors import MienError
from mien.facts import DeviceFacts
from mien.messages import ProbePolicy
from mien.release import OutputSpec, Runtime

_log = logging.getLogger(__name__)

_LONGEST_LOOK = 3.0
"""A look at live frames is stretched to this many times its length when frames come slowly."""
_STEP_S = 0.1
_BUSY_S = 1.0
"""A call of the engine that takes longer holds up frames itself."""


class DeviceRuntime:
    """What runs, and how it is exchanged.

    Args:
        pipeline: runs frames through the model.
        recorder: its windows are split where the release changes.
        power: power readings.
        facts: of this machine.
        state: the state folder; its disk's free room counts.
        threads: CPU threads that the engine takes for a frame.
        calls_at_once: frames that it computes side by side.
        frames_a_call: so many frames of its cameras go through the engine at once, where its graph allows that.
        settle_s: frames in this time after a switch are not counted by the probe.
        cancel: set when the agent stops.
        on_switch: told that the active release changed.
        builds: builds an engine; by default in this process.
    """

    def __init__(  # noqa: PLR0913 - what it ties together
        self,
        pipeline: Pipeline,
        recorder: Recorder,
        power: PowerSampler,
        *,
        look: FrameMeter,
        facts: DeviceFacts,
        state: Path,
        threads: int,
        calls_at_once: int = 1,
        frames_a_call: int = 1,
        settle_s: float,
        cancel: threading.Event,
        on_switch: Callable[[], None],
        builds: Callable[[BuildOrder], Path] | None = None,
    ) -> None:
        self._builds = builds or self._build_here
        self._pipeline = pipeline
        self._recorder = recorder
        self._power = power
        self._look = look
        self._facts = facts
        self._state = state
        self._threads = threads
        self._calls_at_once = calls_at_once
        self._frames_a_call = frames_a_call
        self._settle_s = settle_s
        self._cancel = cancel
        self._on_switch = on_switch
        self._running: SlotRecord | None = None
        self._is_lighter = False
        self._rate = 1.0
        self._exchange = threading.Lock()

    def facts(self) -> DeviceFacts:
        """What this device is."""
        return self._facts

    def free_bytes(self) -> int:
        """Room on the disk of the state folder."""
        return shutil.disk_usage(self._state).free

    def build(self, model: Path, folder: Path, runtime: Runtime) -> Path:
        """Build an engine from a portable model into ``folder``; its path.

        Raises:
            UpdateFault: it cannot be built, or memory ran short.
            UpdateCancelled: the agent stops.
        """
        folder.mkdir(parents=True, exist_ok=True)
        order = BuildOrder(
            model=model,
            engine=folder / f"{model.stem}.{runtime}",
            runtime=runtime,
            timing=self._state / "timing",
            frames_a_call=self._frames_a_call,
        )
        try:
            return self._builds(order)
        except UpdateFault:
            raise
        except MienError as error:
            raise _unusable("could not build the engine", error) from error

    def _build_here(self, order: BuildOrder) -> Path:
        """Left between two of its steps when the agent stops."""
        return build_here(order, progress=Stoppable(self._cancel, UpdateCancelled))

    def figures(self) -> LiveFigures | None:
        """The running release's last windows, and whether they show it with everything the device has."""
        figures = self._recorder.figures()
        if figures is None:
            return None
        return replace(figures, cameras_away=self.cameras_away(), is_reduced=self._is_reduced)

    def set_rate(self, factor: float) -> None:
        """Take this share of the live cameras' frames; windows from before say nothing about what follows."""
        self._rate = factor
        self._pipeline.set_rate(factor)
        self._recorder.close_window(self._pipeline.model, forget=True)

    def cameras_away(self) -> tuple[str, ...]:
        """Names of the cameras that are lost and being opened again, or gone for good."""
        return self._pipeline.cameras_away

    @property
    def _is_reduced(self) -> bool:
        return self._is_lighter or self._rate < 1.0

    def reference_agreement(self, installed: Installed) -> float | None:
        """Share of the bundle's reference detections that the engine in this slot reproduces."""
        if installed.reference_path is None:
            return None
        outputs = installed.manifest().outputs
        try:
            with self._opened(installed) as engine:
                return agreement_with_reference(engine, installed.reference_path, outputs)
        except MienError as error:
            raise _unusable(f"the engine of {installed.release} does not run", error) from error

    def take_up(self, installed: Installed | None) -> None:
        """Run this release from the next frame on; the window before ends with the old one. What runs goes on."""
        with self._exchange:
            self._take_up(installed)
            self._is_lighter = False

    def reopen(self, installed: Installed) -> bool:
        """Open the engine of what runs anew, because it fails; its memory is given back first.

        Where nothing runs, since an attempt before this one failed, the release's own engine is opened.

        Returns:
            Whether it was done; not while an update exchanges the engine.

        Raises:
            UpdateFault: it cannot be opened, or the old one does not finish; nothing runs then.
        """
        with self._between_updates() as mine:
            if mine:
                lighter = installed.lighter()
                again = lighter if lighter is not None and lighter.record == self._running else installed
                self._take_up(None)
                self._take_up(again)
            return mine

    def use_lighter(self, installed: Installed, wanted: bool) -> bool:
        """Run the release's lighter variant, or its own again.

        A lighter engine must first show the release's reference detections, as any engine does before it runs.

        Returns:
            Whether that variant runs now; not while an update exchanges the engine, nor where there is none.

        Raises:
            UpdateFault: it cannot be opened or does not see what it should; what ran before still runs.
            BundleError: its file was changed.
        """
        with self._between_updates() as mine:
            variant = installed.lighter() if wanted else installed
            if not mine or variant is None:
                return False
            if wanted:
                variant.verify()
                self._check_agreement(variant)
            self._take_up(variant)
            self._is_lighter = wanted
            return True

    @contextmanager
    def _between_updates(self) -> Iterator[bool]:
        mine = self._exchange.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._exchange.release()

    def _check_agreement(self, installed: Installed) -> None:
        agreement = self.reference_agreement(installed)
        if agreement is None:
            return
        recorded = installed.variant().reference_agreement
        look = ReferenceLook(agreement=agreement, recorded=1.0 if recorded is None else recorded)
        result = judge(ProbePolicy(), look, None, None)
        if not result.passed:
            raise UpdateFault("probe_failed", "the lighter variant is not what was packed", found=str(result.reasons))

    def _take_up(self, installed: Installed | None) -> None:
        record = installed.record if installed else None
        if record == self._running:
            return
        model = self._loaded(installed) if installed else None
        try:
            old = self._pipeline.replace_model(None)
        except MienError as error:
            self._running = None
            raise _unusable("could not exchange the engine", error) from error
        if old is not None:
            self._recorder.close_window(old, forget=True)
        self._pipeline.replace_model(model)
        self._running = record
        if old is not None:
            old.engine.close()
        _log.info("running %s", f"{model.release} {model.precision} on {model.runtime}" if model else "no release")

    def watch(self, policy: ProbePolicy) -> LiveFigures:
        """Look at live frames for as long as the policy says, longer when they come slowly; not without a camera."""
        self._cancel.wait(self._settle_s)
        self._look.take()
        started_s, was_reduced = time.monotonic(), self._is_reduced
        errors_before, arrived_before = self._pipeline.model_errors, self._arrived()
        while not self._cancel.wait(_STEP_S):
            passed_s = time.monotonic() - started_s
            if passed_s >= policy.live_seconds and self._look.frames >= policy.min_live_frames:
                break
            if passed_s >= policy.live_seconds * _LONGEST_LOOK or self._pipeline.model_errors > errors_before:
                break
            if self.cameras_away():
                break
        if self._cancel.is_set():
            raise UpdateCancelled
        # where calls fail or hang, no frame arrives either, and that is the engine's doing
        engine_works = self._pipeline.model_errors == errors_before and self._pipeline.engine_busy_s < _BUSY_S
        silent = silent_cameras(arrived_before, self._arrived()) if engine_works else ()
        figures = self._figures_of(self._look.take())
        return replace(
            figures,
            cameras_away=tuple(dict.fromkeys((*self.cameras_away(), *silent))),
            is_reduced=was_reduced or self._is_reduced,
        )

    def _arrived(self) -> dict[str, int]:
        """Frames that each camera has given."""
        return {count.name: count.finished + count.dropped for count in self._pipeline.counts()}

    def _figures_of(self, tally: FrameTally) -> LiveFigures:
        latency = tally.latency_ms[:, -1]
        return LiveFigures(
            frames=tally.frames,
            fps=tally.frames / tally.seconds if tally.seconds else 0.0,
            latency_p95_ms=float(np.percentile(latency, 95)) if len(latency) else None,
            power_w=mean_power_w(self._power.since(tally.started_at_s)),
            detections=tally.detections,
            confidence_mean=tally.confidence_mean,
        )

    def switched(self) -> None:
        """The active slot changed."""
        self._on_switch()

    def _opened(self, installed: Installed) -> Engine:
        record = installed.record
        graph = installed.variant().sha256 if record.built or record.taken else None
        return open_engine(
            installed.engine_path,
            record.runtime,
            threads=self._threads,
            graph_sha256=graph,
            calls_at_once=self._calls_at_once,
        )

    def _loaded(self, installed: Installed) -> LoadedModel:
        try:
            manifest = installed.manifest()
            engine = self._opened(installed)
        except MienError as error:
            raise _unusable(f"the engine of {installed.release} cannot be opened", error) from error
        return LoadedModel.of(manifest, installed.record.precision, installed.record.runtime, engine)


def silent_cameras(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the cameras that gave no frame between two counts: a dead link shows long before it counts as lost."""
    return tuple(name for name, count in after.items() if count <= before.get(name, 0))


def agreement_with_reference(engine: Engine, reference: Path, outputs: OutputSpec) -> float:
    """Share of all reference detections that the engine reproduces, 0..1; 1 when there are none.

    Raises:
        MienError: the reference cannot be read, or the engine fails on it.
    """
    matched = total = 0
    for reference_frame in read_reference(reference):
        frame = reference_frame.frame
        height, width = frame.shape[:2]
        found = decode(infer_one(engine, frame), outputs, Geometry.identity(width, height))
        hits, wanted = agreement(reference_frame.detections, found)
        matched, total = matched + hits, total + wanted
    return matched / total if total else 1.0


def _unusable(what: str, error: MienError) -> UpdateFault:
    return UpdateFault("build_failed", what, found=str(error)[:500], remedy="publish a release that fits this device")
