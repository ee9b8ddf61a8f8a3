"""The device runtime's figures, in one run on one machine: ``make bench-edge``.

Measures mien's pipeline beside ultralytics' ``predict(stream=True)`` on the same network, the same 720p video and the
same number of threads, each run a process of its own, taken in turns; then what mien costs beside the bare engine. The
weights are those of ``make bench-optimize`` (made when they are not there: a quarter of an hour). Figures are ratios
within one run, or processor time and memory. Prints a table and writes ``bench/results/edge.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import FOLDER, ROOT, SIDE, Row, command, mien, prepared, report, row
from mien.console import err, progress_bar

LARGE = 640
SHARED = "both sides keep every core busy; on a machine shared with others the ratio moves from run to run"
NOISE = (
    "the pipeline needs a second core for decoding and letterboxing, and a shared machine does not always give it one"
)
ROUNDS = 5
FRAMES = {SIDE: 400, LARGE: 150}
LONG = 1500
FILM_FRAMES = 240
FAR, NEAR = 200_000, 2_000
TINY = 32
HEAD = "/model.22/"


def main() -> int:
    """Measure, print, write; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where data, weights and graphs are kept")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each pair")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    asked = parser.parse_args()
    bench = EdgeBench(asked.folder, asked.rounds)
    rows = [*bench.against_ultralytics(), *bench.against_the_engine(), *bench.footprint(), *bench.upkeep()]
    return report("edge", "Device runtime", rows, as_json=asked.json)


class EdgeBench:
    """The measurements, with the graphs and the film that they need.

    Args:
        folder: where these are kept.
        rounds: turns of each pair.
    """

    def __init__(self, folder: Path, rounds: int) -> None:
        self._folder = folder / "edge"
        self._rounds = rounds
        self._threads = os.cpu_count() or 1
        self._folder.mkdir(parents=True, exist_ok=True)
        weights, data = prepared(folder)
        self._bundle = folder / "bundle-onnxruntime"
        if not (self._bundle / "manifest.json").is_file():
            gate = ROOT / "configs" / "gates" / "smoke.yaml"
            options = ("--gate", gate, "--imgsz", SIDE)
            mien("optimize", "run", "--weights", weights, "--data", data, "--out", self._bundle, *options)
        self._film = film_of(self._folder / "film.mp4", data)
        self._plain = {side: plain_export(weights, self._folder, side) for side in (SIDE, LARGE)}
        self._plain_int8 = quantised(self._plain[SIDE], data, self._folder / "plain-320-int8.onnx")
        self._large = self._folder / "mien-640.onnx"
        if not self._large.is_file():
            mien("optimize", "export", "--weights", weights, "--imgsz", LARGE, "--out", self._large)
        self._ours_int8 = self._bundle / "model.int8.cpu.onnx"

    def against_ultralytics(self) -> list[Row]:
        """Rates on the same video, and on the same files."""
        threads = f"{self._threads} threads each, medians of {self._rounds} turns"
        rows = []
        for figure, model, side, least in (
            ("320 px INT8", self._plain_int8, SIDE, 1.15),
            ("640 px FP32", self._plain[LARGE], LARGE, 1.06),
        ):
            ours = ("ours", {**self._film_of(side), "model": model, "threads": self._threads, "plain": True})
            theirs = ("theirs", {**self._film_of(side), "model": model})
            ratio, peer = self._ratio(ours, theirs)
            what = f"fps against ultralytics predict(stream=True), the same ONNX file, {figure}"
            rows.append(row(what, ratio, "times", least, least=True, peer=f"{peer}; {threads}", reason=SHARED))
        theirs = ("theirs", {**self._film_of(SIDE), "model": self._plain[SIDE]})
        ours = ("ours", {**self._film_of(SIDE), "model": self._ours_int8, "threads": self._threads})
        ratio, peer = self._ratio(ours, theirs)
        what = "fps, our default (INT8 bundle) against their default (FP32 ONNX), 320 px"
        rows.append(row(what, ratio, "times", 1.7, least=True, peer=f"{peer}; {threads}", reason=SHARED))
        return rows

    def against_the_engine(self) -> list[Row]:
        """What the pipeline costs beside the bare engine."""
        ours = ("ours", {**self._film_of(SIDE), "model": self._ours_int8, "threads": 1})
        ratio, peer = self._ratio(ours, ("bare", {"model": self._ours_int8, "frames": FRAMES[SIDE]}))
        spent = [
            side("outside", model=self._ours_int8, **self._film_of(SIDE))["ms"] for _ in range(max(self._rounds, 3))
        ]
        note = f"peer: bare session.run on one thread; {peer}"
        return [
            row(
                "fps against bare session.run in a loop, 1 thread",
                ratio,
                "times",
                0.95,
                least=True,
                peer=note,
                reason=NOISE,
            ),
            row(
                "CPU time a frame outside engine and decoder, 720p to 320",
                statistics.median(spent),
                "ms",
                1.0,
                peer=f"decoded frames in memory, the engine's thread time taken off; {len(spent)} runs",
                reason="0.6 to 1.1 ms on the same machine: memory and caches are shared with others",
            ),
        ]

    def footprint(self) -> list[Row]:
        """Memory, and the time to the first result."""
        arguments = {**self._film_of(SIDE), "threads": 1, "model": self._ours_int8}
        mine = side("ours", **arguments)["rss_mb"]
        other = side("theirs", **self._film_of(SIDE), model=self._plain[SIDE])["rss_mb"]
        run = (
            "edge",
            "run",
            "--bundle",
            self._bundle,
            "--camera",
            self._film,
            "--frames",
            1,
            "--power",
            "none",
            "--json",
        )
        ours = [timed(command(*run)) for _ in range(self._rounds)]
        other_first = {"model": self._plain[SIDE], "side": SIDE, "video": self._film}
        theirs = [self._first("their_first", **other_first) for _ in range(self._rounds)]
        start, their_start = statistics.median(ours), statistics.median(theirs)
        memory, begin = f"ultralytics {other:.0f} MB", f"ultralytics {their_start:.2f} s"
        return [
            row("resident memory at most, YOLOv8n 320 px", mine, "MB", 180, peer=memory),
            row("resident memory against ultralytics", mine / other, "of it", 0.4, peer=memory),
            row(
                "process start to first result, and its end", start, "s", 1.2, peer=f"mien edge run --frames 1; {begin}"
            ),
            row("process start to first result against ultralytics", start / their_start, "of it", 0.45, peer=begin),
        ]

    def upkeep(self) -> list[Row]:
        """What telemetry and the API cost, and what stays in memory."""
        arguments = {**self._film_of(SIDE), "model": self._ours_int8, "frames": LONG}
        whole = ("watched", {**arguments, "telemetry": True})
        ratio, peer = self._ratio(whole, ("watched", {**arguments, "telemetry": False}), rounds=2 * self._rounds)
        tiny = self._tiny()
        err().print(f"{FAR:,} frames through {TINY} px", highlight=False)
        memory = side("lasting", model=tiny, side=TINY, early=NEAR, late=FAR)
        growth = memory["late_mb"] - memory["early_mb"]
        what = f"memory after {FAR:,} frames against after {NEAR:,}"
        return [
            row(
                "telemetry and API overhead",
                100 * (1 - ratio),
                "% of fps",
                2,
                peer=f"{peer}; default settings, /metrics read every second",
            ),
            row(
                what,
                growth,
                "MB",
                3,
                peer=f"{memory['early_mb']:.1f} MB, then {memory['late_mb']:.1f} MB",
                reason="some comes with each first time: a window, a question to the API, a full ring",
            ),
        ]

    def _film_of(self, side: int) -> dict[str, Any]:
        return {"video": self._film, "frames": FRAMES[side], "side": side}

    def _ratio(
        self, one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], *, rounds: int | None = None
    ) -> tuple[float, str]:
        """Median of the rates' ratios, taken in turns, and both medians in words."""
        turns = rounds or self._rounds
        pairs = []
        with progress_bar() as progress:
            progress.start(f"{one[0]} and {other[0]} in turns", turns)
            for turn in range(turns):
                order = (one, other) if turn % 2 == 0 else (other, one)
                rates = {
                    name + str(index): side(name, **arguments)["fps"] for index, (name, arguments) in enumerate(order)
                }
                first, second = rates.values()
                pairs.append((first, second) if turn % 2 == 0 else (second, first))
                progress.advance()
        mine, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
        return statistics.median(a / b for a, b in pairs), f"{mine:.1f} against {theirs:.1f} fps"

    def _first(self, name: str, **arguments: Any) -> float:  # noqa: ANN401 - JSON
        began = time.time()
        return float(side(name, **arguments)["at"]) - began

    def _tiny(self) -> Path:
        path = self._folder / f"tiny-{TINY}.onnx"
        if not path.is_file():
            mien(
                "optimize", "export", "--weights", FOLDER / "plain.pt", "--imgsz", TINY, "--top-k", "10", "--out", path
            )
        return path


def side(name: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Run one side as a process of its own; what it printed."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
    script = Path(__file__).with_name("runtime_sides.py")
    environment = os.environ | {"YOLO_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(script), name, json.dumps(plain)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} ended with code {done.returncode}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def timed(line: list[str]) -> float:
    """Seconds that a command takes from its start to its end."""
    began = time.monotonic()
    subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def film_of(path: Path, data: Path) -> Path:
    """A 720p film of rendered faces that drift before each other, made once."""
    if path.is_file():
        return path
    pictures = [cv2.imread(str(one)) for one in sorted((data / "images" / "val").glob("*.jpg"))[:8]]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (1280, 720))
    for number in range(FILM_FRAMES):
        canvas = np.full((720, 1280, 3), 96, np.uint8)
        for place, picture in enumerate(pictures):
            left, top = 320 * (place % 4), 20 + 350 * (place // 4)
            drift = round(12 * np.sin((number + 20 * place) / 15))
            canvas[top : top + 320, left : left + 320] = np.roll(picture[:320, :320], drift, axis=1)
        writer.write(canvas)
    writer.release()
    return path


def plain_export(weights: Path, folder: Path, side: int) -> Path:
    """Ultralytics' own ONNX export of the weights."""
    path = folder / f"plain-{side}.onnx"
    if not path.is_file():
        from optimize.torch_runtime import prepare

        prepare()
        from ultralytics import YOLO

        copy = folder / f"plain-{side}.pt"
        shutil.copyfile(weights, copy)
        YOLO(copy).export(format="onnx", imgsz=side, verbose=False)
    return path


def quantised(plain: Path, data: Path, out: Path) -> Path:
    """The plain export in INT8 by onnxruntime's own quantiser, its head in floating point."""
    if out.is_file():
        return out
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    images = sorted((data / "images" / "train").glob("*.jpg"))[:64]
    model = onnx.load(str(plain))
    metadata = {entry.key: entry.value for entry in model.metadata_props}

    class Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime is untyped
        def __init__(self) -> None:
            self._paths = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            path = next(self._paths, None)
            if path is None:
                return None
            image = cv2.resize(cv2.imread(str(path)), (SIDE, SIDE))
            return {model.graph.input[0].name: cv2.dnn.blobFromImage(image, 1 / 255, swapRB=True)}

    head = [node.name for node in model.graph.node if node.name.startswith(HEAD)]
    quantize_static(
        plain,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=head,
    )
    finished = onnx.load(str(out))
    for key, value in metadata.items():
        if key not in {entry.key for entry in finished.metadata_props}:
            entry = finished.metadata_props.add()
            entry.key, entry.value = key, value
    onnx.save(finished, str(out))
    return out


if __name__ == "__main__":
    sys.exit(main())
