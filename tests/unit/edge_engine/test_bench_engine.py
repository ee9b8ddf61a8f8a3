"""The bench of engines: what it writes, and that it invents nothing where there is no GPU."""

import subprocess
import sys
from pathlib import Path

from bench.engine import measured
from edge.engine.tensorrt import TensorRtBuilder, TensorRtEngine
from mien.errors import ExitCode
from tests.fakes.fake_tensorrt import FakeCuda, FakeTensorRt, write_graph

ROOT = Path(__file__).resolve().parents[3]


def test_figures_say_what_they_are(tmp_path):
    """Every row names figure, unit and target, and the overhead is held against the bare execution."""
    library = FakeTensorRt(10)
    model = write_graph(tmp_path / "model.onnx", "fp16")
    path = TensorRtBuilder(library=library, cuda=FakeCuda).build(model, tmp_path / "engine")
    with TensorRtEngine(path, library=library, cuda=FakeCuda()) as engine:
        rows = measured(engine, "model.fp16.onnx", 0.01)
    assert {tuple(row) for row in rows} == {("figure", "value", "unit", "target", "met", "peer")}
    assert [row["unit"] for row in rows] == ["ms", "ms", "ms", "frames/s", "%", "s"]
    assert [row["figure"] for row in rows if row["target"] is not None] == [
        "model.fp16.onnx on Orin, 8x8, batch 1: overhead over bare execution"
    ]
    overhead = next(row for row in rows if row["unit"] == "%")
    assert overhead["met"] == (overhead["value"] <= overhead["target"])


def test_without_a_gpu_nothing_is_written(tmp_path):
    """Exit code 9, a sentence that names what is missing, and no file of figures."""
    code = f"import sys; sys.modules['tensorrt'] = None; sys.argv[1:] = {['--graph', 'x', '--out', str(tmp_path / 'f')]!r}; "
    order = [sys.executable, "-c", code + "from bench.engine import main; sys.exit(main())"]
    done = subprocess.run(order, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == ExitCode.UNSUPPORTED
    assert "no engine was measured" in done.stderr
    assert list(tmp_path.iterdir()) == []
