"""Small plots as SVG coordinates: quartiles of two groups, posteriors, shares over rounds. Pure.

They are drawn on the server, so that a page is whole without a script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDE, HIGH = 320.0, 110.0
_ROOM = 1.08


def band(metric: Mapping[str, Any]) -> dict[str, Any] | None:
    """Quartiles of the new release and of what was expected, on one scale from 0; ``None`` where there are none."""
    new, expected = metric.get("new"), metric.get("expected")
    if not new or not expected:
        return None
    top = max(*new, *expected) * _ROOM
    if top <= 0:
        return None
    shown = {"new": _box(new, top), "expected": _box(expected, top), "top": top}
    return shown | {"label": f"new release {_three(new)}, expected {_three(expected)}"}


def posteriors(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each arm's posterior over rewards 0..1 as points of a line, on one scale of heights."""
    known = [arm for arm in arms if arm["posterior"]]
    top = max((height for arm in known for _, height in arm["posterior"]["curve"]), default=0.0) or 1.0
    return [
        {
            "arm": arm["arm"],
            "release": arm["release"],
            "mean": arm["posterior"]["mean"],
            "spread": arm["posterior"]["spread"],
            "points": " ".join(
                f"{place * WIDE:.1f},{HIGH - height / top / _ROOM * HIGH:.1f}"
                for place, height in arm["posterior"]["curve"]
            ),
        }
        for arm in known
    ]


def over_rounds(experiment: Mapping[str, Any], name: str) -> str:
    """A share of 0..1 over the rounds as points of a line; empty with fewer than two."""
    first = experiment["policy"]["share"] if name == "share" else 0.5
    values = [first, *(done[name] for done in experiment["rounds"])]
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    step = WIDE / (len(values) - 1)
    return " ".join(f"{index * step:.1f},{HIGH - value * HIGH:.1f}" for index, value in enumerate(values))


def _box(values: Sequence[float], top: float) -> dict[str, float]:
    low, mid, high = (round(100 * max(0.0, value) / top, 2) for value in values)
    return {"low": low, "mid": mid, "width": round(max(0.6, high - low), 2)}


def _three(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} to {values[2]:.3g}, median {values[1]:.3g}"
