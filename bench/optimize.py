"""The optimizer's figures, in one run on one machine: ``make bench-optimize``.

Renders 1,800 training and 1,000 validation images of 320 px, trains YOLOv8n on them (once; both are kept under
``runs/bench``), packs a bundle with each quantiser and reads every accuracy from what was executed. Times are ratios
within one run, taken in turns. Prints a table and writes ``bench/results/optimize.json``: a list of {"figure", "value",
"unit", "target", "met", "peer"}; a row that is not met carries its "reason".
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.common import FOLDER, SIDE, VAL, Row, command, prepared, report, row  # noqa: E402 - the checkout comes first
from edge.engine.chooser import open_engine  # noqa: E402
from edge.vision.decode import decode  # noqa: E402
from edge.vision.letterbox import Geometry  # noqa: E402
from edge.vision.nms import non_max_suppression  # noqa: E402
from edge.vision.reference import read_reference  # noqa: E402
from mien.bundle import read_manifest  # noqa: E402
from mien.release import REFERENCE, Accuracy, Manifest  # noqa: E402
from optimize.machine import latency_conditions  # noqa: E402

CALIBRATION = 128
METHODS = "percentile,mse"
ROUNDS = 200
WARM_UP = 10
PEER_FP32 = "FP32 of the same bundle, same images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One ``optimize run``, as a process of its own."""

    bundle: Path
    seconds: float
    peak_bytes: int

    @property
    def manifest(self) -> Manifest:
        """What it packed."""
        return read_manifest(self.bundle)

    def accuracy(self, path: str) -> Accuracy:
        """What was measured of a file."""
        found = next(variant.accuracy for variant in self.manifest.variants if variant.path == path)
        if found is None:
            raise SystemExit(f"{self.bundle}/{path} carries no accuracy")
        return found

    def size(self, path: str) -> int:
        """A file's bytes."""
        return next(variant.size_bytes for variant in self.manifest.variants if variant.path == path)


def main() -> int:
    """Measure, print, write; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where data and weights are kept")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON too")
    asked = parser.parse_args()
    weights, data = prepared(asked.folder)
    runs = {name: optimized(asked.folder, weights, data, name) for name in ("onnxruntime", "modelopt")}
    rows = [*accuracy_rows(runs), *speed_rows(runs["onnxruntime"], weights), *cost_rows(runs["onnxruntime"])]
    return report("optimize", "Optimizer", rows, as_json=asked.json)


def optimized(folder: Path, weights: Path, data: Path, quantizer: str) -> Run:
    """Pack a bundle, and say how long it took and how much memory it held at most."""
    bundle = folder / f"bundle-{quantizer}"
    shutil.rmtree(bundle, ignore_errors=True)
    gate = ROOT / "configs" / "gates" / "smoke.yaml"  # nothing is refused, so that a missed target stays in the table
    options = (
        "--gate",
        gate,
        "--imgsz",
        SIDE,
        "--quantizer",
        quantizer,
        "--method",
        METHODS,
        "--calibration-images",
        CALIBRATION,
    )
    started = time.monotonic()
    process = subprocess.Popen(
        command("optimize", "run", "--weights", weights, "--data", data, "--out", bundle, *options),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"mien optimize run with {quantizer} ended with code {process.returncode}")
    return Run(bundle=bundle, seconds=time.monotonic() - started, peak_bytes=usage.ru_maxrss * 1024)


def accuracy_rows(runs: dict[str, Run]) -> list[Row]:
    """What INT8 loses, with each quantiser, on every file that it makes."""
    rows: list[Row] = []
    for name, run in runs.items():
        full = run.accuracy("model.fp32.onnx")
        for variant in (one for one in run.manifest.variants if one.precision == "int8"):
            found = run.accuracy(variant.path)
            loss = 100 * (full.map50_95 - found.map50_95)
            shift = abs(found.confidence_shift if found.confidence_shift is not None else 1.0)
            what = f"{name}, {variant.path}"
            peer = f"{PEER_FP32}: mAP50-95 {full.map50_95:.4f} on {found.images} images"
            rows += [
                row(f"INT8 mAP50-95 loss ({what})", loss, "points", 0.5, peer=peer),
                row(f"INT8 mean confidence shift ({what})", shift, "score", 0.02, peer=PEER_FP32),
            ]
    return rows


def speed_rows(run: Run, weights: Path) -> list[Row]:
    """Ratios of whole calls on one thread, all in turns."""
    reference = read_reference(run.bundle / REFERENCE)
    frames = [one.frame for one in reference]
    manifest, plain = run.manifest, PlainExport(weights, run.bundle.parent)
    paths = {"fp32": "model.fp32.onnx", "int8": "model.int8.cpu.onnx"}
    engines = {name: open_engine(run.bundle / path, "onnxruntime", 1) for name, path in paths.items()}
    geometry = Geometry.identity(SIDE, SIDE)

    def ours(name: str) -> Callable[[np.ndarray], object]:
        return lambda frame: decode(engines[name].infer(frame[None]), manifest.outputs, geometry)

    calls = {"int8": ours("int8"), "fp32": ours("fp32"), "plain": plain.detect}
    plain.check(frames, ours("fp32"))
    spent = timed(calls, frames)
    conditions = f"{latency_conditions(1)}, {SIDE} px, medians of {ROUNDS - WARM_UP} turns"
    return [
        row(
            "INT8 CPU twin against FP32, whole call",
            spent["fp32"] / spent["int8"],
            "times as fast",
            1.6,
            least=True,
            peer=f"FP32 {spent['fp32']:.1f} ms, INT8 {spent['int8']:.1f} ms; {conditions}",
        ),
        row(
            "self-contained graph against plain export with numpy before and after, whole call",
            spent["plain"] / spent["fp32"],
            "times as fast",
            1.0,
            least=True,
            peer=f"plain {spent['plain']:.1f} ms, self-contained {spent['fp32']:.1f} ms; {conditions}",
        ),
    ]


def cost_rows(run: Run) -> list[Row]:
    """File size, and what making the bundle takes."""
    share = run.size("model.int8.onnx") / run.size("model.fp32.onnx")
    order = f"YOLOv8n {SIDE} px, {CALIBRATION} calibration images, methods {METHODS}, {VAL} validation images"
    cores = f"{os.cpu_count()} cores"
    return [
        row("INT8 file size", share, "of FP32", 0.30, peer=PEER_FP32),
        row("optimize run", run.seconds, "s", 120, peer=f"{order}; {cores}"),
        row("optimize run, peak memory", run.peak_bytes / 2**30, "GiB", 3, peer=order),
    ]


class PlainExport:
    """The usual way: ultralytics' own export, with preprocessing and decoding in numpy around it."""

    def __init__(self, weights: Path, folder: Path) -> None:
        from optimize.torch_runtime import prepare

        prepare()
        import onnxruntime as ort
        from ultralytics import YOLO

        copy = folder / "plain.pt"
        shutil.copyfile(weights, copy)
        model = YOLO(copy).export(format="onnx", imgsz=SIDE, verbose=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def detect(self, frame: np.ndarray) -> Any:  # noqa: ANN401 - detections
        """Letterboxed blue-green-red bytes to boxes after non-maximum suppression."""
        pixels = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        table = self._session.run(None, {self._input: pixels})[0][0].T
        scores = table[:, 4:].max(axis=1)
        strong = np.flatnonzero(scores > 0.25)  # noqa: PLR2004 - the threshold of use
        centre, size = table[strong, :2], table[strong, 2:4] / 2
        boxes = np.concatenate([centre - size, centre + size], axis=1)
        classes = table[strong, 4:].argmax(axis=1).astype(np.int32)
        return non_max_suppression(boxes, scores[strong], classes, score_threshold=0.25, iou_threshold=0.7)

    def check(self, frames: Sequence[np.ndarray], ours: Callable[[np.ndarray], Any]) -> None:
        """Make sure that both ways find the same before they are timed."""
        for frame in frames:
            one, other = self.detect(frame), ours(frame)
            if len(one) != len(other) or not np.allclose(one.scores, other.scores, atol=0.005):
                raise SystemExit("the plain export and the self-contained graph do not find the same")


def timed(calls: dict[str, Callable[[np.ndarray], object]], frames: Sequence[np.ndarray]) -> dict[str, float]:
    """Median time of each call in milliseconds, taken in turns."""
    cv2.setNumThreads(1)
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS):
        frame = frames[turn % len(frames)]
        for name, call in calls.items():
            started = time.perf_counter()
            call(frame)
            spent[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(times[WARM_UP:]) for name, times in spent.items()}


if __name__ == "__main__":
    sys.exit(main())
