"""The fleet's figures, in one run on one machine: ``make bench-fleet``.

A real Mosquitto with TLS, the real service and simulated devices, a process each; then the figures that need no site,
from modules of their own. Prints a table and writes ``bench/results/fleet.json``. ``--only`` and ``--devices`` are for
a quick look and write nothing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import fleet_scale
from bench.common import FOLDER, ROOT, Row, report, show
from bench.fleet_site import Site
from mien.console import err
from mien.files import write_text

DEVICES = 10_000
MARKS = ("<!-- figures -->", "<!-- /figures -->")
AT_A_SITE: dict[str, Callable[[Site], list[Row]]] = {
    "connected": fleet_scale.connected,
    "rollout": fleet_scale.rollout,
    "bad": fleet_scale.bad,
    "storm": fleet_scale.storm,
}
ALONE = ("ingest", "transfer", "streams", "planner")


def main() -> int:
    """Measure, print, write; 0 when every target is met."""
    names = [*AT_A_SITE, *ALONE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER / "fleet", help="where the site is made, each time anew")
    parser.add_argument("--devices", type=int, default=DEVICES, help="simulated devices")
    parser.add_argument("--only", action="append", choices=names, help="one figure; repeatable")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    asked = parser.parse_args()
    wanted = asked.only or names
    rows = [one for name in ALONE if name in wanted for one in alone(name)]
    at_a_site = [name for name in AT_A_SITE if name in wanted]
    if at_a_site:
        rows += at_site(asked.folder, asked.devices, at_a_site)
    if asked.only or asked.devices != DEVICES:
        show("Fleet, a quick look", rows)
        return 0 if all(one.met for one in rows) else 6
    write_page(ROOT / "docs" / "fleet.md", rows)
    return report("fleet", "Fleet", rows, as_json=asked.json)


def write_page(page: Path, rows: list[Row]) -> None:
    """Put the table into the page, between its marks."""
    lines = ["| figure | value | target |", "|---|---|---|"]
    lines += [f"| {one.figure} | {one.value:g} {one.unit} | {one.target} |" for one in rows]
    before, _, rest = page.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    write_text(page, "\n".join((before + MARKS[0], *lines, MARKS[1] + after)))


def alone(name: str) -> list[Row]:
    """The figures of a module that needs no site."""
    if not (ROOT / "bench" / f"fleet_{name}.py").is_file():
        err().print(f"there is no bench/fleet_{name}.py", highlight=False)
        return []
    err().print(f"measure: {name}", highlight=False)
    found: list[Row] = importlib.import_module(f"bench.fleet_{name}").rows()
    return [told(one) for one in found]


def told(one: Row) -> Row:
    """Say a figure as soon as it is known: a run takes long."""
    err().print(f"{one.figure}: {one.value:g} {one.unit}, wanted {one.target}; {one.peer}", highlight=False)
    return one


def at_site(folder: Path, devices: int, names: list[str]) -> list[Row]:
    """The figures of a whole site, one after the other."""
    site = Site(folder, devices)
    try:
        site.open()
        return [told(one) for name in names for one in AT_A_SITE[name](site)]
    finally:
        said = site.close()
        err().print(f"the simulator: {said.get('messages')}, {said.get('verified')} verified", highlight=False)


if __name__ == "__main__":
    raise SystemExit(main())
