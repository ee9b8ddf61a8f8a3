"""What TensorRT's engines do on this GPU, and what mien adds to the bare execution.

    python bench/engine.py --graph model.fp16.onnx [--graph …] [--seconds 10] [--out bench/results/engine.json]

For each graph: build, then open the engine in each way it can be used (CUDA graph or plain; copies or mapped memory)
and measure side by side, in turns, so that clocks and heat are the same for all: the bare execution on frames that lie
in the GPU's memory; ``infer``, which waits for each answer; and one batch ahead, as the pipeline does it. Without a GPU
it says so and ends with exit code 9; nothing is estimated.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge.engine.cuda import Cuda
from edge.engine.tensorrt import BuildOptions, TensorRtBuilder, TensorRtEngine
from edge.engine.tensorrt.library import TensorRt
from mien.console import err, progress_bar, table_of
from mien.errors import MienError
from mien.files import write_json

WAYS = {
    "copies, plain": (False, False),
    "copies": (False, True),
    "mapped, plain": (True, False),
    "mapped": (True, True),
}
"""By name, whether memory is mapped and whether the work is a CUDA graph."""
_WARM_UP = 50
_TURN = 200
_MOST_OVERHEAD = 10.0
"""Percent of the bare execution that copies and Python may add; NVIDIA's own pipeline adds 2 to 3 % with everything on
the GPU (NVIDIA-AI-IOT/yolo_deepstream)."""
_LEAST_GRAPH = 1.0
_LEAST_AHEAD = 1.0
"""Neither a CUDA graph nor a batch ahead may cost frames. NVIDIA-AI-IOT/yolo_deepstream gained 11 to 15 % by graphs."""


def main() -> int:
    """Measure, print and write."""
    order = _order()
    rows: list[dict[str, Any]] = []
    try:
        with progress_bar() as progress, tempfile.TemporaryDirectory() as folder:
            builder = TensorRtBuilder(options=BuildOptions(max_batch=order.batch))
            for graph in order.graph:
                engine = builder.build(graph, Path(folder) / f"{graph.stem}.plan", progress=progress)
                rows += measured(engine, graph.name, order.seconds)
    except MienError as error:
        err().print(f"no engine was measured: {error}", style="red", highlight=False)
        return int(error.exit_code)
    write_json(order.out, rows)
    cells = [tuple(row[key] for key in ("figure", "value", "unit", "target", "met", "peer")) for row in rows]
    err().print(table_of(f"engines ({order.out})", ("figure", ">value", "unit", ">target", "met", "peer"), cells))
    return 0


def measured(
    path: Path,
    name: str,
    seconds: float,
    *,
    library: TensorRt | None = None,
    cuda: Callable[[], Cuda] | None = None,
) -> list[dict[str, Any]]:
    """The figures of one engine, opened in every way at once.

    Args:
        path: the engine.
        name: of its graph.
        seconds: to measure for, all ways together.
        library: the TensorRT module; the installed one unless given.
        cuda: opens a CUDA binding for each way; the first found unless given.
    """
    with ExitStack() as closing:
        engines = {
            way: closing.enter_context(
                TensorRtEngine(path, library=library, cuda=cuda() if cuda else None, mapped=mapped, graph=graph)
            )
            for way, (mapped, graph) in WAYS.items()
        }
        ahead = {way: _Ahead(engine) for way, engine in engines.items()}
        work: dict[str, Callable[[], object]] = {}
        for way, engine in engines.items():
            work |= {f"bare, {way}": _bare(engine), f"infer, {way}": _infer(engine), f"ahead, {way}": ahead[way]}
        times = _in_turns(work, seconds)
        for one in ahead.values():
            one.finish()
        return [*_rows(engines["copies"], name, times), *_fallen_back(engines, name)]


def _rows(engine: TensorRtEngine, name: str, times: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    shape, record = engine.info.input_shape, engine.record
    what = f"{name} on {record.device.gpu}, {shape[2]}x{shape[1]}, batch {shape[0]}"
    ms = {work: float(np.median(taken)) * 1e3 for work, taken in times.items()}
    rows = [_row(f"{what}: build", record.seconds, "s")]
    for way in WAYS:
        bare, infer, ahead = (f"{work}, {way}" for work in ("bare", "infer", "ahead"))
        overhead = 100 * (ms[infer] / ms[bare] - 1)
        peer = f"bare execute_async_v3 of the same engine, {way}"
        rows += [
            _row(f"{what}, {way}: bare execution, median", ms[bare], "ms"),
            _row(f"{what}, {way}: infer, median", ms[infer], "ms"),
            _row(f"{what}, {way}: infer, p99", float(np.percentile(times[infer], 99)) * 1e3, "ms"),
            _row(f"{what}, {way}: one batch ahead", shape[0] / float(np.mean(times[ahead])), "frames/s"),
            _row(f"{what}, {way}: overhead of infer", overhead, "%", most=_MOST_OVERHEAD, peer=peer),
            _row(f"{what}, {way}: ahead against infer", ms[infer] / ms[ahead], "x", least=_LEAST_AHEAD, peer="infer"),
        ]
    for memory in ("copies", "mapped"):
        gain = ms[f"ahead, {memory}, plain"] / ms[f"ahead, {memory}"]
        rows.append(_row(f"{what}, {memory}: CUDA graph", gain, "x", least=_LEAST_GRAPH, peer="plain enqueue"))
    gain = ms["ahead, copies"] / ms["ahead, mapped"]
    rows.append(_row(f"{what}: mapped memory", gain, "x", peer="copies"))
    return rows


def _fallen_back(engines: Mapping[str, TensorRtEngine], name: str) -> list[dict[str, Any]]:
    """A row for each way that should have a CUDA graph and has none: its figures are plain ones, and this is why."""
    return [
        _row(f"{name}, {way}: CUDA graph captured", 0, "", least=1, peer=f"plain: {engine.plain_because}")
        for way, engine in engines.items()
        if WAYS[way][1] and engine.plain_because is not None
    ]


def _frames(engine: TensorRtEngine) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, engine.info.input_shape, np.uint8)


def _bare(engine: TensorRtEngine) -> Callable[[], None]:
    def once() -> None:
        engine.enqueue()
        engine.synchronise()

    return once


def _infer(engine: TensorRtEngine) -> Callable[[], object]:
    frames = _frames(engine)
    return lambda: engine.infer(frames)


class _Ahead:
    """Submits a batch before it collects the one before, as the pipeline does."""

    def __init__(self, engine: TensorRtEngine) -> None:
        self._engine, self._frames = engine, _frames(engine)
        self._ticket: int | None = None

    def __call__(self) -> None:
        ticket = self._engine.submit(self._frames)
        self.finish()
        self._ticket = ticket

    def finish(self) -> None:
        """Collect what is under way."""
        if self._ticket is not None:
            self._engine.collect(self._ticket)
        self._ticket = None


def _in_turns(work: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for once in work.values():
        for _ in range(_WARM_UP):
            once()
    end_s = time.perf_counter() + seconds
    while True:
        for name, once in work.items():
            for _ in range(_TURN):
                started_s = time.perf_counter()
                once()
                times[name].append(time.perf_counter() - started_s)
        if time.perf_counter() >= end_s:
            return times


def _row(
    figure: str,
    value: float,
    unit: str,
    *,
    most: float | None = None,
    least: float | None = None,
    peer: str | None = None,
) -> dict[str, Any]:
    target = most if least is None else least
    met = None if target is None else (value <= target if least is None else value >= target)
    return {"figure": figure, "value": round(value, 3), "unit": unit, "target": target, "met": met, "peer": peer}


def _order() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graph", type=Path, action="append", required=True, help="A graph of a bundle (.onnx).")
    parser.add_argument("--batch", type=int, help="Frames a call, for graphs that leave it open.")
    parser.add_argument("--seconds", type=float, default=10.0, help="To measure each engine for.")
    parser.add_argument(
        "--out", type=Path, default=Path("bench/results/engine.json"), help="Where figures are written."
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
