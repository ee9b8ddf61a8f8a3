"""Which muscles make which expression: facial action units (FACS) and their prototypes.

Prototypes follow P. Ekman, W. V. Friesen and J. C. Hager, "Facial Action Coding System" (2002), Investigator's Guide,
table of emotion-related combinations (EMFACS); contempt is one-sided. Intensities run from 0 (absent) to 1 (maximum).
Pure: a generator goes in, values come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mien.expressions import EXPRESSIONS

NAMES: dict[str, str] = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU7": "lid tightener",
    "AU9": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU12": "lip corner puller",
    "AU14": "dimpler, one corner",
    "AU15": "lip corner depressor",
    "AU17": "chin raiser",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU43": "eyes closed",
}

Units = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Prototype:
    """One way to show an expression: units with their full intensity, and units that may join them."""

    units: Units
    optional: Units = field(default_factory=dict)


PROTOTYPES: dict[str, tuple[Prototype, ...]] = {
    "anger": (
        Prototype({"AU4": 1.0, "AU5": 0.5, "AU7": 0.8, "AU23": 1.0}, {"AU17": 0.4}),
        Prototype({"AU4": 1.0, "AU5": 0.5, "AU7": 0.8, "AU10": 0.5, "AU23": 0.5, "AU25": 0.7}, {"AU26": 0.25}),
    ),
    "contempt": (Prototype({"AU14": 1.0}, {"AU7": 0.25, "AU43": 0.2}),),
    "disgust": (
        Prototype({"AU9": 1.0, "AU10": 0.9, "AU4": 0.4, "AU7": 0.6}, {"AU25": 0.35, "AU17": 0.4}),
        Prototype({"AU9": 1.0, "AU10": 1.0, "AU15": 0.5, "AU6": 0.3}, {"AU17": 0.5}),
    ),
    "fear": (
        Prototype({"AU1": 1.0, "AU2": 0.5, "AU4": 0.6, "AU5": 1.0, "AU20": 1.0, "AU25": 0.7}, {"AU26": 0.3}),
        Prototype({"AU1": 1.0, "AU2": 0.6, "AU4": 0.5, "AU5": 1.0, "AU7": 0.3, "AU20": 0.9, "AU25": 0.5}),
    ),
    "happy": (
        Prototype({"AU6": 0.8, "AU12": 1.0, "AU25": 0.8}, {"AU26": 0.35}),
        Prototype({"AU6": 0.6, "AU12": 0.9}, {"AU7": 0.2}),
    ),
    "neutral": (Prototype({}, {"AU25": 0.08}),),
    "sad": (
        Prototype({"AU1": 1.0, "AU4": 0.6, "AU15": 1.0}, {"AU17": 0.7, "AU43": 0.35}),
        Prototype({"AU1": 0.9, "AU15": 0.9, "AU17": 0.6, "AU7": 0.2}, {"AU43": 0.4}),
    ),
    "surprise": (Prototype({"AU1": 0.9, "AU2": 1.0, "AU5": 0.9, "AU25": 0.6, "AU26": 1.0}),),
}

_WEAKEST, _OPTIONAL_CHANCE, _TWITCH = 0.7, 0.5, 0.06


def sample(expression: str, rng: np.random.Generator) -> dict[str, float]:
    """Action units of one face that shows an expression, at an intensity between weak and full.

    Args:
        expression: one of :data:`mien.expressions.EXPRESSIONS`.
        rng: the face's own generator.
    """
    choices = PROTOTYPES[expression]
    prototype = choices[int(rng.integers(len(choices)))]
    strength = rng.uniform(_WEAKEST, 1.0)
    units = {name: strength * value * rng.uniform(0.85, 1.0) for name, value in prototype.units.items()}
    for name, value in prototype.optional.items():
        if rng.random() < _OPTIONAL_CHANCE:
            units[name] = value * rng.uniform(0.4, 1.0)
    for name in ("AU1", "AU2", "AU4", "AU12", "AU15"):
        units.setdefault(name, float(rng.uniform(0, _TWITCH)))
    return {name: float(min(1.0, value)) for name, value in units.items()}


def blend(one: Units, other: Units, share: float) -> dict[str, float]:
    """Units between two faces; ``share`` 0 gives ``one``, 1 gives ``other``."""
    return {name: (1 - share) * one.get(name, 0.0) + share * other.get(name, 0.0) for name in sorted({*one, *other})}


def expression_index(expression: str) -> int:
    """The label index of an expression."""
    return EXPRESSIONS.index(expression)
