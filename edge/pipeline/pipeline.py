"""Runs the frames of one or more cameras through one model: capture → letterbox → infer → decode, each in its thread.

A live camera feeds a lane where the latest frame wins; a file feeds one that loses none. The letterbox takes frames
only once it has a free input buffer, and there are few: so a frame waits for at most one inference, and no work is done
for a frame that will be dropped. Buffers are made with the model and used over and over. The model can be exchanged
between two frames while the cameras keep running.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from edge.engine.interface import RawOutput
from edge.faces.interface import EndedFace, Faces
from edge.pipeline.batching import LATENCY_FIRST, Batching
from edge.pipeline.intake import Intake, Taken
from edge.pipeline.model import STAGES, LoadedModel, Result, Sink, Source, SourceCount
from edge.pipeline.pacing import FrameRate
from edge.pipeline.seat import Job, Passenger, Seat
from edge.pipeline.slots import BoundedQueue, EndOfStream
from edge.vision.decode import decode
from edge.vision.detections import Detections
from mien.errors import InternalError, MienError, UnavailableError

_log = logging.getLogger(__name__)

_DRAIN_S = 30.0

Pixels = npt.NDArray[np.uint8]


class Pipeline:
    """Cameras, a model that can be exchanged, and sinks.

    Args:
        sources: the cameras; each is read by a thread of its own and closed by :meth:`stop`.
        sinks: take every result, in order.
        batching: how frames of several cameras share calls of the engine.
        wanted_frames: end after so many frames were read from each camera.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        sinks: Sequence[Sink],
        batching: Batching = LATENCY_FIRST,
        wanted_frames: int | None = None,
    ) -> None:
        self._sources = tuple(sources)
        self._sinks = tuple(sinks)
        self._rates = [FrameRate(source.max_fps) for source in self._sources]
        self._wanted_frames = wanted_frames
        self._intake = Intake([source.camera.live for source in self._sources], batching=batching)
        self._inputs: BoundedQueue[Job] = BoundedQueue(2)
        self._outputs: BoundedQueue[Job] = BoundedQueue(2)
        self._seats = threading.Condition()
        self._seat: Seat | None = None
        self._labels: dict[int, tuple[str, ...]] = {}
        self._finished = [0] * len(self._sources)
        self._sizes: list[tuple[int, int] | None] = [None] * len(self._sources)
        self._spent_ms = [0.0] * len(STAGES)
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._is_stopped = False
        self._threads: list[threading.Thread] = []
        self.error: BaseException | None = None
        """What ended the pipeline, when it was not the end of its sources."""
        self.camera_errors: dict[str, MienError] = {}
        """Cameras that went away for good while others go on."""
        self.finished_frames = 0
        """Frames that went through the model and all sinks since the start."""
        self.bad_frames = 0
        """Frames that could not be laid into the model's input: empty, or no picture."""
        self.model_errors = 0
        self.model_errors_in_a_row = 0
        self.last_model_error: MienError | None = None

    @property
    def model(self) -> LoadedModel | None:
        """The model which the next frame goes through."""
        with self._seats:
            return self._seat.model if self._seat else None

    @property
    def engine_busy_s(self) -> float:
        """How long the engine's call under way has taken so far; 0 between calls."""
        seat = self._seat
        return seat.inference.busy_s if seat else 0.0

    @property
    def cameras_away(self) -> tuple[str, ...]:
        """Names of the cameras that are lost and being opened again, or gone for good."""
        return tuple(
            source.name for source in self._sources if source.name in self.camera_errors or source.camera.is_away
        )

    @property
    def camera_is_away(self) -> bool:
        """Whether no camera is there."""
        return len(self.cameras_away) == len(self._sources)

    def start(self) -> None:
        """Start the threads."""
        for lane, source in enumerate(self._sources):
            self._begin(f"capture {source.name}", lambda lane=lane: self._capture(lane), lambda: None)  # type: ignore[misc]
        for name, body, last in (
            ("letterbox", self._prepare, self._inputs.finish),
            ("infer", self._infer, self._outputs.finish),
            ("decode", self._decode, self._ended.set),
        ):
            self._begin(name, body, last)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of all sources; whether it came."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """Stop all threads, close the cameras and the sinks. Frames on their way are finished first.

        A second time does nothing. A sink that cannot be closed ends no other; its error is kept.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        self._stop_soon()
        for source in self._sources:
            source.camera.close()
        end_s = time.monotonic() + _DRAIN_S
        for thread in self._threads:
            thread.join(timeout=max(end_s - time.monotonic(), 0.0))
        for sink in self._sinks:
            self._close(sink)

    def set_rate(self, factor: float) -> None:
        """Take this share of the live cameras' frames, 0..1, within their own rates."""
        for rate in self._rates:
            rate.factor = factor

    def infer_aside(self, frames: Pixels) -> RawOutput:
        """Run letterboxed frames ``uint8[N, H, W, 3]`` for somebody else; from any thread.

        Raises:
            EngineError: wrong shape or type, or the engine failed.
            UnavailableError: no model runs, or the engine is held up.
        """
        with self._seats:
            seat = self._seat
            if seat is None:
                raise UnavailableError("no model runs", remedy="wait for the release that the fleet wants")
            seat.guests += 1
        try:
            return seat.inference.infer_aside(frames)
        finally:
            with self._seats:
                seat.guests -= 1
                self._seats.notify_all()

    def replace_model(self, model: LoadedModel | None) -> LoadedModel | None:
        """Exchange the model: the next frame goes through ``model``; with ``None``, frames wait or are let go.

        Returns:
            The old model, once no frame is on its way through it. The caller closes its engine.

        Raises:
            InternalError: the old engine did not finish its frames in time; it must not be closed.
        """
        seat = Seat.of(model) if model else None
        with self._seats:
            old, self._seat = self._seat, seat
            self.model_errors_in_a_row = 0
            self._seats.notify_all()
            if old is None:
                return None
            if not self._seats.wait_for(lambda: old.is_idle or self._ended.is_set(), _DRAIN_S):
                raise InternalError("the engine that was to be replaced does not finish its frames")
        return old.model

    def counts(self) -> tuple[SourceCount, ...]:
        """What came of each camera's frames since the start."""
        dropped = self._intake.dropped
        return tuple(
            SourceCount(name=source.name, finished=finished, dropped=lost, size=size)
            for source, finished, lost, size in zip(self._sources, self._finished, dropped, self._sizes, strict=True)
        )

    def stage_seconds(self) -> dict[str, float]:
        """Time that frames spent in each stage since the start."""
        return {stage: spent_ms / 1e3 for stage, spent_ms in zip(STAGES, self._spent_ms, strict=True)}

    def take_dropped(self) -> int:
        """Frames of live cameras that were let go for newer ones since the last call."""
        return sum(self._intake.take_dropped())

    def _begin(self, name: str, body: Callable[[], None], last: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._supervise, args=(name, body, last), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _stop_soon(self) -> None:
        self._stopping.set()
        with self._seats:
            self._seats.notify_all()
        self._intake.finish_all()

    def _close(self, sink: Sink) -> None:
        try:
            sink.close()
        except MienError as error:
            self.error = self.error or error

    def _supervise(self, name: str, body: Callable[[], None], last: Callable[[], None]) -> None:
        """Supervisor of one thread: an error is kept for the owner, who tells it, and the end is passed on."""
        try:
            body()
        except EndOfStream:
            pass
        except Exception as error:  # noqa: BLE001 - a supervisor: no thread may end silently
            self.error = self.error or error
            if not isinstance(error, MienError):
                _log.error("the %s thread ended: %s", name, error, exc_info=True)
            self._stop_soon()
        finally:
            last()

    def _capture(self, lane: int) -> None:
        source = self._sources[lane]
        try:
            self._read_frames(lane, source)
        except MienError as error:
            with self._seats:
                is_last = len(self.camera_errors) + 1 == len(self._sources)
                self.camera_errors[source.name] = error
            if is_last:
                raise
            _log.error("camera %s is gone; the others go on: %s", source.name, error)
        finally:
            self._intake.finish(lane)

    def _read_frames(self, lane: int, source: Source) -> None:
        camera, rate, read = source.camera, self._rates[lane], 0
        while not self._stopping.is_set() and read != self._wanted_frames:
            frame = camera.read()
            if frame is None:
                return
            if camera.live and not rate.takes(frame.captured_at_s):
                continue
            read += 1
            self._intake.put(lane, frame)

    def _prepare(self) -> None:
        while True:
            self._free_seat()
            self._intake.wait()
            job = self._take_job()
            for taken in self._intake.take(job.seat.frames_a_call):
                self._board(job, taken)
            if job.passengers:
                self._inputs.put(job)
            else:
                self._give_back(job)

    def _board(self, job: Job, taken: Taken) -> None:
        lane, frame = taken
        started_s = time.monotonic()
        try:
            place = job.buffer[len(job.passengers)]
            geometry = job.seat.letterbox.apply(frame.image, place)
            luma = mean_luma(geometry.picture(place))
        except MienError as error:
            self._note_bad(frame.sequence, lane, error)
            return
        job.passengers.append(
            Passenger(
                lane=lane,
                frame=frame,
                geometry=geometry,
                luma=luma,
                capture_ms=(started_s - frame.captured_at_s) * 1e3,
                letterbox_ms=(time.monotonic() - started_s) * 1e3,
            )
        )

    def _infer(self) -> None:
        under_way: deque[Job] = deque()
        while True:
            job = self._inputs.get_now() if under_way else self._inputs.get()
            if job is not None:
                self._submit(job, under_way)
            if under_way and (job is None or len(under_way) >= job.seat.inference.depth):
                self._collect(under_way.popleft())

    def _submit(self, job: Job, under_way: deque[Job]) -> None:
        job.began_s = time.monotonic()
        try:
            job.ticket = job.seat.inference.submit(job.block)
        except MienError as error:
            self._note(error)
            self._outputs.put(job)
        else:
            under_way.append(job)

    def _collect(self, job: Job) -> None:
        try:
            job.raw = job.seat.inference.collect(job.ticket)
        except MienError as error:
            self._note(error)
        else:
            self.model_errors_in_a_row = 0
        job.infer_ms = (time.monotonic() - job.began_s) * 1e3
        self._outputs.put(job)

    def _decode(self) -> None:
        while True:
            job = self._outputs.get()
            try:
                if job.raw is not None:
                    for place, passenger in enumerate(job.passengers):
                        self._finish(job, place, passenger, job.raw)
            finally:
                self._give_back(job)

    def _finish(self, job: Job, place: int, passenger: Passenger, raw: RawOutput) -> None:
        started_s = time.monotonic()
        source, model, frame = self._sources[passenger.lane], job.seat.model, passenger.frame
        detections = decode(raw, model.outputs, passenger.geometry, index=place)
        faces = self._tracked(source, passenger, model.labels, detections)
        ended_s = time.monotonic()
        result = Result(
            source=source.name,
            frame=frame,
            model=model,
            detections=detections,
            faces=faces,
            stages_ms=(
                passenger.capture_ms,
                passenger.letterbox_ms,
                job.infer_ms,
                (ended_s - started_s) * 1e3,
                (ended_s - frame.captured_at_s) * 1e3,
            ),
            luma=passenger.luma,
        )
        for sink in self._sinks:
            sink.accept(result)
        self._count(passenger, result)

    def _count(self, passenger: Passenger, result: Result) -> None:
        lane, image = passenger.lane, result.frame.image
        self._finished[lane] += 1
        self._sizes[lane] = (image.shape[1], image.shape[0])
        for stage, spent_ms in enumerate(result.stages_ms):
            self._spent_ms[stage] += spent_ms
        self.finished_frames += 1

    def _tracked(
        self, source: Source, passenger: Passenger, labels: tuple[str, ...], detections: Detections
    ) -> Faces | None:
        tracker, frame = source.tracker, passenger.frame
        if tracker is None:
            return None
        ended: tuple[EndedFace, ...] = ()
        if self._labels.setdefault(passenger.lane, labels) != labels:
            self._labels[passenger.lane] = labels
            ended = tracker.restart()
        at_s = frame.captured_at_s if source.frame_s is None else frame.sequence * source.frame_s
        faces = tracker.update(detections, at_s)
        return replace(faces, ended=ended + faces.ended) if ended else faces

    def _free_seat(self) -> Seat:
        """Wait for a model with a free buffer. Call with or without the condition held."""
        with self._seats:
            self._seats.wait_for(lambda: self._stopping.is_set() or (self._seat is not None and bool(self._seat.free)))
            if self._seat is None or not self._seat.free:
                raise EndOfStream
            return self._seat

    def _take_job(self) -> Job:
        with self._seats:
            return self._free_seat().free.pop()

    def _give_back(self, job: Job) -> None:
        job.clear()
        with self._seats:
            job.seat.free.append(job)
            self._seats.notify_all()

    def _note(self, error: MienError) -> None:
        if self.model_errors_in_a_row == 0:
            _log.error("the engine failed on a frame: %s", error)
        self.model_errors += 1
        self.model_errors_in_a_row += 1
        self.last_model_error = error

    def _note_bad(self, sequence: int, lane: int, error: MienError) -> None:
        if self.bad_frames == 0:
            _log.error("frame %d of %s is let go: %s", sequence, self._sources[lane].name, error)
        self.bad_frames += 1


def mean_luma(picture: Pixels) -> float:
    """Mean brightness 0..255 of a ``uint8[H, W, 3]`` picture (ITU-R BT.601)."""
    blue, green, red, _ = cv2.mean(picture)
    return 0.114 * blue + 0.587 * green + 0.299 * red
