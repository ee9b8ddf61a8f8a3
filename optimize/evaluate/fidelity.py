"""How true a quantised graph stays to FP32 on training images, and how well it finds what is labelled there.

This chooses between ways to INT8 without looking at the validation images, which only the gate may do. A few dozen
images say more with FP32's detections as the truth than with labels: every moved box counts, and chance counts less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edge.vision.detections import Detections
from mien.console import SILENT, Progress
from mien.errors import DataError
from mien.release import OutputSpec
from optimize.evaluate.coco import Truth, mean_average_precision
from optimize.evaluate.compare import above, compare
from optimize.evaluate.relay import Relay
from optimize.evaluate.run import Infer, decoded, detect, engines_of, workers
from optimize.images import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """A graph held against FP32."""

    map50_95: float
    """Of the graph's detections, with FP32's above the threshold of use as the truth; 1 for FP32 itself."""
    labelled: float
    """mAP50-95 of the graph's detections with the labels as the truth."""
    confidence_shift: float | None
    """Mean difference of the scores of detections that both show; ``None`` when they share none."""
    changed_images: int

    @property
    def loss(self) -> float:
        """What is lost, for ranking; see :func:`lost`."""
        return lost(self.map50_95, self.confidence_shift)


def lost(map50_95: float, confidence_shift: float | None) -> float:
    """Precision lost and confidence moved, added up; sharing no detection with FP32 counts as a shift of one."""
    return (1 - map50_95) + abs(1.0 if confidence_shift is None else confidence_shift)


class Witness:
    """FP32's findings on a few labelled images, against which other graphs are held.

    Args:
        model: the FP32 graph.
        images: in the model's input.
        outputs: the thresholds of use.
        class_count: of the model.
        progress: told about each image.
    """

    def __init__(
        self,
        model: Path,
        images: Sequence[Judged],
        outputs: OutputSpec,
        *,
        class_count: int,
        progress: Progress = SILENT,
    ) -> None:
        self._images = images
        self._outputs = outputs
        self._class_count = class_count
        everything = self._look(model, progress)
        self._labels = [one.truth for one in images]
        self._labelled = mean_average_precision(everything, self._labels, class_count).map50_95
        self._wanted = [above(one, outputs.score_threshold) for one in everything]
        self._truths = [Truth(boxes=one.boxes, classes=one.classes) for one in self._wanted]

    @property
    def frames(self) -> int:
        """So many frames were looked at."""
        return len(self._images)

    @property
    def labelled(self) -> float:
        """FP32's own mAP50-95 with the labels as the truth."""
        return self._labelled

    @property
    def blind(self) -> bool:
        """Whether FP32 finds nothing on them, so that nothing can be compared."""
        return not any(len(one) for one in self._wanted)

    def check_sees(self) -> None:
        """Refuse to compare where there is nothing to compare with.

        Raises:
            DataError: FP32 finds nothing on the frames.
        """
        if self.blind:
            raise DataError(
                "ways to INT8 cannot be compared on these images",
                found=f"the FP32 graph finds nothing in {self.frames} training images",
                wanted="images that show what the model was trained to find",
                remedy="train longer, or look at the training split: mien train data check",
            )

    def judge(self, graph: Path, progress: Progress = SILENT) -> Fidelity:
        """Hold a graph file against FP32.

        Raises:
            EngineError: the file does not load or run.
        """
        return self._weighed(self._look(graph, progress))

    def judge_inferred(self, infer: Infer) -> Fidelity:
        """Hold against FP32 whatever answers for the index of one of the images."""
        infers = [infer] * workers()
        return self._weighed(decoded(infers, self._images, self._outputs, name="a part of the graph"))

    def relay(self, model: onnx.ModelProto) -> Relay:
        """FP32's values on the images, from which graphs are run that differ from it late."""
        return Relay(model, [one.frame for one in self._images], workers())

    def _weighed(self, found: Sequence[Detections]) -> Fidelity:
        used = [above(one, self._outputs.score_threshold) for one in found]
        difference = compare(self._wanted, used)
        return Fidelity(
            map50_95=mean_average_precision(found, self._truths, self._class_count).map50_95,
            labelled=mean_average_precision(found, self._labels, self._class_count).map50_95,
            confidence_shift=difference.confidence_shift,
            changed_images=difference.changed_images,
        )

    def _look(self, graph: Path, progress: Progress) -> list[Detections]:
        with engines_of(graph) as engines:
            return detect(engines, self._images, self._outputs, name=graph.name, progress=progress)
