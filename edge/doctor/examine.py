"""Runs every look side by side, each within its own time, and judges what was seen. Changes nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge.config import EdgeSettings
from edge.doctor.finding import Finding, ok, skipped, wrong
from edge.doctor.probes import agent, broker, machine, stack
from edge.doctor.verdicts import board, place, reach
from edge.doctor.verdicts import stack as fit
from edge.facts import read_facts
from edge.identity.store import Identity, IdentityStore
from edge.power.chooser import open_power
from edge.transport.fleet_http import FleetHttp
from mien.console import SILENT, Progress
from mien.devices import device_classes, matching
from mien.errors import MienError, UnavailableError
from mien.facts import DeviceFacts

_log = logging.getLogger(__name__)

_LIMIT_S = 20.0
_SLOW_S = 70.0
"""For what loads a library in a process of its own, and for a camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at."""

    what: str
    look: Callable[[], Finding]
    limit_s: float = _LIMIT_S


def examine(settings: EdgeSettings, *, insists: bool = False, progress: Progress = SILENT) -> list[Finding]:
    """Look at everything that a device needs; a fault in one, or one that hangs, does not hide the others.

    Args:
        settings: of the device.
        insists: try cameras that a running agent has.
        progress: told of each look.
    """
    checks = checks_of(settings, read_facts(), insists=insists)
    return run_checks(checks, progress=progress)


def run_checks(checks: list[Check], *, progress: Progress = SILENT) -> list[Finding]:
    """Run all checks at once; the findings in the same order. A look that overruns its time is left to itself."""
    found: dict[int, Finding] = {}
    changed = threading.Condition()

    def work(number: int, check: Check) -> None:
        finding = _guarded(check)
        with changed:
            found.setdefault(number, finding)
            changed.notify_all()

    progress.start("looking", len(checks))
    began_s = time.monotonic()
    for number, check in enumerate(checks):
        threading.Thread(target=work, args=(number, check), name=f"doctor {check.what}", daemon=True).start()
    told = 0
    with changed:
        while len(found) < len(checks):
            passed_s = time.monotonic() - began_s
            late = [n for n, check in enumerate(checks) if n not in found and passed_s >= check.limit_s]
            found.update({n: _overrun(checks[n]) for n in late})
            waiting = [check.what for n, check in enumerate(checks) if n not in found]
            progress.advance(len(found) - told, note=", ".join(waiting[:3]))
            told = len(found)
            if waiting:
                changed.wait(0.2)
        progress.advance(len(found) - told)
    return [found[number] for number in range(len(checks))]


def checks_of(settings: EdgeSettings, facts: DeviceFacts, *, insists: bool = False) -> list[Check]:
    """What is looked at on this machine with these settings."""
    table, jetson = stack.jetpacks(), fit.is_jetson(facts)
    return [
        Check(what="jetpack", look=lambda: fit.jetpack(facts, table)),
        Check(what="python", look=lambda: fit.python(facts, table)),
        Check(what="cuda", look=lambda: fit.cuda(facts, table)),
        Check(what="runtime", look=lambda: fit.runtime(facts, table, stack.tensorrt()), limit_s=_SLOW_S),
        Check(what="cuda binding", look=lambda: fit.cuda_binding(facts, stack.cuda_binding()), limit_s=_SLOW_S),
        *_camera_checks(settings, jetson=jetson, insists=insists),
        *_board_checks(settings, facts, jetson=jetson),
        Check(what="disk", look=lambda: place.disk(machine.disk(settings.state))),
        Check(what="clock", look=lambda: place.clock(machine.clock())),
        Check(what="service", look=lambda: place.service(agent.service())),
        Check(what="spool", look=lambda: place.spool(agent.spool(settings.state / "spool.sqlite"))),
        *_fleet_checks(settings),
    ]


def _camera_checks(settings: EdgeSettings, *, jetson: bool, insists: bool) -> list[Check]:
    def elements(number: int) -> Finding:
        camera = settings.all_cameras[number]
        return reach.gstreamer(stack.gstreamer(), camera.source, camera.options(), jetson=jetson)

    def picture(number: int, what: str) -> Finding:
        return reach.camera(what, agent.camera(settings.all_cameras[number], settings.state, insists=insists))

    checks = []
    for number, camera in enumerate(settings.all_cameras):
        name = f" {camera.name}" if settings.cameras else ""
        checks += [
            Check(what=f"gstreamer{name}", look=partial(elements, number), limit_s=_SLOW_S),
            Check(what=f"camera{name}", look=partial(picture, number, f"camera{name}"), limit_s=_SLOW_S),
        ]
    return checks


def _board_checks(settings: EdgeSettings, facts: DeviceFacts, *, jetson: bool) -> list[Check]:
    def power_source() -> Finding:
        wanted = settings.power
        source = open_power(wanted.source, interval_s=wanted.interval_s, replay=wanted.replay)
        source.close()
        return board.power_source(source.name, jetson=jetson, asked_for=wanted.source)

    def power_mode() -> Finding:
        device = matching(facts, device_classes()) if jetson else None
        return board.power_mode(machine.power_mode(), device, jetson=jetson)

    return [
        Check(what="jtop", look=lambda: board.jtop(stack.jtop(), jetson=jetson), limit_s=_SLOW_S),
        Check(what="power", look=power_source),
        Check(what="power mode", look=power_mode),
        Check(what="over-current", look=lambda: board.over_current(machine.over_current(), jetson=jetson)),
        Check(what="memory", look=lambda: board.memory(machine.memory(), jetson=jetson)),
    ]


def _fleet_checks(settings: EdgeSettings) -> list[Check]:
    identities = IdentityStore(settings.state, fleet_url=settings.fleet.url)

    def known(what: str, look: Callable[[Identity], Finding]) -> Check:
        def if_enrolled() -> Finding:
            return look(identities.load()) if identities.exists() else skipped(what, "not enrolled yet")

        return Check(what=what, look=if_enrolled)

    def session(identity: Identity) -> Finding:
        try:
            with FleetHttp(identity.fleet_url, ca_pem=identity.pinned_ca) as fleet:
                return ok("fleet", f"{identity.fleet_url}: {fleet.session(identity.key, identity.device_id).state}")
        except UnavailableError as error:
            if settings.fleet.transport != "mqtt":
                raise
            return reach.fleet_is_shut(f"{error.what}: {error.found}")

    def connection(identity: Identity) -> Finding:
        return reach.broker(broker.reach(identity.device_id, identity.mqtt.address(), identity.files))

    return [
        Check(what="identity", look=lambda: ok("identity", identities.load().device_id)),
        known("certificate", lambda identity: place.certificate(agent.certificate(identity), time.time())),
        known("fleet", session),
        known("broker", connection),
    ]


def _guarded(check: Check) -> Finding:
    """Supervisor of one look: whatever goes wrong in it is its finding."""
    try:
        finding = check.look()
    except MienError as error:
        found = "; ".join(part for part in (error.what, error.found) if part)
        return wrong(check.what, found, wanted=error.wanted, remedy=error.remedy)
    except PermissionError as error:
        return place.no_rights(
            check.what, machine.barred(str(error.filename)) if error.filename else "", machine.user()
        )
    except Exception as error:  # noqa: BLE001 - a supervisor: the other findings matter as much
        _log.debug("the check of %s failed", check.what, exc_info=True)
        return wrong(check.what, f"could not be looked at: {type(error).__name__}: {error}", remedy="report this")
    return finding if finding.what == check.what else _renamed(finding, check.what)


def _renamed(finding: Finding, what: str) -> Finding:
    return Finding(what=what, state=finding.state, found=finding.found, wanted=finding.wanted, remedy=finding.remedy)


def _overrun(check: Check) -> Finding:
    return wrong(check.what, f"no answer within {check.limit_s:.0f} s", remedy="run 'mien edge doctor' again")
