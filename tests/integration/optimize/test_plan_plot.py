"""The roofline of a plan, drawn with matplotlib."""

import pytest

from tests.fakes.optimize_command import answer
from tests.fakes.small_graph import write_convolution


@pytest.mark.parametrize(("name", "start"), [("roof.svg", b"<?xml"), ("roof.png", b"\x89PNG")])
def test_the_command_estimates_a_graph_and_draws_it(tmp_path, name, start):
    """Estimates are marked as such, and both formats are what their names say."""
    graph, picture = write_convolution(tmp_path / "small.onnx"), tmp_path / name
    said = answer("plan", "--target", "thor-t5000", "--model", graph, "--plot", picture)
    assert said["imgsz"] == "64x64"
    assert said["plot"] == str(picture)
    estimates = [one["estimate"] for one in said["outlook"]]
    assert [one["kind"] for one in estimates] == ["roofline (lower bound)"] * 3
    assert [one["scaled_ms"] for one in estimates] == [None] * 3
    assert picture.read_bytes().startswith(start)
