"""From the engine's raw answer to detections in a frame's own pixels. Pure."""

from __future__ import annotations

from edge.engine.interface import RawOutput
from edge.vision.detections import Detections
from edge.vision.letterbox import Geometry
from edge.vision.nms import non_max_suppression
from mien.release import OutputSpec


def decode(raw: RawOutput, outputs: OutputSpec, geometry: Geometry, *, index: int = 0) -> Detections:
    """Suppress doubles and bring the boxes back into the source frame.

    Args:
        raw: what the engine answered for a batch.
        outputs: the release's thresholds.
        geometry: of the frame, as the letterbox gave it.
        index: the frame's place in the batch.
    """
    found = non_max_suppression(
        raw.boxes[index],
        raw.scores[index],
        raw.classes[index],
        score_threshold=outputs.score_threshold,
        iou_threshold=outputs.iou_threshold,
    )
    return Detections(boxes=geometry.to_source(found.boxes), scores=found.scores, classes=found.classes)
