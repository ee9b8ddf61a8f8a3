"""Draws a class's roofs with a graph's layers under them, and the latency beside what was published, as SVG or PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mien.errors import ConfigError
from mien.files import write_bytes
from optimize.estimate import Compared, Estimate
from optimize.outlook import Outlook

FORMATS = ("svg", "png")
_COLOURS = {"fp32": "#33658a", "fp16": "#f6ae2d", "int8": "#c8553d"}
_OTHER = "#588157"
_MARKS = {"fp32": "o", "fp16": "s", "int8": "^"}
_SMALLEST, _LARGEST = 12.0, 600.0
_SHOWN_FROM = 1e-3
"""Layers that take a smaller share of the time would only blur the corner."""


def plot_format(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        ConfigError: neither SVG nor PNG.
    """
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ConfigError(
            f"a plot cannot be written as '{path.name}'", wanted="a name ending in .svg or .png", remedy="see --plot"
        )
    return ending


def write_roofline(path: Path, title: str, outlooks: Sequence[Outlook]) -> Path:
    """Write the plot.

    Left: operations a second over operations for each byte, a roof for each precision, a mark for each layer. Right:
    how the roofline's latency divides, and the published measurements of the class.

    Raises:
        ConfigError: the file's name asks for no format that can be written.
        UnavailableError: the disk is full or read-only.
    """
    kind = plot_format(path)
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    roofs, bars = figure.subplots(1, 2, width_ratios=[1.5, 1])
    known = [one for one in outlooks if one.roofline is not None]
    for one in known:
        _draw_roof(roofs, one.roofline)
    _finish_roofs(roofs)
    for place, one in enumerate(known):
        _draw_bar(bars, place, one.roofline, one.published)
    _finish_bars(bars, [one.precision for one in known])
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, buffer.getvalue())
    return path


def _draw_roof(axes: Any, one: Estimate | None) -> None:  # noqa: ANN401 - matplotlib's axes
    if one is None:
        return
    colour = _COLOURS.get(one.precision, _OTHER)
    shown = [layer for layer in one.layers if layer.intensity > 0 and layer.ms >= _SHOWN_FROM * one.roofline_ms]
    corner = one.peak_ops / one.bandwidth
    reach = [corner, *(layer.intensity for layer in shown)]
    places = np.geomspace(min(reach) / 2, 2 * max(reach), 200)
    name = one.precision if one.unit == one.precision else f"{one.precision} (as {one.unit})"
    label = f"{name}: peak {one.peak_ops / 1e12:.1f}·10¹²/s, {one.bandwidth / 1e9:.0f} GB/s"
    axes.plot(places, np.minimum(one.peak_ops, places * one.bandwidth), color=colour, linewidth=1.4, label=label)
    axes.scatter(
        [layer.intensity for layer in shown],
        [layer.ops_per_s for layer in shown],
        s=[_SMALLEST + _LARGEST * layer.ms / one.roofline_ms for layer in shown],
        marker=_MARKS.get(one.precision, "D"),
        color=colour,
        alpha=0.6,
        edgecolors="white",
        linewidths=0.5,
        zorder=3,
    )


def _finish_roofs(axes: Any) -> None:  # noqa: ANN401 - matplotlib's axes
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte moved")
    axes.set_ylabel("operations a second that the roof allows")
    axes.set_title("layers under the roof (area: share of the time)", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _draw_bar(axes: Any, place: int, one: Estimate | None, published: Sequence[Compared]) -> None:  # noqa: ANN401
    if one is None:
        return
    colour = _COLOURS.get(one.precision, _OTHER)
    computing = one.roofline_ms * one.compute_share
    axes.barh(place, computing, height=0.5, color=colour)
    axes.barh(place, one.roofline_ms - computing, height=0.5, left=computing, color=colour, alpha=0.35)
    axes.annotate(
        f"≥ {one.roofline_ms:.2f}", (one.roofline_ms, place), xytext=(4, -3), textcoords="offset points", fontsize=8
    )
    for row in published:
        axes.plot([row.published.latency_ms], [place], marker="D", color="black", markersize=6)
        axes.annotate(
            f"{row.published.latency_ms:.2f}",
            (row.published.latency_ms, place),
            xytext=(0, 8),
            textcoords="offset points",
            fontsize=8,
            ha="center",
        )


def _finish_bars(axes: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - matplotlib's axes
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("latency, ms")
    axes.set_title(
        "estimate, a lower bound: arithmetic dark, memory light\n◆ published, in the power mode that was measured",
        fontsize=8,
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="x", alpha=0.25)
