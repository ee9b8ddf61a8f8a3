"""A device whose process is killed: real slots, journal, spool and TUF client, and an engine that stands in for one.

Run as a program it forks a process for each job that it reads from standard input, so that a start costs no imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge.agent import Outbox
from edge.telemetry.spool import Spool
from edge.transport.https import ResumingFetcher
from edge.update.interface import UpdateFault
from edge.update.journal import Journal, UpdateRecord
from edge.update.probe import LiveFigures
from edge.update.slots import Installed, SlotName, SlotStore
from edge.update.tuf_source import TufSource
from edge.update.updater import Updater
from mien.facts import DeviceFacts
from mien.lifecycle import TERMINAL, UpdateState
from mien.messages import Desired, ProbePolicy, UpdateReport
from mien.release import ReleaseRef, Runtime
from tests.fakes.kill_points import KillPoints
from tests.fakes.update_world import FACTS, GOOD_LIVE

BAD, UNBUILDABLE, UNFIT = "1.2.0", "1.3.0", "1.4.0"
"""Releases with a fault."""

Reach = Callable[[str], None]


class StandIn:
    """A device whose engines are texts that end with their own hash: one that is cut short is known for it."""

    def __init__(self, folder: Path, reach: Reach) -> None:
        self.folder, self.reach = folder, reach
        self.running: str | None = None

    def facts(self) -> DeviceFacts:
        return FACTS

    def free_bytes(self) -> int:
        return 1 << 40

    def build(self, model: Path, folder: Path, runtime: Runtime) -> Path:
        text = model.read_text()
        if UNBUILDABLE in text:
            raise UpdateFault("build_failed", "the model cannot be built")
        folder.mkdir(parents=True, exist_ok=True)
        engine, body = folder / f"{model.stem}.{runtime}", f"engine of {text}"
        with engine.open("w") as stream:
            stream.write(body[: len(body) // 2])
            stream.flush()
            self.reach("building.middle")
            stream.write(body[len(body) // 2 :] + hashlib.sha256(body.encode()).hexdigest())
        return engine

    def figures(self) -> LiveFigures | None:
        self.reach("idle.middle")
        return GOOD_LIVE

    def reference_agreement(self, installed: Installed) -> float | None:
        self._load(installed)
        return 0.1 if installed.release.version == BAD else 0.98

    def take_up(self, installed: Installed | None) -> None:
        if installed is not None:
            self._load(installed)
        self.running = installed.release.version if installed else None

    def cameras_away(self) -> tuple[str, ...]:
        return ()

    def watch(self, policy: ProbePolicy) -> LiveFigures:
        self.reach("probing.middle")
        return GOOD_LIVE

    def switched(self) -> None:
        """Nobody shows it."""

    def _load(self, installed: Installed) -> None:
        content = installed.engine_path.read_text()
        whole = content[-64:] == hashlib.sha256(content[:-64].encode()).hexdigest()
        with (self.folder / "loads.log").open("a") as log:
            log.write(f"{installed.release.version} {'whole' if whole else 'HALF'}\n")


class WatchedJournal(Journal):
    """Says when a state is entered and left."""

    def __init__(self, folder: Path, reach: Reach) -> None:
        super().__init__(folder)
        self._reach = reach

    def write(self, record: UpdateRecord) -> None:
        before = self.read()
        moves = before is None or before.state is not record.state
        if before is not None and moves:
            self._reach(f"{before.state.value}.exit")
        super().write(record)
        if moves:
            self._reach(f"{record.state.value}.entry")


class WatchedSlots(SlotStore):
    """Says when a slot was emptied, and when links were changed."""

    def __init__(self, root: Path, reach: Reach) -> None:
        super().__init__(root)
        self._reach = reach

    def empty(self, name: SlotName) -> Path:
        folder = super().empty(name)
        self._reach("verifying.middle")
        return folder

    def switch(self, name: SlotName) -> None:
        super().switch(name)
        self._reach("installing.middle")

    def switch_back(self, bad: SlotName) -> Installed | None:
        back = super().switch_back(bad)
        self._reach("rolling_back.middle")
        return back


class WatchedSource(TufSource):
    """Says when bytes arrive."""

    reach: Reach

    def fetch(self, release: ReleaseRef, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        def counted(count: int) -> None:
            self.reach("downloading.middle")
            on_bytes(count)

        super().fetch(release, path, to, counted)


class WatchedOutbox(Outbox):
    """Says when the end of a deployment is in the spool, and not yet noted as told."""

    reach: Reach

    def report(self, report: UpdateReport) -> None:
        super().report(report)
        if report.state in TERMINAL:
            self.reach(f"{report.state.value}.middle")


def run(job: dict[str, Any]) -> None:
    """One start of the device: what was left is finished, then the orders come that the broker holds."""
    folder = Path(job["folder"])
    place = tuple(job["place"]) if job.get("place") else None
    points = KillPoints(folder, place=place, step=job.get("step"), power_cut=job.get("power_cut", False))
    spool = Spool(folder / "spool.sqlite")
    device = StandIn(folder, points.reach)
    points.install()
    slots = WatchedSlots(folder / "slots", points.reach)
    journal = WatchedJournal(folder / "update", points.reach)
    fetcher = ResumingFetcher(folder / "update" / "parts", f"{job['url']}/targets/", block_bytes=job["block_bytes"])
    source = WatchedSource(
        folder / "tuf",
        Path(job["root"]).read_bytes(),
        metadata_url=f"{job['url']}/metadata/",
        targets_url=f"{job['url']}/targets/",
        fetcher=fetcher,
    )
    outbox = WatchedOutbox(spool)
    source.reach = outbox.reach = points.reach
    updater = Updater(slots=slots, journal=journal, source=source, device=device, reporter=outbox)
    updater.recover()
    for order in job["orders"]:
        desired = Desired.model_validate(order)
        updater.overtake(desired.deployment_id)
        updater.handle(desired)
    updater.take_back_if_asked()
    record = journal.read()
    points.reach(f"{record.state.value if record else UpdateState.IDLE.value}.exit")
    (folder / "steps.json").write_text(json.dumps({"steps": points.steps, "places": dict(points.visits)}))
    (folder / "verdict.json").write_text(json.dumps({"running": device.running}))
    spool.close()


def forked(work: Callable[[dict[str, Any]], None], job: dict[str, Any]) -> int:
    """The exit status of a process that does one job; negative: killed by this signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(job)
            code = 0
        except BaseException:  # noqa: BLE001 - told, and nothing runs on in the copy
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main(lines: Sequence[str]) -> None:
    """Do jobs, one a line, and answer each with its exit status."""
    for line in lines:
        sys.stdout.write(f"{forked(run, json.loads(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.stdin)  # type: ignore[arg-type]
