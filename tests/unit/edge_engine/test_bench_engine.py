"""The bench of engines: what it writes, and that it invents nothing where there is no GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.engine import WAYS, measured
from edge.engine.tensorrt import TensorRtBuilder
from mien.errors import ExitCode
from tests.fakes.fake_tensorrt import FakeCuda, FakeTensorRt, write_graph

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path):
    """An engine of TensorRT 10.3.0."""
    model = write_graph(tmp_path / "model.onnx", "fp16")
    return TensorRtBuilder(library=FakeTensorRt(10), cuda=FakeCuda).build(model, tmp_path / "engine")


def rows_of(path, cuda):
    return measured(path, "model.fp16.onnx", 0.01, library=FakeTensorRt(10), cuda=cuda)


def test_figures_say_what_they_are(path):
    """Every way has its rows, and each comparison a target that it meets or does not."""
    rows = rows_of(path, FakeCuda)
    assert {tuple(row) for row in rows} == {("figure", "value", "unit", "target", "met", "peer")}
    assert [row["unit"] for row in rows] == [
        "s",
        *(["ms", "ms", "ms", "frames/s", "%", "x"] * len(WAYS)),
        "x",
        "x",
        "x",
    ]
    for row in rows:
        assert (row["target"] is None) == (row["met"] is None)
        if row["unit"] == "%":
            assert row["met"] == (row["value"] <= row["target"])
        elif row["target"] is not None:
            assert row["met"] == (row["value"] >= row["target"]) or round(row["value"], 2) == row["target"]
    assert len({row["figure"] for row in rows}) == len(rows)


def test_every_way_is_what_its_name_says(path):
    """Copies are made in the ways called so and in no other, and graphs are launched in the ways that are not plain."""
    cudas = []

    def cuda():
        cudas.append(FakeCuda())
        return cudas[-1]

    rows_of(path, cuda)
    did = {way: (one.calls["mapped"] > 0, one.calls["launch"] > 0) for way, one in zip(WAYS, cudas, strict=True)}
    assert did == WAYS
    assert [one.held for one in cudas] == [{}] * len(WAYS)


def test_a_graph_that_could_not_be_had_is_an_unmet_row(path):
    """Where a binding has no graphs the plain figures do not pass for others: a row says so, unmet, with the reason."""
    rows = rows_of(path, lambda: FakeCuda(graphs=False))
    fallen = [row for row in rows if row["figure"].endswith("CUDA graph captured")]
    assert [(row["met"], row["peer"]) for row in fallen] == [(False, "plain: fake has no CUDA graphs")] * 2


def test_without_a_gpu_nothing_is_written(tmp_path):
    """Exit code 9, a sentence that names what is missing, and no file of figures."""
    code = f"import sys; sys.modules['tensorrt'] = None; sys.argv[1:] = {['--graph', 'x', '--out', str(tmp_path / 'f')]!r}; "
    order = [sys.executable, "-c", code + "from bench.engine import main; sys.exit(main())"]
    done = subprocess.run(order, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == ExitCode.UNSUPPORTED
    assert "no engine was measured" in done.stderr
    assert list(tmp_path.iterdir()) == []
