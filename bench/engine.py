"""What TensorRT's engines do on this GPU, and what mien adds to the bare execution.

    python bench/engine.py --graph model.fp16.onnx [--graph …] [--seconds 10] [--out bench/results/engine.json]

For each graph: build, then for some seconds the bare ``execute_async_v3`` on frames that lie in the GPU's memory, and
mien's ``infer``, which copies a frame there and the boxes back. Both are taken in turns, so that clocks and heat are
the same for both. Without a GPU it says so and ends with exit code 9; nothing is estimated.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, TensorRtEngine
from mien.console import err, progress_bar, table_of
from mien.errors import MienError
from mien.files import write_json

_WARM_UP = 50
_TURN = 200
_PEER = "bare execute_async_v3 of the same engine"
_MOST_OVERHEAD = 10.0
"""Percent of the bare execution that copies and Python may add; NVIDIA's own pipeline adds 2 to 3 % with everything on
the GPU (NVIDIA-AI-IOT/yolo_deepstream)."""


def main() -> int:
    """Measure, print and write."""
    order = _order()
    rows: list[dict[str, Any]] = []
    try:
        with progress_bar() as progress, tempfile.TemporaryDirectory() as folder:
            builder = TensorRtBuilder(options=BuildOptions())
            for graph in order.graph:
                engine = builder.build(graph, Path(folder) / f"{graph.stem}.plan", progress=progress)
                with TensorRtEngine(engine) as opened:
                    rows += measured(opened, graph.name, order.seconds)
    except MienError as error:
        err().print(f"no engine was measured: {error}", style="red", highlight=False)
        return int(error.exit_code)
    write_json(order.out, rows)
    cells = [tuple(row[key] for key in ("figure", "value", "unit", "target", "met", "peer")) for row in rows]
    err().print(table_of(f"engines ({order.out})", ("figure", ">value", "unit", ">target", "met", "peer"), cells))
    return 0


def measured(engine: TensorRtEngine, name: str, seconds: float) -> list[dict[str, Any]]:
    """The figures of one engine."""
    shape, record = engine.info.input_shape, engine.record
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    bare_s, whole_s = _in_turns(_bare(engine), lambda: engine.infer(frames), seconds)
    bare_ms, whole_ms = float(np.median(bare_s)) * 1e3, float(np.median(whole_s)) * 1e3
    what = f"{name} on {record.device.gpu}, {shape[2]}x{shape[1]}, batch {shape[0]}"
    overhead = 100 * (whole_ms / bare_ms - 1)
    return [
        _row(f"{what}: bare execution, median", bare_ms, "ms"),
        _row(f"{what}: infer, median", whole_ms, "ms"),
        _row(f"{what}: infer, p99", float(np.percentile(whole_s, 99)) * 1e3, "ms"),
        _row(f"{what}: throughput", shape[0] / float(np.mean(whole_s)), "frames/s"),
        _row(f"{what}: overhead over bare execution", overhead, "%", target=_MOST_OVERHEAD, peer=_PEER),
        _row(f"{what}: build", record.seconds, "s"),
    ]


def _bare(engine: TensorRtEngine) -> Callable[[], None]:
    def once() -> None:
        engine.enqueue()
        engine.synchronise()

    return once


def _in_turns(bare: Callable[[], Any], whole: Callable[[], Any], seconds: float) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for work in (bare, whole):
        for _ in range(_WARM_UP):
            work()
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        for work, taken in zip((bare, whole), times, strict=True):
            for _ in range(_TURN):
                started_s = time.perf_counter()
                work()
                taken.append(time.perf_counter() - started_s)
    return times


def _row(
    figure: str, value: float, unit: str, *, target: float | None = None, peer: str | None = None
) -> dict[str, Any]:
    met = None if target is None else value <= target
    return {"figure": figure, "value": round(value, 3), "unit": unit, "target": target, "met": met, "peer": peer}


def _order() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graph", type=Path, action="append", required=True, help="A graph of a bundle (.onnx).")
    parser.add_argument("--seconds", type=float, default=10.0, help="To measure each engine for.")
    parser.add_argument(
        "--out", type=Path, default=Path("bench/results/engine.json"), help="Where figures are written."
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
