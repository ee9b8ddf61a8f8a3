"""Mean average precision against the reference implementation, pycocotools."""

import contextlib
import io

import numpy as np
import pytest

from edge.vision.detections import Detections
from optimize.evaluate.coco import Truth, mean_average_precision

CLASSES = 4


def scenes(seed, images=60):
    """Random truths, and detections that hit them loosely, miss some, double some and invent some."""
    dice = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(images):
        count = int(dice.integers(0, 6))
        corner, size = dice.uniform(0, 200, (count, 2)), dice.uniform(10, 90, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        classes = dice.integers(0, CLASSES, count)
        hits = np.repeat(np.arange(count), dice.integers(0, 3, count))
        loose = boxes[hits] + dice.normal(scale=dice.uniform(0, 12), size=(len(hits), 4))
        loose = np.concatenate([np.minimum(loose[:, :2], loose[:, 2:] - 1), loose[:, 2:]], axis=1)
        alarms = int(dice.integers(0, 4))
        wild = dice.uniform(0, 200, (alarms, 2))
        all_boxes = np.concatenate([loose, np.concatenate([wild, wild + 40], axis=1)])
        labels = np.concatenate([classes[hits], dice.integers(0, CLASSES, alarms)])
        swap = dice.random(len(labels)) < 0.1
        labels = np.where(swap, dice.integers(0, CLASSES, len(labels)), labels)
        scores = dice.permutation(len(labels) * 7 + 1)[: len(labels)] / (len(labels) * 7 + 1) + dice.random() * 1e-3
        order = np.argsort(-scores, kind="stable")
        found.append(
            Detections(
                boxes=all_boxes[order].astype(np.float32),
                scores=scores[order].astype(np.float32),
                classes=labels[order].astype(np.int32),
            )
        )
        truths.append(Truth(boxes=boxes.astype(np.float32), classes=classes.astype(np.int32)))
    return found, truths


def reference(found, truths):
    """mAP50-95, mAP50 and the mean of each class as pycocotools counts them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels, answers = [], []
    for image, (one, truth) in enumerate(zip(found, truths, strict=True), start=1):
        for box, name in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True):
            sides = [box[2] - box[0], box[3] - box[1]]
            labels.append(
                {
                    "id": len(labels) + 1,
                    "image_id": image,
                    "category_id": name + 1,
                    "bbox": [*box[:2], *sides],
                    "area": sides[0] * sides[1],
                    "iscrowd": 0,
                }
            )
        for box, score, name in zip(one.boxes.tolist(), one.scores.tolist(), one.classes.tolist(), strict=True):
            sides = [box[2] - box[0], box[3] - box[1]]
            answers.append({"image_id": image, "category_id": name + 1, "bbox": [*box[:2], *sides], "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(found) + 1)],
            "annotations": labels,
            "categories": [{"id": name + 1, "name": str(name)} for name in range(CLASSES)],
        }
        truth_set.createIndex()
        evaluation = COCOeval(truth_set, truth_set.loadRes(answers), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    table = evaluation.eval["precision"][:, :, :, 0, 2]
    return evaluation.stats[0], evaluation.stats[1], [float(table[:, :, name].mean()) for name in range(CLASSES)]


@pytest.mark.parametrize("seed", range(4))
def test_same_precision_as_pycocotools(seed):
    """All three figures agree to a thousandth on random scenes."""
    found, truths = scenes(seed)
    ours = mean_average_precision(found, truths, CLASSES)
    overall, at_half, per_class = reference(found, truths)
    assert 0.05 < overall < 0.95, "scenes that are all right or all wrong prove nothing"
    assert ours.map50_95 == pytest.approx(overall, abs=1e-3)
    assert ours.map50 == pytest.approx(at_half, abs=1e-3)
    assert [ours.per_class[name] for name in range(CLASSES)] == pytest.approx(per_class, abs=1e-3)
