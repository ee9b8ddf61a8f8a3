"""How the command line shows experiments. Pure: JSON in, rows and tables out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from fleet.cli_views import coloured, number
from mien.console import table_of

_Row = Sequence[object]
_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDE = 40


def experiment_rows(experiments: Iterable[Mapping[str, Any]]) -> list[_Row]:
    """One row for each experiment."""
    return [
        (
            one["id"],
            one["kind"],
            one["arms"][0]["release"],
            one["arms"][1]["release"],
            coloured(one["state"]),
            f"{100 * one['share']:.0f} %",
            None if one["chance"] is None else f"{100 * one['chance']:.1f} %",
            one["winner"],
        )
        for one in experiments
    ]


def experiment_view(experiment: Mapping[str, Any]) -> Group:
    """An experiment with its sides, verdict, posterior and devices."""
    parts: list[Any] = [escape(sentence) for sentence in experiment["sentences"]]
    if experiment["chance"] is not None or any(arm["posterior"] for arm in experiment["arms"]):
        parts.append(_posteriors(experiment))
    if experiment["verdict"]:
        parts.append(_verdict(experiment["verdict"]))
    if experiment["rounds"]:
        parts.append(_rounds(experiment))
    parts.append(_members(experiment))
    return Group(*parts)


def spark(curve: Sequence[Sequence[float]], *, wide: int = _WIDE) -> str:
    """A density over 0..1 as a line of blocks."""
    heights = [0.0] * wide
    for place, height in curve:
        slot = min(wide - 1, int(place * wide))
        heights[slot] = max(heights[slot], height)
    top = max(heights) or 1.0
    return "".join(_BLOCKS[round(height / top * (len(_BLOCKS) - 1))] for height in heights)


def _posteriors(experiment: Mapping[str, Any]) -> Table:
    rows = [
        (
            arm["arm"],
            arm["release"],
            arm["devices"],
            f"{arm['posterior']['observations']:.0f}",
            number(arm["posterior"]["mean"], 3),
            number(arm["posterior"]["spread"], 3),
            spark(arm["posterior"]["curve"]),
        )
        for arm in experiment["arms"]
    ]
    columns = ("side", "release", ">devices", ">observations", ">mean reward", ">±", "posterior over 0..1")
    return table_of("Posterior", columns, rows)


def _verdict(verdict: Mapping[str, Any]) -> Table:
    rows = [
        (
            metric["metric"],
            metric["outcome"],
            number(metric["value"], 3),
            number(metric["stable"], 3),
            None if metric["p"] is None else f"{metric['p']:.3f}",
            number(metric["effect"], 2),
            escape(metric["reason"]),
        )
        for metric in verdict["metrics"]
    ]
    columns = ("metric", "verdict", ">candidate", ">control", ">p", ">effect", "why")
    return table_of(f"Verdict {verdict['look']}: {verdict['outcome']}", columns, rows)


def _rounds(experiment: Mapping[str, Any]) -> Table:
    rows = [
        (
            done["number"],
            f"{100 * done['share']:.0f} %",
            f"{100 * done['chance']:.1f} %",
            number(done["means"]["control"], 3),
            number(done["means"]["candidate"], 3),
        )
        for done in experiment["rounds"][-10:]
    ]
    return table_of("Rounds", (">round", ">share", ">chance better", ">control", ">candidate"), rows)


def _members(experiment: Mapping[str, Any]) -> Table:
    rows = [
        (member["device"], member["arm"], coloured(member["state"]), member["switches"], escape(member["detail"]))
        for member in experiment["members"]
    ]
    return table_of("Devices", ("device", "side", "state", ">switches", "detail"), rows)
