"""Times a bundle's variants where it stands, in turns, so that a busy moment falls on all of them."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.engine.chooser import open_engine
from edge.engine.interface import Engine
from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.release import Manifest
from optimize.check import reference_of

_WARM_UP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One variant's inference times, milliseconds a frame."""

    path: str
    precision: str
    median_ms: float
    p95_ms: float
    throughput: float
    """Frames a second at the mean time, one after another."""
    speedup: float
    """How many times as fast as FP32, by the medians."""


def time_bundle(bundle: Path, *, rounds: int, threads: int, progress: Progress = SILENT) -> tuple[Timed, ...]:
    """Run the bundle's reference frames through every portable variant with onnxruntime.

    Args:
        bundle: a whole bundle.
        rounds: timed inferences of each variant.
        threads: of one inference.
        progress: told about each round.

    Raises:
        BundleError: the bundle is damaged, or carries no reference frames.
        EngineError: a variant does not load or run.
    """
    manifest = verify_bundle(bundle)
    frames = [one.frame[None] for one in reference_of(bundle, manifest)]
    with ExitStack() as stack:
        engines = {
            variant.path: stack.enter_context(open_engine(bundle / variant.path, "onnxruntime", threads))
            for variant in manifest.variants
            if variant.portable
        }
        spent = _spent(engines, frames, rounds, progress)
    return _rows(manifest, spent)


def _spent(
    engines: dict[str, Engine],
    frames: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]],
    rounds: int,
    progress: Progress,
) -> dict[str, list[float]]:
    progress.start("time variants", _WARM_UP + rounds)
    spent: dict[str, list[float]] = {path: [] for path in engines}
    for turn in range(_WARM_UP + rounds):
        for path, engine in engines.items():
            started = time.perf_counter()
            engine.infer(frames[turn % len(frames)])
            spent[path].append((time.perf_counter() - started) * 1e3)
        progress.advance()
    return {path: times[_WARM_UP:] for path, times in spent.items()}


def _rows(manifest: Manifest, spent: dict[str, list[float]]) -> tuple[Timed, ...]:
    precision = {variant.path: variant.precision for variant in manifest.variants}
    slowest = next((statistics.median(times) for path, times in spent.items() if precision[path] == "fp32"), None)
    return tuple(
        Timed(
            path=path,
            precision=precision[path],
            median_ms=statistics.median(times),
            p95_ms=float(np.percentile(times, 95)),
            throughput=1e3 / statistics.fmean(times),
            speedup=slowest / statistics.median(times) if slowest else 1.0,
        )
        for path, times in spent.items()
    )
