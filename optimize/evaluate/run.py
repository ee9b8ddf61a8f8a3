"""Runs engines over the validation images and times them."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from edge.engine.chooser import open_engine
from edge.engine.interface import Engine, RawOutput
from edge.vision.decode import decode
from edge.vision.detections import Detections
from edge.vision.letterbox import Letterbox
from mien.console import SILENT, Progress
from mien.dataset import Dataset, read_labels
from mien.errors import DataError
from mien.release import OutputSpec
from optimize.graph.export import GraphSpec
from optimize.images import Framed, Judged, judged

EVALUATION_THRESHOLD = 0.001
"""Everything above this score is judged; precision curves need the weak detections too."""
Infer = Callable[[int], RawOutput]
"""What a graph gives for a frame, by the frame's index."""
_ROUNDS = 40
_MOST_NAMED = 3
_WARM_UP = 5


def check_labelled(dataset: Dataset) -> None:
    """Make sure, before any work, that there is something to find in the validation split.

    Raises:
        DataError: the split is missing or empty, or no image of it has a labelled object.
    """
    samples = dataset.split("val")
    if any(any(read_labels(sample.label, len(dataset.names))) for sample in samples):
        return
    missing = sorted({_shown(sample.label.parent, dataset) for sample in samples if not sample.label.parent.is_dir()})
    raise DataError(
        f"there is nothing to judge a model by in {dataset.yaml}",
        found=f"{len(samples)} validation images, 0 labelled objects"
        + (f" (no folder {', '.join(missing[:_MOST_NAMED])})" if missing else ""),
        wanted="a label file for each validation image that shows an object",
        remedy="put the label files there, or mend the line 'val' of the data set; see: mien train data check",
    )


def _shown(folder: Path, dataset: Dataset) -> str:
    root = dataset.yaml.parent.resolve()
    place = folder.resolve()
    return str(place.relative_to(root) if place.is_relative_to(root) else folder)


def validation_images(dataset: Dataset, spec: GraphSpec, *, progress: Progress = SILENT) -> tuple[Judged, ...]:
    """Read the validation split into memory, letterboxed.

    Raises:
        DataError: the split is missing or empty, or an image or label cannot be read.
    """
    samples = dataset.split("val")
    letterbox = Letterbox(spec.width, spec.height)
    progress.start("validation images", len(samples))
    images: list[Judged] = []
    for sample in samples:
        images.append(judged(sample, letterbox, spec.height, spec.width, len(dataset.names)))
        progress.advance()
    return tuple(images)


def detect(
    engines: Sequence[Engine],
    frames: Sequence[Framed],
    outputs: OutputSpec,
    *,
    name: str,
    progress: Progress = SILENT,
) -> list[Detections]:
    """Every image's detections above :data:`EVALUATION_THRESHOLD`, in its own pixels.

    Args:
        engines: of one file; each works through its share of the images in a thread of its own. One may stand
            there several times.
        frames: what to look at.
        outputs: thresholds of use, of which the overlap counts here.
        name: of the file, to be shown.
        progress: told about each image.
    """

    def infer_with(engine: Engine) -> Infer:
        return lambda index: engine.infer(frames[index].frame[None])

    return decoded([infer_with(engine) for engine in engines], frames, outputs, name=name, progress=progress)


def decoded(
    infers: Sequence[Infer],
    frames: Sequence[Framed],
    outputs: OutputSpec,
    *,
    name: str,
    progress: Progress = SILENT,
) -> list[Detections]:
    """The same of whatever answers for a frame's index; see :func:`detect`."""
    everything = outputs.model_copy(update={"score_threshold": EVALUATION_THRESHOLD})
    progress.start(f"judge {name}", len(frames))
    stop = threading.Event()

    def share(first: int) -> list[Detections]:
        found: list[Detections] = []
        for index in range(first, len(frames), len(infers)):
            if stop.is_set():
                break
            found.append(decode(infers[first](index), everything, frames[index].geometry))
            progress.advance()
        return found

    with ThreadPoolExecutor(len(infers)) as pool:
        try:
            shares = list(pool.map(share, range(len(infers))))
        finally:
            stop.set()  # an interrupt need not wait for every image
    return [shares[index % len(infers)][index // len(infers)] for index in range(len(frames))]


@contextmanager
def engines_of(path: Path) -> Iterator[list[Engine]]:
    """The engine of a file as often as there are cores, closed at the end.

    It is one session, opened once: onnxruntime guarantees that several threads may call it at a time
    (github.com/microsoft/onnxruntime/pull/19301).
    """
    with open_engine(path, "onnxruntime") as engine:
        yield [engine] * workers()


def workers() -> int:
    """So many engines work side by side: one for each core that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def latencies_ms(
    engines: Mapping[str, Engine], images: Sequence[Judged], *, progress: Progress = SILENT
) -> dict[str, float]:
    """Median time of one inference of each engine.

    The engines take turns, so that a busy moment of the machine falls on all of them.
    """
    spent: dict[str, list[float]] = {name: [] for name in engines}
    progress.start("latency", _WARM_UP + _ROUNDS)
    for turn in range(_WARM_UP + _ROUNDS):
        frame = images[turn % len(images)].frame[None]
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.infer(frame)
            spent[name].append((time.perf_counter() - started) * 1e3)
        progress.advance()
    return {name: statistics.median(times[_WARM_UP:]) for name, times in spent.items()}
