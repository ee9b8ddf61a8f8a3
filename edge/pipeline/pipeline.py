"""Runs frames through a model: capture → letterbox → infer → decode, one thread each.

A live camera feeds a slot where the latest frame wins; a file feeds a queue that loses none. The letterbox takes a
frame only once it has a free input buffer, and there are two: so a frame waits for at most one inference, and no work
is done for a frame that will be dropped. The model can be exchanged between two frames while the camera keeps running.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.camera.interface import Camera, Frame
from edge.engine.interface import RawOutput
from edge.pipeline.model import LoadedModel, Result, Sink
from edge.pipeline.slots import BoundedQueue, EndOfStream, LatestSlot
from edge.vision.decode import decode
from edge.vision.letterbox import Geometry, Letterbox
from mien.errors import InternalError, MienError

_log = logging.getLogger(__name__)

_BUFFERS = 2
_DRAIN_S = 30.0
_LUMA_STRIDE = 8
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # ITU-R BT.601, channels blue, green, red

Pixels = npt.NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class _Seat:
    """A model with its input buffers; a buffer that is not free is on its way through."""

    model: LoadedModel
    letterbox: Letterbox
    free: list[Pixels] = field(default_factory=list)

    @classmethod
    def of(cls, model: LoadedModel) -> _Seat:
        size = model.input
        shape = (1, size.height, size.width, 3)
        return cls(
            model=model,
            letterbox=Letterbox(size.width, size.height, size.pad_value),
            free=[np.empty(shape, np.uint8) for _ in range(_BUFFERS)],
        )


@dataclass(slots=True, eq=False)
class _Job:
    """One frame on its way."""

    frame: Frame
    seat: _Seat
    buffer: Pixels
    geometry: Geometry
    luma: float
    stages_ms: npt.NDArray[np.float32]
    raw: RawOutput | None = None


class Pipeline:
    """A camera, a model that can be exchanged, and sinks.

    Args:
        camera: read by the pipeline's own thread; closed by :meth:`stop`.
        sinks: take every result, in order.
        max_fps: a live camera's frames beyond this rate are let go.
        wanted_frames: end after this many frames were read.
    """

    def __init__(
        self,
        camera: Camera,
        *,
        sinks: Sequence[Sink],
        max_fps: float | None = None,
        wanted_frames: int | None = None,
    ) -> None:
        self._camera = camera
        self._sinks = tuple(sinks)
        self._least_gap_s = 0.9 / max_fps if max_fps else 0.0
        self._wanted_frames = wanted_frames
        self._latest: LatestSlot[Frame] = LatestSlot()
        self._frames = self._latest if camera.live else BoundedQueue[Frame](2)
        self._inputs: BoundedQueue[_Job] = BoundedQueue(_BUFFERS)
        self._outputs: BoundedQueue[_Job] = BoundedQueue(_BUFFERS)
        self._seats = threading.Condition()
        self._seat: _Seat | None = None
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.error: BaseException | None = None
        """What ended the pipeline, when it was not the end of the source."""
        self.finished_frames = 0
        """Frames that went through the model and all sinks since the start."""
        self.model_errors = 0
        self.last_model_error: MienError | None = None

    @property
    def model(self) -> LoadedModel | None:
        """The model which the next frame goes through."""
        with self._seats:
            return self._seat.model if self._seat else None

    @property
    def camera_is_away(self) -> bool:
        """Whether the camera is lost and being opened again."""
        return bool(getattr(self._camera, "is_away", False))

    def start(self) -> None:
        """Start the threads."""
        for name, body, last in (
            ("capture", self._capture, self._frames.finish),
            ("letterbox", self._prepare, self._inputs.finish),
            ("infer", self._infer, self._outputs.finish),
            ("decode", self._decode, self._ended.set),
        ):
            thread = threading.Thread(target=self._supervise, args=(name, body, last), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the source; whether it came."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """Stop all threads, close the camera and the sinks. Frames on their way are finished first."""
        self._stopping.set()
        with self._seats:
            self._seats.notify_all()
        self._camera.close()
        self._frames.finish()
        for thread in self._threads:
            thread.join(timeout=_DRAIN_S)
        for sink in self._sinks:
            sink.close()

    def replace_model(self, model: LoadedModel | None) -> LoadedModel | None:
        """Exchange the model: the next frame goes through ``model``; with ``None``, frames wait or are let go.

        Returns:
            The old model, once no frame is on its way through it. The caller closes its engine.

        Raises:
            InternalError: the old engine did not finish its frames in time; it must not be closed.
        """
        seat = _Seat.of(model) if model else None
        with self._seats:
            old, self._seat = self._seat, seat
            self._seats.notify_all()
            if old is None:
                return None
            if not self._seats.wait_for(lambda: len(old.free) == _BUFFERS or self._ended.is_set(), _DRAIN_S):
                raise InternalError("the engine that was to be replaced does not finish its frames")
        return old.model

    def take_dropped(self) -> int:
        """Frames of a live source that were let go for newer ones since the last call."""
        return self._latest.take_dropped()

    def _supervise(self, name: str, body: Callable[[], None], last: Callable[[], None]) -> None:
        """Supervisor of one thread: an error is kept and logged, and the end is passed on."""
        try:
            body()
        except EndOfStream:
            pass
        except Exception as error:  # noqa: BLE001 - a supervisor: no thread may end silently
            self.error = self.error or error
            _log.error("the %s thread ended: %s", name, error, exc_info=not isinstance(error, MienError))
            self._stopping.set()
            with self._seats:
                self._seats.notify_all()
            self._frames.finish()
        finally:
            last()

    def _capture(self) -> None:
        last_s, read = -1e9, 0
        while not self._stopping.is_set() and read != self._wanted_frames:
            frame = self._camera.read()
            if frame is None:
                return
            if self._camera.live and frame.captured_at_s - last_s < self._least_gap_s:
                continue
            last_s, read = frame.captured_at_s, read + 1
            self._frames.put(frame)

    def _prepare(self) -> None:
        while True:
            self._free_seat()
            frame = self._frames.get()
            seat, buffer = self._take_buffer()
            started_s = time.monotonic()
            geometry = seat.letterbox.apply(frame.image, buffer[0])
            stages_ms = np.zeros(5, np.float32)
            stages_ms[0] = (started_s - frame.captured_at_s) * 1e3
            job = _Job(frame, seat, buffer, geometry, mean_luma(frame.image), stages_ms)
            stages_ms[1] = (time.monotonic() - started_s) * 1e3
            self._inputs.put(job)

    def _infer(self) -> None:
        while True:
            job = self._inputs.get()
            started_s = time.monotonic()
            try:
                job.raw = job.seat.model.engine.infer(job.buffer)
            except MienError as error:
                self._note(error)
            job.stages_ms[2] = (time.monotonic() - started_s) * 1e3
            self._outputs.put(job)

    def _decode(self) -> None:
        while True:
            job = self._outputs.get()
            try:
                if job.raw is not None:
                    self._finish(job, job.raw)
            finally:
                self._give_back(job)

    def _finish(self, job: _Job, raw: RawOutput) -> None:
        started_s = time.monotonic()
        model = job.seat.model
        detections = decode(raw, model.outputs, job.geometry)
        ended_s = time.monotonic()
        job.stages_ms[3] = (ended_s - started_s) * 1e3
        job.stages_ms[4] = (ended_s - job.frame.captured_at_s) * 1e3
        result = Result(frame=job.frame, model=model, detections=detections, stages_ms=job.stages_ms, luma=job.luma)
        for sink in self._sinks:
            sink.accept(result)
        self.finished_frames += 1

    def _free_seat(self) -> _Seat:
        """Wait for a model with a free buffer. Call with or without the condition held."""
        with self._seats:
            self._seats.wait_for(lambda: self._stopping.is_set() or (self._seat is not None and bool(self._seat.free)))
            if self._seat is None or not self._seat.free:
                raise EndOfStream
            return self._seat

    def _take_buffer(self) -> tuple[_Seat, Pixels]:
        with self._seats:
            seat = self._free_seat()
            return seat, seat.free.pop()

    def _give_back(self, job: _Job) -> None:
        with self._seats:
            job.seat.free.append(job.buffer)
            self._seats.notify_all()

    def _note(self, error: MienError) -> None:
        if self.model_errors == 0:
            _log.error("the engine failed on a frame: %s", error)
        self.model_errors += 1
        self.last_model_error = error


def mean_luma(image: Pixels) -> float:
    """Mean brightness 0..255 of a ``uint8[H, W, 3]`` picture (BT.601), from every eighth pixel each way."""
    return float(image[::_LUMA_STRIDE, ::_LUMA_STRIDE].reshape(-1, 3).mean(axis=0, dtype=np.float32) @ _LUMA)
