"""The rollout's tick, measured with a big fleet in the store: SQLite, and PostgreSQL where its programs are there.

A rollout whose last wave holds the whole fleet: thousands of devices are at it, the rest waits for a turn. Before each
tick as many devices end as a second brings in a rollout of that size; the tick then does all of its work: it reads,
follows the reports, tells the next devices, and stores that in one transaction. Part of
``make bench-fleet``; alone: ``python bench/fleet_planner.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import Row, row, show, trimmed
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import ExecutionState, RolloutState
from fleet.rollouts.tick import Tick
from fleet.rollouts.view import ExecutionView
from fleet.store.database import Store, open_store
from fleet.store.models import DeviceRow
from fleet.store.releases import Release
from mien.console import err, print_json
from mien.errors import ExitCode
from mien.lifecycle import UpdateState
from mien.messages import UpdateReport
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle
from tests.fakes.postgres_server import PostgresServer, programs

DEVICES, ENDING, TURNS = 100_000, 200, 7
"""``ENDING`` devices end before each tick, one a second: 100,000 devices would take eight minutes."""
OLD, NEW = "faces@1.0.0", "faces@1.1.0"
START = 1_800_000_000.0
CANARIES, AT_ONCE = 100, 5_000
POLICY: dict[str, Any] = {
    "name": "bench",
    "waves": [{"name": "canary", "count": CANARIES}, {"name": "rest", "percent": 100}],
    "success_threshold": 0.99,
    "error_threshold": 0.01,
    "concurrency": AT_ONCE,
    "budget": {"by": "site", "max_unavailable": {"percent": 50}},
    "analysis": {"mode": "report", "timeout_s": 60},
}
_SITES = 500
_IN_ONE = 5_000


@dataclass(slots=True, kw_only=True)
class Clock:
    """Stands until it is moved."""

    now: float = START

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What was measured, in seconds."""

    soaking: list[float]
    """A canary wave is judged."""
    looking: list[float]
    """As ``working``, and every device is looked at: now and then in a great fleet."""
    opening: float
    """The whole rest of the fleet is chosen."""
    working: list[float]
    resting: list[float]
    """There is nothing to do."""


def rows(devices: int = DEVICES) -> list[Row]:
    """One row for each database that is there."""
    places = {"SQLite": _sqlite}
    try:
        programs()
        places["PostgreSQL"] = _postgres
    except FileNotFoundError as error:
        err().print(f"PostgreSQL is left out: {error}", highlight=False)
    found = []
    for kind, place in places.items():
        err().print(f"{kind}: a rollout over {devices} devices", highlight=False)
        with tempfile.TemporaryDirectory() as folder, place(Path(folder)) as url:
            found.append(_row(kind, devices, measure(url, Path(folder), devices)))
    return found


def measure(url: str, folder: Path, devices: int) -> Times:
    """Run a rollout into its last wave, and time its ticks.

    Args:
        url: of an empty database.
        folder: for files of the moment.
        devices: how many.
    """
    open_store(url).close()
    _enrol(url, devices)
    store, clock = open_store(url), Clock()
    try:
        number = _begin(store, folder)
        tick = Tick(store, clock=clock, changed=lambda: None, patience_s=float("inf"))  # looks at every device
        tick.run()
        _end(store, number, clock, CANARIES)
        tick.run()
        soaking = [_timed(tick.run) for _ in range(TURNS)]
        clock.now += POLICY["analysis"]["timeout_s"] + 1
        opening = _timed(tick.run)
        looking = [_turn(store, number, tick, clock) for _ in range(TURNS)]
        tick = Tick(store, clock=clock, changed=lambda: None)
        _turn(store, number, tick, clock)  # looks at every device, and then not for ten times as long
        return Times(
            soaking=soaking,
            opening=opening,
            looking=looking,
            working=[_turn(store, number, tick, clock) for _ in range(TURNS)],
            resting=[_timed(tick.run) for _ in range(TURNS)],
        )
    finally:
        store.close()


def _row(kind: str, devices: int, times: Times) -> Row:
    working, resting, looking, soaking = (
        statistics.median(some) for some in (times.working, times.resting, times.looking, times.soaking)
    )
    peer = (
        f"median of {TURNS} (slowest {max(times.working):.2f} s): {ENDING} devices ended and as many are told; with "
        f"nothing to do {resting:.2f} s. A tick that looks at every device, a tenth of the time at most, took "
        f"{looking:.2f} s; while a canary wave is judged {soaking:.2f} s; once for choosing a wave of "
        f"{devices - CANARIES} devices {times.opening:.1f} s"
    )
    return row(f"planner tick at {devices} devices in the store, {kind}", working, "s", 1.0, peer=peer)


def _turn(store: Store, number: int, tick: Tick, clock: Clock) -> float:
    """Some devices end; then one tick, which must tell as many others."""
    clock.now += 1.0
    _end(store, number, clock, ENDING)
    seconds = _timed(tick.run)
    if len(_at_it(store, number)) != AT_ONCE:
        raise SystemExit(f"after a tick {len(_at_it(store, number))} devices are at it, {AT_ONCE} wanted")
    return seconds


def _at_it(store: Store, number: int) -> list[ExecutionView]:
    """Devices that were told and have not ended."""
    with store.read() as work:
        rollout = work.rollouts.planned(number)
    told = rollout.view.executions if rollout else ()
    return [one for one in told if one.state is ExecutionState.QUEUED and not one.waiting]


def _end(store: Store, number: int, clock: Clock, count: int) -> None:
    """Devices say that they have the release."""
    ending = _at_it(store, number)[:count]
    with store.write() as work:
        for execution in ending:
            said = UpdateReport(
                deployment_id=execution.deployment_id,
                release=ReleaseRef.parse(NEW),
                sequence=9,
                state=UpdateState.COMMITTED,
                at=clock(),
            )
            work.rollouts.report(execution.device_id, said)


def _begin(store: Store, folder: Path) -> int:
    """A published release, and its rollout, running; its number."""
    manifest = write_bundle(folder / "bundle", "1.1.0")
    policy = RolloutPolicy.model_validate(POLICY)
    with store.write() as work:
        work.releases.put(Release(ref=NEW, manifest_sha256="a" * 64, manifest=manifest, published_at=START))
        number = work.rollouts.add(NEW, "a" * 64, policy, seed="bench", at=START)
        work.rollouts.move(number, RolloutState.RUNNING, started_at=START)
    return number


def _enrol(url: str, devices: int) -> None:
    """Devices that run another release, each with what a device says of itself."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for begin in range(0, devices, _IN_ONE):
                some = [_device(number) for number in range(begin, min(begin + _IN_ONE, devices))]
                connection.execute(insert(DeviceRow), some)
    finally:
        engine.dispose()


def _device(number: int) -> dict[str, Any]:
    return {
        "id": f"cam-{number:06}",
        "device_group": "bench",
        "state": "accepted",
        "certificate_pem": "-",
        "certificate_serial": str(number),
        "certificate_expires_at": START + 1e8,
        "enrolled_at": START - 1e6,
        "labels": {"site": f"site-{number % _SITES}"},
        "online": True,
        "online_since": START - 1e4,
        "last_seen_at": START,
        "status": {"state": "online", "boot_id": "b", "agent_version": "1"},
        "twin": {
            "hardware_class": f"class-{number % 3}",
            "active": {"name": "faces", "version": "1.0.0"},
            "known_bad": [],
        },
        "release": OLD,
        "desired_version": 0,
        "desired_sent": 0,
    }


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@contextlib.contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'fleet.db'}"


@contextlib.contextmanager
def _postgres(_folder: Path) -> Iterator[str]:
    server = PostgresServer(durable=True)
    try:
        server.start()
        yield server.make("bench")
    finally:
        server.stop()


def main() -> int:
    """Measure and print; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=DEVICES, help="in the store")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    asked = parser.parse_args()
    found = rows(asked.devices)
    if asked.json:
        print_json([trimmed(one) for one in found])
    else:
        show("The rollout's tick", found)
    return 0 if all(one.met for one in found) else int(ExitCode.GATE)


if __name__ == "__main__":
    raise SystemExit(main())
