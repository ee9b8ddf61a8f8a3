"""The exported graph with the device's code finds what ultralytics finds with the weights."""

import numpy as np
import pytest

from edge.engine.chooser import open_engine
from edge.vision.decode import decode
from edge.vision.letterbox import Letterbox
from mien.release import OutputSpec
from optimize.graph.export import export_fp32, graph_spec
from optimize.graph.weights import open_weights
from tests.integration.optimize.conftest import lively

CASES = [
    ("yolov8n.yaml", 3, (160, 160)),
    ("yolov8n.yaml", 1, (96, 160)),
    ("yolo11n.yaml", 8, (128, 128)),
    ("yolo11n.yaml", 80, (160, 96)),
    ("yolov8s.yaml", 2, (64, 64)),
]


def anchors(height, width):
    """So many boxes a model has at most, at its strides of 8, 16 and 32 pixels."""
    return sum((height // stride) * (width // stride) for stride in (8, 16, 32))


@pytest.mark.parametrize(("description", "classes", "size"), CASES)
def test_same_detections_as_ultralytics(tmp_path, photographs, description, classes, size):
    """On real photographs: the same detections, boxes within half a pixel, scores within 0.005."""
    from ultralytics import YOLO

    path = lively(description, classes=classes, path=tmp_path / "w.pt", size=size)
    weights = open_weights(path)
    spec = graph_spec(weights, "{}x{}".format(*size), anchors(*size))
    model = export_fp32(weights, spec, tmp_path / "model.onnx")
    outputs = OutputSpec(top_k=spec.top_k)
    letterbox, frame = Letterbox(spec.width, spec.height), np.empty((1, spec.height, spec.width, 3), np.uint8)
    total = 0
    with open_engine(model, "onnxruntime") as engine:
        for photo in photographs:
            geometry = letterbox.apply(photo, frame[0])
            found = decode(engine.infer(frame), outputs, geometry)
            result = YOLO(path)(photo, imgsz=(spec.height, spec.width), rect=False, conf=0.25, iou=0.7, verbose=False)
            boxes = result[0].boxes
            assert len(found) == len(boxes)
            order, wanted_order = np.lexsort(found.boxes.T), np.lexsort(boxes.xyxy.numpy().T)
            assert np.abs(found.boxes[order] - boxes.xyxy.numpy()[wanted_order]).max(initial=0) < 0.5
            assert np.abs(found.scores[order] - boxes.conf.numpy()[wanted_order]).max(initial=0) < 0.005
            assert (found.classes[order] == boxes.cls.numpy()[wanted_order]).all()
            total += len(found)
    assert total > 3, "the random detector finds too little for this test to say anything"


def test_few_boxes_are_the_best_of_many(tmp_path, weights, photographs):
    """A graph that gives ten boxes gives the ten best of one that gives all."""
    opened = open_weights(weights)
    frame = np.empty((1, 96, 96, 3), np.uint8)
    Letterbox(96, 96).apply(photographs[0], frame[0])
    answers = []
    for top_k in (10, anchors(96, 96)):
        model = export_fp32(opened, graph_spec(opened, "96", top_k), tmp_path / f"{top_k}.onnx")
        with open_engine(model, "onnxruntime") as engine:
            answers.append(engine.infer(frame))
    few, many = answers
    assert few.scores.shape == (1, 10)
    assert np.allclose(few.scores[0], many.scores[0, :10], atol=1e-6)
    assert np.allclose(few.boxes[0], many.boxes[0, :10], atol=1e-3)


def test_same_weights_same_bytes(tmp_path, weights):
    """The export depends on the weights alone."""
    opened = open_weights(weights)
    first, second = (export_fp32(opened, graph_spec(opened, "64", 50), tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
