"""Which layers suffer most from INT8, and what it costs and brings to leave them in floating point.

A layer's loss is what the graph loses when that layer alone is quantised. The most sensitive layers return to floating
point first, in growing steps, until the gate holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mien.console import SILENT, Progress
from optimize.evaluate.fidelity import Witness
from optimize.int8 import Workshop, fidelity_of

_MOST_FLOAT = 0.5
"""A graph with more of its layers than this in floating point is no INT8 graph any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """What INT8 in one layer alone costs, against FP32 on frames that no scale was found with."""

    layer: str
    map50_95: float
    """With FP32's detections as the truth; 1 when nothing is lost."""
    confidence_shift: float | None
    loss: float
    """See :attr:`optimize.evaluate.fidelity.Fidelity.loss`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The graph with its most sensitive layers in floating point."""

    float_layers: int
    map50_95: float
    """With FP32's detections as the truth."""
    confidence_shift: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A sensitivity analysis of one graph with one method's scales."""

    method: str
    frames: int
    layers: tuple[LayerLoss, ...]
    """The most sensitive first."""
    curve: tuple[CurvePoint, ...]
    """From every layer in INT8 to as many in floating point as are tried."""

    def worst(self, count: int) -> tuple[str, ...]:
        """Names of the most sensitive layers."""
        return tuple(one.layer for one in self.layers[:count])


def study(shop: Workshop, method: str, witness: Witness, progress: Progress = SILENT) -> Study:
    """Measure every layer alone, then the curve.

    Args:
        shop: of the graph.
        method: whose scales are used.
        witness: FP32's findings on frames that no scale was found with.
        progress: told about each layer and each point.
    """
    scales = shop.scales(method)
    layers = _layer_losses(shop, scales, witness, progress)
    ranking = [one.layer for one in layers]
    points = [0, *ladder(len(ranking))]
    progress.start("sensitivity curve", len(points))
    curve: list[CurvePoint] = []
    for count in points:
        fidelity, size = fidelity_of(shop.graph(scales, ranking[:count]), witness)
        shift = fidelity.confidence_shift
        curve.append(
            CurvePoint(float_layers=count, map50_95=fidelity.map50_95, confidence_shift=shift, size_bytes=size)
        )
        progress.advance()
    return Study(method=method, frames=witness.frames, layers=tuple(layers), curve=tuple(curve))


def ladder(layers: int) -> tuple[int, ...]:
    """How many layers return to floating point, step by step: 1, 2, 3, 5, 8, … up to half of them."""
    return tuple(_fibonacci(int(layers * _MOST_FLOAT)))


def _fibonacci(most: int) -> Iterator[int]:
    here, there = 1, 2
    while here <= most:
        yield here
        here, there = there, here + there


def _layer_losses(
    shop: Workshop, scales: Mapping[str, float], witness: Witness, progress: Progress
) -> Sequence[LayerLoss]:
    progress.start("sensitivity", len(shop.layers))
    found: list[LayerLoss] = []
    for layer in shop.layers:
        fidelity, _ = fidelity_of(shop.only(layer, scales), witness)
        found.append(
            LayerLoss(
                layer=layer,
                map50_95=fidelity.map50_95,
                confidence_shift=fidelity.confidence_shift,
                loss=fidelity.loss,
            )
        )
        progress.advance(note=layer)
    return sorted(found, key=lambda one: -one.loss)
