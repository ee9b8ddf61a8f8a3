"""How much each class was seen lately, and which one stands. Pure.

The evidence of a class ``c`` is an exponential moving average over time that may be spaced unevenly, with a half-life
``h``. When a frame comes ``Δt`` seconds after the one before and shows the class with the score ``s`` (0 when it shows
another)::

    keep = 2 ** (-Δt / h)
    E[c] = keep * E[c] + (1 - keep) * s
    W    = keep * W    + (1 - keep)

so ``E[c] / W`` is the mean score of the class, weighted by age, and independent of the frame rate. This is the average
with next-point interpolation of A. Eckner, *Algorithms for Unevenly Spaced Time Series: Moving Averages and Other
Rolling Operators* (2012), after U. A. Müller, *Specially Weighted Moving Averages with Repeated Application of the EMA
Operator* (1991); ``W`` takes the place of a start value, as the bias correction of D. P. Kingma and J. Ba, *Adam*
(2015), section 3, does. Two rules are ours: the first frame counts like one of a camera with 30 fps; a frame after a
gap speaks for a quarter of a second at most, so one look after a break does not outvote what was seen before it.
"""

from __future__ import annotations

from collections.abc import Iterable

_FIRST_S = 1 / 30
_LONGEST_S = 0.25
_NOTHING = 1e-9


class Smoother:
    """The evidence of one face, and the class that stands for it.

    The class with the largest share of the evidence stands; another takes over when its share is larger by ``margin``
    and the standing one has stood for a half-life, so it changes once in a half-life at most.

    Args:
        half_life_s: of the evidence.
        margin: 0..1, of the shares.
        at_s: when the face was first seen.
        seen: the classes that the first frame shows for it, with their scores.
    """

    __slots__ = ("_at_s", "_evidence", "_half_life_s", "_margin", "_since_s", "_weight", "label")

    def __init__(self, half_life_s: float, margin: float, at_s: float, seen: Iterable[tuple[int, float]]) -> None:
        self._half_life_s = half_life_s
        self._margin = margin
        self._at_s = at_s
        self._since_s = at_s
        self._evidence: dict[int, float] = {}
        self._weight = 0.0
        self.label = -1
        """The class that stands."""
        self._add(1 - 2 ** (-_FIRST_S / half_life_s), seen)
        self.begin()

    def see(self, at_s: float, seen: Iterable[tuple[int, float]]) -> None:
        """Take what a frame shows for this face; a class that is named twice counts with its sum."""
        passed_s = max(at_s - self._at_s, 0.0)
        self._at_s += passed_s
        self._age(2 ** (-passed_s / self._half_life_s))
        self._add(1 - 2 ** (-min(passed_s, _LONGEST_S) / self._half_life_s), seen)
        if self._at_s - self._since_s >= self._half_life_s:
            self._settle()

    def begin(self) -> None:
        """Choose the class from all evidence so far, as if for the first time."""
        self.label, self._since_s = self._strongest(), self._at_s

    def evidence(self, label: int) -> float:
        """``E`` of a class."""
        return self._evidence.get(label, 0.0)

    @property
    def score(self) -> float:
        """``E / W`` of the class that stands: 0..1."""
        return min(self.evidence(self.label) / self._weight, 1.0)

    def _age(self, keep: float) -> None:
        self._weight *= keep
        evidence = self._evidence
        for label in tuple(evidence):
            evidence[label] *= keep
            if evidence[label] < _NOTHING:
                del evidence[label]

    def _add(self, weight: float, seen: Iterable[tuple[int, float]]) -> None:
        self._weight += weight
        for label, score in seen:
            self._evidence[label] = self._evidence.get(label, 0.0) + weight * score

    def _strongest(self) -> int:
        evidence = self._evidence
        return min(evidence, key=lambda label: (-evidence[label], label), default=self.label)

    def _settle(self) -> None:
        best = self._strongest()
        lead = self.evidence(best) - self.evidence(self.label)
        if best != self.label and lead >= self._margin * sum(self._evidence.values()):
            self.label, self._since_s = best, self._at_s
