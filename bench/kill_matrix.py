"""Kills a device's process at every place and every step of an update, and looks what the next start makes of it.

Each case is a real process on a real disk with the real TUF client; SIGKILL comes at the entry, in the middle and at
the exit of each state, and before each step of the file system, once as a kill and once as a power cut, which also
takes what was not flushed. Then the device is started again, and these must hold:

- it runs one release, whose bytes are those that were installed; no engine that is cut short was ever opened;
- device and fleet agree: the fleet's own planner, given the device's reports and twin, says what the disk says;
- the update ends as it does without a kill, and nothing half made is left behind.

Places are tried with a second kill of the next start as well, after which a release may also have been taken back.

Prints a table and writes ``bench/results/kill-matrix.json``; ends with 6 if anything did not hold.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edge.telemetry.spool import Spool  # noqa: E402 - the checkout comes first
from edge.update.by_hand import Request, Requests  # noqa: E402
from edge.update.journal import Journal, UpdateRecord  # noqa: E402
from edge.update.slots import Installed, SlotStore  # noqa: E402
from fleet.rollouts.actions import SetExecution  # noqa: E402
from fleet.rollouts.planner import plan  # noqa: E402
from fleet.rollouts.policy import RolloutPolicy  # noqa: E402
from fleet.rollouts.states import ExecutionState, RolloutState, WaveState  # noqa: E402
from fleet.rollouts.view import DeviceView, ExecutionView, RolloutView, WaveView  # noqa: E402
from mien import topics  # noqa: E402
from mien.console import out, print_json, table_of  # noqa: E402
from mien.errors import BundleError  # noqa: E402
from mien.files import write_text  # noqa: E402
from mien.lifecycle import UpdateState  # noqa: E402
from mien.messages import UpdateReport, decode  # noqa: E402
from tests.fakes.fake_fleet import FakeFleet  # noqa: E402
from tests.fakes.kill_device import BAD, UNBUILDABLE, UNFIT  # noqa: E402
from tests.fakes.tuf_repository import TufRepository  # noqa: E402
from tests.fakes.update_world import FakeSource  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "kill-matrix.json"
GOOD, FIRST = "1.1.0", "1.0.0"
_BLOCK_BYTES = 512
"""So small that a download has several blocks."""
_SIGKILL = -9
_INTERRUPTED = "rolled_back (interrupted)"
"""A release whose trial ended its process twice is taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a device is told, and what it ran before."""

    name: str
    before: tuple[str, ...] = (FIRST,)
    order: str = GOOD
    rollback: bool = False
    by_hand: bool = False


STORIES = (
    Story(name="a good release"),
    Story(name="a release that fails its probe", order=BAD),
    Story(name="an engine that cannot be built", order=UNBUILDABLE),
    Story(name="a release for other machines", order=UNFIT),
    Story(name="the first release", before=(), order=FIRST),
    Story(name="a first release that fails", before=(), order=BAD),
    Story(name="a return that the fleet orders", before=(FIRST, GOOD), order=FIRST, rollback=True),
    Story(name="a return by hand", before=(FIRST, GOOD), order=GOOD, by_hand=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kill."""

    story: Story
    at: str
    """A place such as ``building.middle``, or a step such as ``rename update/journal.json``."""
    kill: dict[str, Any]
    twice: bool = False
    """Whether the next start is killed at the same place, if it comes by there again."""

    @property
    def group(self) -> str:
        """The state or the kind of step."""
        return self.at.partition(".")[0] if "place" in self.kill else self.at.rpartition(" ")[0]

    @property
    def way(self) -> str:
        """Entry, middle or exit, once or twice; kill or power cut."""
        if self.twice:
            return "twice"
        if "place" in self.kill:
            return self.at.partition(".")[2]
        return "power cut" if self.kill["power_cut"] else "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the next start made of a case."""

    case: Case
    end: str
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Workshop:
    """Releases, their server, a program that forks devices, and each story's disk before its order."""

    folder: Path
    fleet: FakeFleet
    root: Path
    sha256: dict[str, str]
    program: subprocess.Popen[str]
    disks: dict[str, Path] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    """How each story ends without a kill."""

    def order(self, deployment: str, version: str, *, rollback: bool = False) -> dict[str, Any]:
        """A desired release, as the broker holds it."""
        return {
            "deployment_id": deployment,
            "release": {"name": "faces", "version": version},
            "manifest_sha256": self.sha256[version],
            "issued_at": 0,
            "rollback": rollback,
        }

    def orders_of(self, story: Story) -> list[dict[str, Any]]:
        """What the broker holds while the story goes on; before a return by hand, what brought the release."""
        return [self.order("before-1" if story.by_hand else "the-order", story.order, rollback=story.rollback)]

    def start(self, disk: Path, orders: Sequence[dict[str, Any]], kill: dict[str, Any] | None = None) -> int:
        """Start a device; its exit status."""
        job = {
            "folder": str(disk),
            "url": f"{self.fleet.url}/tuf",
            "root": str(self.root),
            "orders": list(orders),
            "block_bytes": _BLOCK_BYTES,
            **(kill or {}),
        }
        if self.program.stdin is None or self.program.stdout is None:
            raise RuntimeError("the device program has no pipes")
        self.program.stdin.write(json.dumps(job) + "\n")
        self.program.stdin.flush()
        return int(self.program.stdout.readline())

    def disk_of(self, story: Story) -> Path:
        """A fresh copy of the story's disk."""
        if story.name not in self.disks:
            self.disks[story.name] = self._made(story)
        copy = self.folder / "disk"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.disks[story.name], copy, symlinks=True)
        return copy

    def _made(self, story: Story) -> Path:
        disk = self.folder / f"disk-{len(self.disks)}"
        disk.mkdir()
        for number, version in enumerate(story.before):
            self._must(self.start(disk, [self.order(f"before-{number}", version)]))
        if story.by_hand:
            Requests(disk / "update").ask(Request(manifest_sha256=self.sha256[story.order], asked_at=1.0))
        return disk

    @staticmethod
    def _must(status: int) -> None:
        if status != 0:
            raise RuntimeError(f"a device that nobody killed ended with {status}")


@contextmanager
def workshop(folder: Path) -> Iterator[Workshop]:
    """Sign the releases, serve them, and have the device program ready."""
    with ExitStack() as closing:
        releases = FakeSource(folder / "releases")
        repository = TufRepository(folder / "repository")
        sha256 = {}
        for version in (FIRST, GOOD, BAD, UNBUILDABLE, UNFIT):
            releases.add(version, runtimes=("tensorrt",) if version == UNFIT else ("onnxruntime",))
            sha256[version] = repository.add_bundle(folder / "releases" / version, "faces", version)
        fleet = FakeFleet(repository.folder, repository.root_bytes)
        closing.callback(fleet.close)
        program = closing.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.kill_device"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        root = folder / "repository" / "metadata" / "1.root.json"
        yield Workshop(folder=folder, fleet=fleet, root=root, sha256=sha256, program=program)
        if program.stdin is not None:
            program.stdin.close()


def cases_of(shop: Workshop, story: Story) -> list[Case]:
    """Every place and every step that the story comes by without a kill."""
    disk = shop.disk_of(story)
    if (status := shop.start(disk, shop.orders_of(story))) != 0:
        raise RuntimeError(f"{story.name}: the device ended with {status}")
    seen = json.loads((disk / "steps.json").read_text())
    outcome = look(shop, Case(story=story, at="", kill={"place": None}), disk)
    if outcome.faults:
        raise RuntimeError(f"{story.name} does not end well without a kill: {outcome.faults}")
    shop.ends[story.name] = outcome.end
    places = [
        Case(story=story, at=place, kill={"place": [place, 1]}, twice=twice)
        for place in seen["places"]
        for twice in (False, True)
    ]
    steps = [
        Case(story=story, at=step, kill={"step": number, "power_cut": power_cut})
        for number, step in enumerate(seen["steps"])
        for power_cut in (False, True)
    ]
    return places + steps


def tried(shop: Workshop, case: Case) -> Outcome:
    """Kill, start again, look."""
    disk, orders = shop.disk_of(case.story), shop.orders_of(case.story)
    if (status := shop.start(disk, orders, case.kill)) != _SIGKILL:
        return Outcome(case=case, end="", faults=(f"was not killed, and ended with {status}",))
    if case.twice:
        shop.start(disk, orders, case.kill)
    if (status := shop.start(disk, orders)) != 0:
        return Outcome(case=case, end="", faults=(f"did not start again: {status}",))
    return look(shop, case, disk)


def look(shop: Workshop, case: Case, disk: Path) -> Outcome:
    """Hold disk, process and fleet against each other."""
    active, record = SlotStore(disk / "slots").active(), Journal(disk / "update").read()
    end = f"{record.state.value}{f' ({record.error_code})' if record.error_code else ''}" if record else "nothing"
    wanted = shop.ends.get(case.story.name, end)
    allowed = {wanted, _INTERRUPTED} if case.twice else {wanted}
    faults = [] if end in allowed else [f"ended as {end}, and as {wanted} without a kill"]
    faults += [*_engine_faults(disk, active), *_left_over(disk), *_disagreement(case.story, disk, active, record)]
    return Outcome(case=case, end=end, faults=tuple(faults))


def _engine_faults(disk: Path, active: Installed | None) -> Iterator[str]:
    running = json.loads((disk / "verdict.json").read_text())["running"]
    expected = active.release.version if active else None
    if running != expected:
        yield f"runs {running}, and {expected} is active"
    loads = disk / "loads.log"
    if loads.is_file() and "HALF" in loads.read_text():
        yield "an engine that was cut short was opened"
    try:
        if active is not None:
            active.verify()
    except BundleError as error:
        yield str(error)


def _left_over(disk: Path) -> Iterator[str]:
    for path in sorted(disk.rglob("*")):
        name = path.relative_to(disk).as_posix()
        if name.endswith((".part", ".new")) or name.startswith("slots/staging/") or path.name.startswith("tmp"):
            yield f"{name} was left over"


_ENDS = {
    UpdateState.COMMITTED: ExecutionState.SUCCEEDED,
    UpdateState.ROLLED_BACK: ExecutionState.FAILED,
    UpdateState.FAILED: ExecutionState.FAILED,
    UpdateState.REJECTED: ExecutionState.REJECTED,
}


def _disagreement(story: Story, disk: Path, active: Installed | None, record: UpdateRecord | None) -> Iterator[str]:
    if record is None:
        yield "the journal is gone"
        return
    report = _last_report(disk, record.desired.deployment_id)
    if report is None:
        yield "the fleet never heard of an end"
        return
    says = _planned(report, active)
    if says is not _ENDS[record.state]:
        yield f"the fleet's planner says {says}, the device {record.state.value}"
    has_it = active is not None and active.record.manifest_sha256 == record.desired.manifest_sha256
    if has_it != (says is ExecutionState.SUCCEEDED):
        yield f"the fleet's planner says {says}, and {active.release if active else 'nothing'} is active"
    before = story.before[-2 if story.by_hand else -1 :][:1]
    if not has_it and (active.release.version if active else None) != (before[0] if before else None):
        yield "neither the new release nor the one before is active"


def _last_report(disk: Path, deployment_id: str) -> UpdateReport | None:
    """As the fleet keeps it: by number, whatever the order in which reports come."""
    spool = Spool(disk / "spool.sqlite")
    items = spool.waiting(topics.UPDATE, most=1000)
    spool.close()
    reports = [decode(UpdateReport, item.payload, source="spool") for item in items]
    mine = [report for report in reports if report.deployment_id == deployment_id]
    return max(mine, key=lambda report: report.sequence, default=None)


def _planned(report: UpdateReport, active: Installed | None) -> ExecutionState:
    """What the fleet's planner makes of an execution in progress, given the report and the twin."""
    policy = RolloutPolicy.model_validate({"waves": [{"name": "all", "percent": 100}], "analysis": None})
    execution = ExecutionView(
        device_id="cam-1",
        wave=0,
        deployment_id=report.deployment_id,
        state=ExecutionState.IN_PROGRESS,
        previous=None,
        queued_at=0.0,
        started_at=report.at,
        report=report,
    )
    rollout = RolloutView(
        id=1,
        release=str(report.release),
        seed="s",
        state=RolloutState.RUNNING,
        policy=policy,
        waves=(WaveView(number=0, state=WaveState.RUNNING, started_at=0.0),),
        executions=(execution,),
    )
    device = DeviceView(id="cam-1", group="lab", release=str(active.release) if active else None)
    for action in plan(rollout, [device], None, report.at):
        if isinstance(action, SetExecution):
            return action.state
    return execution.state


def matrix(folder: Path, *, chosen: Callable[[list[Case]], list[Case]] = list) -> list[Outcome]:
    """Try the chosen cases of every story, by default all."""
    with workshop(folder) as shop:
        return [tried(shop, case) for story in STORIES for case in chosen(cases_of(shop, story))]


def each_kind_once(cases: list[Case]) -> list[Case]:
    """All places, and each step in each way once: the same file is written many times in an update."""
    seen: dict[tuple[str, str], Case] = {}
    for case in cases:
        seen.setdefault((case.at, case.way), case)
    return list(seen.values())


def table(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Cases by state or kind of step and by the way of the kill: how many there were, and how many did not hold."""
    cells: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        cells.setdefault((outcome.case.group, outcome.case.way), []).append(outcome)
    return [
        {"at": group, "way": way, "cases": len(found), "faults": sum(1 for one in found if one.faults)}
        for (group, way), found in cells.items()
    ]


def summary(outcomes: Sequence[Outcome], took_s: float) -> dict[str, Any]:
    """What is written to disk."""
    stories = []
    for story in STORIES:
        mine = [outcome for outcome in outcomes if outcome.case.story is story]
        ends = sorted({outcome.end for outcome in mine})
        stories.append({"story": story.name, "cases": len(mine), "ended": ends})
    return {
        "cases": len(outcomes),
        "faults": [f"{o.case.story.name}, {o.case.at}, {o.case.way}: {f}" for o in outcomes for f in o.faults],
        "seconds": round(took_s, 1),
        "stories": stories,
        "cells": table(outcomes),
    }


def show(found: dict[str, Any]) -> None:
    """Print it."""
    rows = [(cell["at"], cell["way"], str(cell["cases"]), str(cell["faults"])) for cell in found["cells"]]
    out().print(table_of("kill matrix", ("at", "way", ">cases", ">faults"), rows))
    stories = [(one["story"], str(one["cases"]), ", ".join(one["ended"])) for one in found["stories"]]
    out().print(table_of("stories", ("story", ">cases", "ended"), stories))
    for fault in found["faults"]:
        out().print(f"  {fault}", highlight=False, soft_wrap=True)
    out().print(f"{found['cases']} cases in {found['seconds']} s, {len(found['faults'])} faults", highlight=False)


def page(found: dict[str, Any]) -> str:
    """The same as tables for the documentation."""
    ways = ("entry", "middle", "exit", "twice", "kill", "power cut")
    cells = {(cell["at"], cell["way"]): cell for cell in found["cells"]}
    groups = list(dict.fromkeys(cell["at"] for cell in found["cells"]))
    lines = [f"| killed at | {' | '.join(ways)} |", f"|---|{'---|' * len(ways)}"]
    for group in groups:
        shown = [cells.get((group, way)) for way in ways]
        counts = [f"{cell['cases'] - cell['faults']} of {cell['cases']}" if cell else "" for cell in shown]
        lines.append(f"| {group} | {' | '.join(counts)} |")
    lines += ["", "| story | cases | ended |", "|---|---|---|"]
    lines += [f"| {one['story']} | {one['cases']} | {', '.join(one['ended'])} |" for one in found["stories"]]
    lines += ["", f"**{found['cases']} cases, {len(found['faults'])} faults**, in {found['seconds']:.0f} s."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it all; the exit code."""
    parser = argparse.ArgumentParser(description="Kill a device at every point of an update.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--all", action="store_true", help="every step, not only each kind of step; takes long")
    parser.add_argument("--folder", type=Path, help="where the devices' disks are; by default a temporary folder")
    parser.add_argument("--page", action="store_true", help="print the last results as the documentation shows them")
    arguments = parser.parse_args()
    if arguments.page:
        sys.stdout.write(page(json.loads(RESULTS.read_text())))
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        outcomes = matrix(Path(folder), chosen=list if arguments.all else each_kind_once)
        found = summary(outcomes, time.monotonic() - begun)
    write_text(RESULTS, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    if arguments.json:
        print_json(found)
    else:
        show(found)
    return 6 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
