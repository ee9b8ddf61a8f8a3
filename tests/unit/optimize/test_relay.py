"""Graphs that differ late are run from there, with the numbers of the whole graph."""

import numpy as np
import onnx
import pytest

from edge.engine.chooser import open_engine
from edge.engine.interface import PRECISION_KEY
from optimize.evaluate.relay import Relay
from tests.fakes.tiny_bundle import bright_square, tiny_graph


@pytest.fixture
def model():
    graph = tiny_graph()
    onnx.helper.set_model_props(graph, {PRECISION_KEY: "fp32"})
    return graph


def frames():
    return [np.ascontiguousarray(bright_square(*place)) for place in ((1, 0), (3, 2), (0, 3))]


def test_the_rest_of_a_graph_gives_what_the_whole_gives(model, tmp_path):
    """At every place before the first output, reached step by step, for every frame."""
    onnx.save(model, tmp_path / "m.onnx")
    shown = frames()
    relay = Relay(model, shown, workers=2)
    with open_engine(tmp_path / "m.onnx", "onnxruntime") as engine:
        wanted = [engine.infer(frame[None]) for frame in shown]
    first_output = next(index for index, node in enumerate(model.graph.node) if "scores" in node.output)
    for place in range(first_output + 1):
        relay.advance(place)
        infer = relay.finish(model)
        for index, whole in enumerate(wanted):
            part = infer(index)
            assert np.array_equal(part.boxes, whole.boxes)
            assert np.array_equal(part.scores, whole.scores)
            assert np.array_equal(part.classes, whole.classes)
