"""Which layers suffer most from INT8, and what it costs and brings to leave them in floating point.

A layer's loss is what the graph loses when that layer alone is quantised and all else is FP32. The most sensitive
layers return to floating point first, as few of them as the gate asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mien.console import SILENT, Progress
from optimize.evaluate.fidelity import Witness
from optimize.int8 import Workshop, fidelities_alone, fidelity_of

LAYER_FRAMES = 32
"""So many images are enough to rank layers by; every layer costs as many inferences, of what comes after it."""
_MOST_FLOAT = 0.5
"""A graph with more of its layers than this in floating point is no INT8 graph any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """What INT8 in one layer alone costs."""

    layer: str
    map50_95: float
    """With the labels as the truth."""
    map50_95_lost: float
    """Against FP32 on the same images; below zero where chance has it so."""
    fidelity: float
    """mAP50-95 with FP32's detections as the truth; 1 when nothing is lost."""
    confidence_shift: float | None
    loss: float
    """By which layers are ranked; see :attr:`optimize.evaluate.fidelity.Fidelity.loss`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The graph with its most sensitive layers in floating point."""

    float_layers: int
    map50_95: float
    """With the labels as the truth."""
    map50_95_lost: float
    """Against FP32 on the same images."""
    fidelity: float
    """mAP50-95 with FP32's detections as the truth."""
    confidence_shift: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A sensitivity analysis of one graph with one method's scales, on training images."""

    method: str
    layer_frames: int
    """Images on which each layer was measured."""
    frames: int
    """Images on which the curve was measured."""
    map50_95: float
    """FP32's own, on the images of the curve, with the labels as the truth."""
    layers: tuple[LayerLoss, ...]
    """The most sensitive first."""
    curve: tuple[CurvePoint, ...]
    """From every layer in INT8 to as many in floating point as are tried."""

    def worst(self, count: int) -> tuple[str, ...]:
        """Names of the most sensitive layers."""
        return tuple(one.layer for one in self.layers[:count])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Witnesses:
    """FP32's findings on training images: on some for each layer, on all for the curve."""

    layers: Witness
    curve: Witness


def study(shop: Workshop, method: str, witnesses: Witnesses, progress: Progress = SILENT) -> Study:
    """Measure every layer alone, then the curve.

    Args:
        shop: of the graph.
        method: whose scales are used.
        witnesses: FP32's findings on images that no scale was found with.
        progress: told about each layer and each point.
    """
    scales = shop.scales(method)
    layers = _layer_losses(shop, scales, witnesses.layers, progress)
    return Study(
        method=method,
        layer_frames=witnesses.layers.frames,
        frames=witnesses.curve.frames,
        map50_95=witnesses.curve.labelled,
        layers=tuple(layers),
        curve=_curve(shop, scales, [one.layer for one in layers], witnesses.curve, progress),
    )


def fewest(rungs: Sequence[int], holds: Callable[[int], bool]) -> int | None:
    """The least number of layers with which the gate holds, as far as trying can tell.

    The rungs are climbed until one holds, then the gap to the last that did not is halved until nothing lies between.

    Args:
        rungs: rising; the number before the first is known not to hold.
        holds: tries a number.

    Returns:
        A number that holds while one less does not; ``None`` when no rung holds.
    """
    failed = rungs[0] - 1 if rungs else 0
    for rung in rungs:
        if holds(rung):
            passed = rung
            break
        failed = rung
    else:
        return None
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if holds(middle):
            passed = middle
        else:
            failed = middle
    return passed


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
    for layer, fidelity in fidelities_alone(shop, scales, witness):
        found.append(
            LayerLoss(
                layer=layer,
                map50_95=fidelity.labelled,
                map50_95_lost=witness.labelled - fidelity.labelled,
                fidelity=fidelity.map50_95,
                confidence_shift=fidelity.confidence_shift,
                loss=fidelity.loss,
            )
        )
        progress.advance(note=layer)
    return sorted(found, key=lambda one: -one.loss)


def _curve(
    shop: Workshop, scales: Mapping[str, float], ranking: Sequence[str], witness: Witness, progress: Progress
) -> tuple[CurvePoint, ...]:
    points = [0, *ladder(len(ranking))]
    progress.start("sensitivity curve", len(points))
    curve: list[CurvePoint] = []
    for count in points:
        fidelity, size = fidelity_of(shop.graph(scales, ranking[:count]), witness)
        curve.append(
            CurvePoint(
                float_layers=count,
                map50_95=fidelity.labelled,
                map50_95_lost=witness.labelled - fidelity.labelled,
                fidelity=fidelity.map50_95,
                confidence_shift=fidelity.confidence_shift,
                size_bytes=size,
            )
        )
        progress.advance()
    return tuple(curve)
