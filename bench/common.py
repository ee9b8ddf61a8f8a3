"""What the benches share: rows of figures beside their targets, and the weights and data that they measure with.

A bench prints its table and writes ``bench/results/NAME.json``: a list of {"figure", "value", "unit", "target", "met",
"peer"}; a row that is not met carries its "reason".
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.console import err, out, print_json, table_of
from mien.files import write_text

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "runs" / "bench"
SIDE = 320
TRAIN, VAL, SEED = 1800, 1000, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure beside its target."""

    figure: str
    value: float
    unit: str
    target: str
    met: bool
    peer: str
    reason: str = ""


def row(figure: str, value: float, unit: str, limit: float, *, peer: str, least: bool = False, reason: str = "") -> Row:
    """A figure held against its target."""
    met = value >= limit if least else value <= limit
    return Row(
        figure=figure,
        value=round(value, 4),
        unit=unit,
        target=f"{'≥' if least else '≤'} {limit:g}",
        met=met,
        peer=peer,
        reason="" if met else (reason or f"measured {value:.4g} {unit}; {peer}"),
    )


def trimmed(one: Row) -> dict[str, Any]:
    """A row without an empty reason."""
    return {key: value for key, value in asdict(one).items() if key != "reason" or value}


def report(name: str, title: str, rows: Sequence[Row], *, as_json: bool) -> int:
    """Write the rows, print them; the exit code: 0 when every target is met, else 6."""
    path = ROOT / "bench" / "results" / f"{name}.json"
    write_text(path, json.dumps([trimmed(one) for one in rows], indent=2, ensure_ascii=False) + "\n")
    if as_json:
        print_json([trimmed(one) for one in rows])
    else:
        show(title, rows)
    return 0 if all(one.met for one in rows) else 6


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the table."""
    cells = [(one.figure, f"{one.value:g}", one.unit, one.target, "yes" if one.met else "NO") for one in rows]
    out().print(table_of(title, ("figure", ">value", "unit", ">target", "met"), cells))
    for one in rows:
        out().print(f"  {one.figure}: {one.peer}", highlight=False, soft_wrap=True)


def prepared(folder: Path = FOLDER) -> tuple[Path, Path]:
    """Weights and data, made when they are not there yet."""
    data, weights = folder / "data", folder / "fine" / "weights" / "final.pt"
    if not (data / "data.yaml").is_file():
        size = ("--train", TRAIN, "--val", VAL, "--size", SIDE, "--seed", SEED)
        mien("train", "synth", "--out", data, *size)
    if not weights.is_file():
        coarse = folder / "coarse" / "weights" / "final.pt"
        common = ("--data", data, "--seed", SEED)
        if not coarse.is_file():
            recipe = ROOT / "configs" / "training" / "demo.yaml"
            mien("train", "run", *common, "--recipe", recipe, "--out", folder / "coarse")
        recipe = ROOT / "configs" / "training" / "bench-fine.yaml"
        mien("train", "run", *common, "--recipe", recipe, "--model", coarse, "--out", folder / "fine")
    return weights, data


def command(*arguments: object) -> list[str]:
    """A ``mien`` command line of this checkout."""
    return [sys.executable, "-m", "mien", *map(str, arguments)]


def mien(*arguments: object) -> None:
    """Run a ``mien`` command and stop when it fails."""
    err().print(f"mien {' '.join(map(str, arguments))}", highlight=False)
    if code := subprocess.run(command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(code)
