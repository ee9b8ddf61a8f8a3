"""Draws a report's plots as pictures that a page can hold in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edge.vision.detections import Detections
from optimize.gate import Measured
from optimize.report.facts import Shown
from optimize.sensitivity import Study

_COLOURS = ("#33658a", "#f6ae2d", "#86bbd8", "#c8553d", "#588157", "#6d597a")
_TRUTH = (90, 190, 90)  # blue, green, red
_FOUND = (40, 120, 245)
_REFERENCE = (200, 110, 40)
_SMALLEST_SIDE = 240


def trade_off(measured: Sequence[Measured]) -> str:
    """Accuracy over latency; the area of a mark is the file's size."""
    figure, axes = _figure(6.4, 3.6)
    largest = max(one.size_bytes for one in measured)
    for place, one in enumerate(measured):
        area = 40 + 500 * one.size_bytes / largest
        colour = _COLOURS[place % len(_COLOURS)]
        axes.scatter(one.latency_ms, one.accuracy.map50_95, s=area, color=colour, alpha=0.6, linewidths=0)
        label = f"{_short(one.path)}, {one.size_bytes / 1e6:.1f} MB"
        label += "" if one.for_cpu else "\n(a CPU's time; made for TensorRT)"
        axes.annotate(
            label,
            (one.latency_ms, one.accuracy.map50_95),
            xytext=(0, 26 if place % 2 == 0 else -26),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8},
        )
    axes.set_xlabel("median latency, ms (one thread, where it was packed)")
    axes.set_ylabel("mAP50-95")
    axes.margins(0.3, 0.45)
    return _svg(figure)


def per_class(measured: Sequence[Measured], labels: Sequence[str]) -> str:
    """mAP50-95 of each class and variant, as bars."""
    shown = [label for label in labels if any(label in one.accuracy.per_class for one in measured)][:40]
    figure, axes = _figure(max(6.4, 0.9 * len(shown)), 3.2)
    width = 0.8 / max(1, len(measured))
    for place, one in enumerate(measured):
        offsets = np.arange(len(shown)) + place * width - 0.4 + width / 2
        heights = [one.accuracy.per_class.get(label, 0.0) for label in shown]
        axes.bar(offsets, heights, width, label=_short(one.path), color=_COLOURS[place % len(_COLOURS)])
    axes.set_xticks(np.arange(len(shown)), shown, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("mAP50-95")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8, ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return _svg(figure)


def confidences(scores: Mapping[str, npt.NDArray[np.float32]]) -> str:
    """How sure each variant is: counts of detections over their score."""
    figure, axes = _figure(6.4, 3.0)
    edges = np.linspace(0.25, 1, 31)
    for place, (path, values) in enumerate(scores.items()):
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts, edges, label=_short(path), color=_COLOURS[place % len(_COLOURS)], linewidth=1.6)
    axes.set_xlabel("score of a detection")
    axes.set_ylabel("detections")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def sensitivity(study: Study, packed: int | None = None) -> str:
    """Precision and size over the number of layers in floating point; ``packed`` of them where it is of a bundle."""
    figure, axes = _figure(6.4, 3.4)
    counts = [point.float_layers for point in study.curve]
    quantised, size = _COLOURS[0], _COLOURS[3]
    axes.plot(counts, [point.map50_95 for point in study.curve], marker="o", color=quantised, label="mAP50-95")
    axes.axhline(study.map50_95, color=quantised, linestyle="--", linewidth=1, label="mAP50-95 of FP32")
    if packed is not None:
        axes.axvline(packed, color=_COLOURS[4], linestyle=":", label=f"in this bundle: {packed}")
    axes.set_xlabel("layers in floating point, the most sensitive first")
    axes.set_ylabel("mAP50-95 against the labels", color=quantised)
    sizes = axes.twinx()
    sizes.plot(
        counts, [point.size_bytes / 1e6 for point in study.curve], marker="s", color=size, alpha=0.7, label="size"
    )
    sizes.set_ylabel("size, MB", color=size)
    sizes.set_ylim(bottom=0)
    sizes.spines[["top"]].set_visible(False)
    figure.legend(fontsize=8, ncols=4, frameon=False, loc="outside upper center")
    return _svg(figure)


def picture(shown: Shown, reference: str, path: str) -> str:
    """An image with its truth (green), FP32's findings (blue) and a variant's (orange), as a data address."""
    scale = max(1.0, _SMALLEST_SIDE / min(shown.image.shape[:2]))
    canvas: Any = cv2.resize(shown.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    for box in shown.truth.boxes * scale:
        _box(canvas, box, _TRUTH, "")
    for name, colour, below in ((reference, _REFERENCE, True), (path, _FOUND, False)):
        found = shown.found.get(name, Detections.empty())
        for box, score in zip(found.boxes * scale, found.scores, strict=True):
            _box(canvas, box, colour, f"{score:.2f}", below=below)
    _, content = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()


def _box(
    canvas: Any,  # noqa: ANN401 - pixels
    box: npt.NDArray[np.float32],
    colour: tuple[int, int, int],
    text: str,
    *,
    below: bool = False,
) -> None:
    left, top, right, bottom = (round(float(side)) for side in box)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1, cv2.LINE_AA)
    if text:
        line = min(canvas.shape[0] - 3, bottom - 3) if below else max(10, top + 11)
        cv2.putText(canvas, text, (left + 2, line), cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1, cv2.LINE_AA)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.2)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _short(path: str) -> str:
    return path.removeprefix("model.").removesuffix(".onnx")
