"""What ``bench/runtime.py`` measures, each as a process of its own: ``runtime_sides.py NAME '{"argument": …}'``.

Each prints one JSON object and ends. A rate is taken from the last frame of the warm-up to the last frame of all.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge.camera.file import VideoFile
from edge.camera.memory import MemoryCamera
from edge.config import ApiSettings, PowerSettings, TelemetrySettings
from edge.engine.chooser import open_engine
from edge.engine.interface import EngineInfo, RawOutput
from edge.engine.parallel import ParallelEngine
from edge.pipeline.meter import FrameMeter
from edge.pipeline.model import LoadedModel, Result, Source
from edge.pipeline.pipeline import Pipeline
from mien.release import InputSpec, OutputSpec, ReleaseRef

WARM_UP = 20
LABELS = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")


class Stopwatch:
    """A sink that takes the rate after the warm-up, and may end the process's part early."""

    def __init__(self, on_frame: Callable[[int], None] = lambda _: None) -> None:
        self.frames = 0
        self._on_frame = on_frame
        self._began_s = self._ended_s = 0.0

    def accept(self, _: Result) -> None:
        """Count."""
        self.frames += 1
        self._ended_s = time.perf_counter()
        if self.frames == WARM_UP:
            self._began_s = self._ended_s
        self._on_frame(self.frames)

    def close(self) -> None:
        """Nothing to end."""

    @property
    def fps(self) -> float:
        """Frames a second after the warm-up."""
        return (self.frames - WARM_UP) / (self._ended_s - self._began_s)


class PlainEngine:
    """Ultralytics' own ONNX export behind mien's engine port: the very file that the peer runs."""

    def __init__(self, path: Path, *, side: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.info = EngineInfo(
            runtime="onnxruntime",
            runtime_version=ort.__version__,
            precision=None,
            path=path,
            input_shape=(1, side, side, 3),
            top_k=0,
            threads=1,
        )

    def infer(self, frames: np.ndarray) -> RawOutput:
        """Preprocess, run, and keep what is above the threshold of use."""
        pixels = cv2.dnn.blobFromImage(frames[0], 1 / 255, swapRB=True)
        table = self._session.run(None, {self._input: pixels})[0][0]
        scores = table[4:].max(axis=0)
        strong = np.flatnonzero(scores > 0.25)  # noqa: PLR2004 - the threshold of use
        found = table[:, strong].T
        centre, half = found[:, :2], found[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
        classes = found[:, 4:].argmax(axis=1).astype(np.int32)
        return RawOutput(boxes=boxes[None], scores=scores[strong][None], classes=classes[None])

    def close(self) -> None:
        """Free the session."""
        self._session = None


class Clocked:
    """An engine whose calls are timed by the processor time of their thread."""

    def __init__(self, engine: Any) -> None:  # noqa: ANN401 - any engine
        self._engine = engine
        self.info = engine.info
        self.spent_s = 0.0

    def infer(self, frames: np.ndarray) -> RawOutput:
        """Run and count."""
        began_s = time.thread_time()
        answer: RawOutput = self._engine.infer(frames)
        self.spent_s += time.thread_time() - began_s
        return answer

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def ours(*, model: str, video: str, frames: int, side: int, threads: int, plain: bool = False) -> dict[str, Any]:
    """Mien's pipeline on a video: as ``mien edge run --bundle`` runs files, each thread on a frame of its own."""
    engine = (
        ParallelEngine(PlainEngine(Path(model), side=side), calls_at_once=threads)
        if plain
        else open_engine(Path(model), "onnxruntime", calls_at_once=threads)
    )
    watch, meter = Stopwatch(), FrameMeter()
    _run(engine, side, VideoFile(Path(video), loop=True), frames, watch, meter)
    tally = meter.take()
    return {"fps": watch.fps, "detections": tally.detections / watch.frames, "rss_mb": _peak_mb()}


def theirs(*, model: str, video: str, frames: int, side: int) -> dict[str, Any]:
    """Ultralytics' ``predict(stream=True)`` on a video, with its own defaults."""
    count = detections = 0
    began_s = ended_s = 0.0
    network = _yolo()(model, task="detect")
    while count < frames:
        for result in network.predict(source=video, stream=True, imgsz=side, verbose=False):
            count += 1
            detections += len(result.boxes)
            ended_s = time.perf_counter()
            if count == WARM_UP:
                began_s = ended_s
            if count == frames:
                break
    return {
        "fps": (count - WARM_UP) / (ended_s - began_s),
        "detections": detections / count,
        "rss_mb": _peak_mb(),
    }


def their_first(*, model: str, video: str, side: int) -> dict[str, Any]:
    """Ultralytics up to its first result."""
    next(iter(_yolo()(model, task="detect").predict(source=video, stream=True, imgsz=side, verbose=False)))
    return {"at": time.time()}


def bare(*, model: str, frames: int) -> dict[str, Any]:
    """``session.run`` in a loop on one thread, on a frame that does not change."""
    import onnxruntime as ort

    with open_engine(Path(model), "onnxruntime", 1) as engine:
        session = engine._session  # type: ignore[attr-defined]  # noqa: SLF001 - the very session that the engine opened
        shape = engine.info.input_shape
        block = np.full(shape, 114, np.uint8)
        names = [output.name for output in session.get_outputs()]
        for _ in range(WARM_UP):
            session.run(names, {"frames": block})
        began_s = time.perf_counter()
        for _ in range(frames):
            session.run(names, {"frames": block})
        return {"fps": frames / (time.perf_counter() - began_s), "onnxruntime": ort.__version__}


def outside(*, model: str, video: str, frames: int, side: int) -> dict[str, Any]:
    """Processor time a frame outside engine and decoder: frames lie decoded in memory, the engine's thread is timed."""
    film, images = VideoFile(Path(video)), []
    while len(images) < 30:  # noqa: PLR2004 - 80 MB of 720p
        frame = film.read()
        if frame is None:
            break
        images.append(frame.image)
    film.close()
    engine = Clocked(open_engine(Path(model), "onnxruntime", 1))
    marks: dict[str, float] = {}

    def mark(count: int) -> None:
        if count in {WARM_UP, frames}:
            name = "began" if count == WARM_UP else "ended"
            marks[name], marks[f"engine {name}"] = time.process_time(), engine.spent_s

    _run(engine, side, MemoryCamera(images, frames=frames), frames, Stopwatch(mark), FrameMeter())
    spent_s = marks["ended"] - marks["began"] - (marks["engine ended"] - marks["engine began"])
    return {"ms": spent_s / (frames - WARM_UP) * 1e3}


def watched(*, model: str, video: str, frames: int, side: int, telemetry: bool) -> dict[str, Any]:
    """The pipeline alone, or with all that a device adds: windows, spool, power readings, API that is asked."""
    watch, meter = Stopwatch(), FrameMeter()
    engine = open_engine(Path(model), "onnxruntime", 1)
    camera = VideoFile(Path(video), loop=True)
    if not telemetry:
        _run(engine, side, camera, frames, watch)
        return {"fps": watch.fps}
    with tempfile.TemporaryDirectory() as folder:
        _run(engine, side, camera, frames, watch, meter, around=lambda *one: _device_around(*one, meter, Path(folder)))
    return {"fps": watch.fps}


def lasting(*, model: str, side: int, early: int, late: int) -> dict[str, Any]:
    """Resident memory after few and after many frames, with windows, spool and API running.

    Frames go through the tiny graph a hundred times faster than they come in the field, so windows are as short as they
    may be and the API is asked five times a second. Even so, a device stores a window for fewer frames than here.
    """
    images = [np.full((48, 64, 3), level, np.uint8) for level in range(0, 256, 8)]
    seen: dict[str, float] = {}

    def mark(count: int) -> None:
        if count in {early, late}:
            seen["early" if count == early else "late"] = _resident_mb()

    meter = FrameMeter()
    engine = open_engine(Path(model), "onnxruntime", 1)
    with tempfile.TemporaryDirectory() as folder:
        around = lambda *one: _device_around(*one, meter, Path(folder), window_s=0.5, asked_each_s=0.2)  # noqa: E731
        _run(engine, side, MemoryCamera(images, frames=late), late, Stopwatch(mark), meter, around=around)
    return {"early_mb": seen["early"], "late_mb": seen["late"]}


def _run(
    engine: Any,  # noqa: ANN401 - any engine
    side: int,
    camera: Any,  # noqa: ANN401 - any camera
    frames: int,
    *sinks: Any,  # noqa: ANN401 - any sink
    around: Callable[[Pipeline, Source], Callable[[], None]] = lambda *_: lambda: None,
) -> None:
    cv2.setNumThreads(1)
    model = LoadedModel(
        release=ReleaseRef(name="bench", version="1.0.0"),
        precision="fp32",
        runtime="onnxruntime",
        labels=LABELS,
        input=InputSpec(width=side, height=side),
        outputs=OutputSpec(top_k=max(engine.info.top_k, 1)),
        engine=engine,
    )
    source = Source(name="camera", camera=camera)
    pipeline = Pipeline([source], sinks=sinks, wanted_frames=frames)
    pipeline.replace_model(model)
    end = around(pipeline, source)
    pipeline.start()
    pipeline.wait()
    end()
    pipeline.stop()
    engine.close()
    if pipeline.error or pipeline.last_model_error:
        raise SystemExit(str(pipeline.error or pipeline.last_model_error))


def _device_around(
    pipeline: Pipeline,
    source: Source,
    meter: FrameMeter,
    folder: Path,
    *,
    window_s: float = TelemetrySettings().window_s,
    asked_each_s: float = 1.0,
) -> Callable[[], None]:
    """Start what a device runs beside its pipeline; the way to end it."""
    from urllib.request import urlopen

    from edge.api.port import PipelinePort, cameras_of, pulse_of
    from edge.api.server import LocalApi
    from edge.api.state import DeviceState
    from edge.power.chooser import open_power
    from edge.power.sampler import PowerSampler
    from edge.telemetry.recorder import Recorder
    from edge.telemetry.spool import Spool

    power = PowerSampler(open_power(PowerSettings().source), interval_s=1.0)
    spool = Spool(folder / "spool.sqlite")
    state = DeviceState(device_id="bench", model=PipelinePort(pipeline))
    state.cameras = lambda: cameras_of(pipeline, [source])
    state.pulse = lambda: pulse_of(pipeline, power, [source])
    recorder = Recorder(
        meter=meter,
        power=power,
        spool=spool,
        window_s=window_s,
        boot_id="bench",
        model=lambda: pipeline.model,
        dropped=pipeline.take_dropped,
        stored=state.add_window,
    )
    api = LocalApi(ApiSettings(enabled=True, port=0), state)
    stopping = threading.Event()

    answers: list[int] = []

    def ask() -> None:
        while not stopping.wait(asked_each_s):
            with urlopen(f"http://127.0.0.1:{api.port}/metrics") as answer:
                answers.append(len(answer.read()))

    asker = threading.Thread(target=ask, daemon=True)
    power.start()
    recorder.start()
    api.start()
    asker.start()

    def end() -> None:
        stopping.set()
        asker.join()
        if not answers:
            raise SystemExit("the local API gave no metrics")
        api.close()
        recorder.close()
        power.close()
        spool.close()

    return end


def _yolo() -> Any:  # noqa: ANN401 - ultralytics' class
    """Ultralytics as it is, with torchvision's ``nms`` supplied where this machine's build lacks it."""
    from optimize.torch_runtime import ensure_nms

    ensure_nms()
    from ultralytics import YOLO

    return YOLO


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


SIDES: dict[str, Callable[..., dict[str, Any]]] = {
    side.__name__: side for side in (ours, theirs, their_first, bare, outside, watched, lasting)
}

if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(SIDES[sys.argv[1]](**json.loads(sys.argv[2]))) + "\n")
