"""What a graph says of itself, read from its bytes."""

import onnx
import pytest

from edge.engine.metadata import metadata_of
from tests.fakes.tiny_bundle import tiny_graph

SAID = {"mien.max_batch": "8", "": "no key", "mien.labels": "Ärger, Überraschung", "long": "x" * 70_000}


def test_metadata_are_those_that_onnx_wrote():
    """Keys and values of any length and script come out as they went in, among the graph's megabytes."""
    model = tiny_graph(ballast=1 << 20)
    onnx.helper.set_model_props(model, SAID)
    assert metadata_of(model.SerializeToString()) == SAID


def test_graph_without_metadata_says_nothing():
    """No entry is no fault."""
    assert metadata_of(tiny_graph().SerializeToString()) == {}


def test_fields_of_every_kind_are_stepped_over():
    """Numbers of one, four and eight bytes before an entry do not hide it."""
    entry = bytes([14 << 3 | 2, 6]) + bytes([0x0A, 1]) + b"k" + bytes([0x12, 1]) + b"v"
    fields = bytes([0x08, 0xFF, 0x01]) + bytes([0x1D, 1, 2, 3, 4]) + bytes([0x19, 1, 2, 3, 4, 5, 6, 7, 8])
    assert metadata_of(fields + entry) == {"k": "v"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"not a graph",
        b"\x72",
        b"\x72\x7f",
        b"\x72" + b"\xff" * 12,
        b"\xff" * 4000,
        b"\x1d\x01",
        b"\x72\x02\x0a\x09",
    ],
)
def test_what_is_no_graph_says_nothing(content):
    """Garbage, a cut file and endless numbers end the reading and raise nothing."""
    assert not any(metadata_of(content).values())


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_cut_graph_is_read_as_far_as_it_goes(kept):
    """A file that lost its end raises nothing here."""
    model = tiny_graph()
    onnx.helper.set_model_props(model, {"mien.max_batch": "8"})
    content = model.SerializeToString()
    assert metadata_of(content[: int(len(content) * kept)]).get("mien.max_batch") in {None, "8"}
