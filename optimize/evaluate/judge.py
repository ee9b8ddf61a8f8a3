"""Looks at graph files one after another and says what the gate says of all of them.

A file that is made anew (another way to INT8) is looked at again; the last look counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.engine.chooser import open_engine
from edge.vision.detections import Detections
from edge.vision.reference import ReferenceFrame
from mien.console import SILENT, Progress
from mien.release import Accuracy, GateResult, OutputSpec
from optimize.evaluate.coco import Precision, mean_average_precision
from optimize.evaluate.compare import above, compare
from optimize.evaluate.run import detect, engines_of, latencies_ms
from optimize.gate import GateLimits, Measured, gate
from optimize.images import Judged
from optimize.reference import choose_frames, reference_frame, reproduced
from optimize.variants import FP32, Made

_SWAPPED_IMAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """What was measured, of every graph that was looked at, and what the gate says."""

    measured: tuple[Measured, ...]
    objects: Mapping[str, int]
    """Labelled validation objects of each class."""
    gate: GateResult
    reference: tuple[ReferenceFrame, ...]
    found: Mapping[str, Sequence[Detections]]
    """Detections above the threshold of use, by variant path."""


class Judge:
    """Measures the files of a folder on the validation images. The FP32 graph is looked at first.

    Args:
        folder: holds the files.
        images: the validation images.
        outputs: the thresholds of use.
        labels: class names.
        limits: of the gate.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[Judged],
        outputs: OutputSpec,
        *,
        labels: Sequence[str],
        limits: GateLimits,
    ) -> None:
        self._folder = folder
        self._images = images
        self._outputs = outputs
        self._labels = labels
        self._limits = limits
        self._reference: tuple[ReferenceFrame, ...] = ()
        self._found: dict[str, list[Detections]] = {}
        self._measured: dict[str, Measured] = {}
        self._objects: dict[str, int] = {}

    def look(self, made: Made, *, progress: Progress = SILENT) -> None:
        """Run a file over the validation and reference images.

        Raises:
            EngineError: the file does not load or run.
        """
        path, threshold = self._folder / made.path, self._outputs.score_threshold
        with engines_of(path) as engines:
            everything = detect(engines, self._images, self._outputs, name=made.path, progress=progress)
            engine = engines[0]
            if made.path == FP32:
                chosen = choose_frames(everything, threshold)
                frames = [self._images[index].frame for index in chosen]
                self._reference = tuple(reference_frame(engine, frame, self._outputs) for frame in frames)
            agreement = reproduced(engine, self._reference, self._outputs)
        self._found[made.path] = [above(one, threshold) for one in everything]
        truths = [image.truth for image in self._images]
        precision = mean_average_precision(everything, truths, len(self._labels))
        self._objects = {self._labels[index]: count for index, count in precision.objects.items()}
        self._measured[made.path] = Measured(
            path=made.path,
            precision=made.precision,
            accuracy=self._accuracy(made.path, precision),
            reference_agreement=agreement,
            size_bytes=path.stat().st_size,
            latency_ms=0.0,
            for_cpu="onnxruntime" in made.runtimes,
        )

    def gain_with_channels_swapped(self, path: Path, *, progress: Progress = SILENT) -> float:
        """How much higher a file's mAP50 is when red and blue change places, on some of the validation images."""
        images = self._images[:_SWAPPED_IMAGES]
        truths, scores = [image.truth for image in images], []
        with engines_of(path) as engines:
            for step in (1, -1):
                frames = [replace(image, frame=np.ascontiguousarray(image.frame[..., ::step])) for image in images]
                found = detect(engines, frames, self._outputs, name="channels", progress=progress)
                scores.append(mean_average_precision(found, truths, len(self._labels)).map50)
        return scores[1] - scores[0]

    def measure_latency(self, *, progress: Progress = SILENT) -> None:
        """Time all files that were looked at, in turns."""
        with ExitStack() as stack:
            engines = {
                path: stack.enter_context(open_engine(self._folder / path, "onnxruntime")) for path in self._measured
            }
            for path, spent in latencies_ms(engines, self._images, progress=progress).items():
                self._measured[path] = replace(self._measured[path], latency_ms=round(spent, 3))

    def judgement(self) -> Judgement:
        """What is known by now."""
        measured = tuple(self._measured.values())
        return Judgement(
            measured=measured,
            objects=self._objects,
            gate=gate(measured, self._limits, self._objects),
            reference=self._reference,
            found=self._found,
        )

    def _accuracy(self, path: str, precision: Precision) -> Accuracy:
        difference = compare(self._found[FP32], self._found[path])
        return Accuracy(
            images=len(self._images),
            map50=precision.map50,
            map50_95=precision.map50_95,
            per_class={self._labels[index]: value for index, value in precision.per_class.items()},
            mean_confidence=difference.mean_confidence,
            confidence_shift=difference.confidence_shift,
            changed_images=difference.changed_images,
        )
