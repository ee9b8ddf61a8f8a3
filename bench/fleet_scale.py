"""Figures of a whole site: devices connected at once, a rollout, a bad release, a storm of reconnections."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from bench.common import Row, row
from bench.fleet_site import BAD, GOOD, NAME, WINDOW_S, Site
from mien.console import err

CANARY = 10
MIN_WINDOWS = 30
MEASURED_S = 60.0
_WAVES = [
    {"name": "canary", "count": CANARY},
    {"name": "tenth", "percent": 10},
    {"name": "half", "percent": 50},
    {"name": "all", "percent": 100},
]
_POLICY = {"waves": _WAVES, "success_threshold": 0.9, "error_threshold": 0.1, "timeout_s": 300}
_LONGEST_S = 420.0
_STORM_S = 60.0


def connected(site: Site) -> list[Row]:
    """Processor time while all send telemetry."""
    err().print(f"measure {MEASURED_S:.0f} s of telemetry", highlight=False)
    time.sleep(WINDOW_S)
    before, stored = site.processor_s("service", "broker", "simulator"), _windows(site)
    began = time.monotonic()
    time.sleep(MEASURED_S)
    took = time.monotonic() - began
    after = site.processor_s("service", "broker", "simulator")
    used = {name: (after[name] - before[name]) / took for name in before}
    rate = (_windows(site) - stored) / took
    lost = site.devices - site.online()
    cores = used["service"] + used["broker"]
    peer = (
        f"service {used['service']:.2f}, broker {used['broker']:.2f}, the simulator besides {used['simulator']:.2f}; "
        f"{rate:.0f} windows/s stored over {took:.0f} s; TLS with client certificates; {lost} not connected"
    )
    figure = f"{site.devices:,} devices connected, a window each {WINDOW_S:.0f} s: server and broker"
    return [_held(row(figure, cores, "cores", 1.0, peer=peer), lost == 0, peer)]


def rollout(site: Site) -> list[Row]:
    """A good release to all, in four waves."""
    err().print(f"roll {GOOD} out in {len(_WAVES)} waves", highlight=False)
    number = site.roll_out(GOOD, _POLICY | {"name": "bench", "analysis": None})
    before, began = site.processor_s("service", "broker"), time.monotonic()
    _until(lambda: site.state_of(number) not in {"running", "ready"} and not _open(site, number), _LONGEST_S)
    took = time.monotonic() - began
    after = site.processor_s("service", "broker")
    ends = Counter(dict(site.ask("SELECT state, count(*) FROM executions WHERE rollout_id = ? GROUP BY 1", number)))
    differ = _differences(site, number)
    right = site.state_of(number) == "finished" and sum(ends.values()) == site.devices and not differ
    right = right and set(ends) <= {"SUCCEEDED", "FAILED"}
    listed = ", ".join(f"{state} {count}" for state, count in sorted(ends.items()))
    peer = (
        f"{site.state_of(number)}: {listed}; {differ} devices whose own words differ; service "
        f"{(after['service'] - before['service']) / took:.2f} cores, broker "
        f"{(after['broker'] - before['broker']) / took:.2f}"
    )
    figure = f"rollout over {site.devices:,} simulated devices, {len(_WAVES)} waves, 1 % failing, all ended right"
    return [_held(row(figure, took, "s", 240, peer=peer), right, peer)]


def storm(site: Site) -> list[Row]:
    """The broker is killed and started again."""
    err().print("kill the broker and start it again", highlight=False)
    site.kill("broker")
    time.sleep(1.0)
    back = time.time()
    site.start_broker()
    began = time.monotonic()

    def consistent() -> bool:
        question = "SELECT count(*) FROM devices WHERE online AND json_extract(status, '$.at') > ?"
        return int(site.ask(question, back)[0][0]) >= site.devices and not _unsent(site)

    done = _until(consistent, 3 * _STORM_S)
    took = time.monotonic() - began
    question = "SELECT count(*) FROM devices WHERE json_extract(status, '$.at') > ?"
    greeted = int(site.ask(question, back)[0][0])
    peer = (
        f"from the moment the broker listens again until the service has heard each device greet anew: {greeted:,} of "
        f"{site.devices:,}; pauses from 0.5 to 1.5 s, doubled up to 60 s"
    )
    figure = f"reconnect storm after a broker restart, {site.devices:,} devices: all back and consistent"
    return [_held(row(figure, took, "s", _STORM_S, peer=peer), done, peer)]


def bad(site: Site) -> list[Row]:
    """A release that is slow on every device, and passes every probe."""
    err().print(f"roll {BAD} out, which is slow", highlight=False)
    analysis = {"min_windows": MIN_WINDOWS, "timeout_s": 300}
    number = site.roll_out(BAD, _POLICY | {"name": "bench-bad", "analysis": analysis})
    _until(lambda: site.state_of(number) in {"stopping", "stopped", "paused", "finished"}, _LONGEST_S)
    halted = site.state_of(number) in {"stopping", "stopped"}
    why = str(
        site.ask("SELECT coalesce(halted_because, paused_because, state) FROM rollouts WHERE id = ?", number)[0][0]
    )
    reached = int(site.ask("SELECT count(*) FROM executions WHERE rollout_id = ?", number)[0][0])
    late = _windows_until_halt(site, number)
    conditions = f"of {site.devices:,} devices; {why[:160]}"
    first = row("bad release: devices reached before halt", reached, "devices", CANARY, peer=conditions)
    second = row(
        "time from the canary's failing window to halt",
        late,
        "windows",
        2,
        peer=f"from the arrival of the {MIN_WINDOWS}th window of the canary wave, the first on which the policy lets "
        f"the analysis fail it, in windows of {WINDOW_S:.0f} s",
    )
    return [_held(first, halted, why), _held(second, halted, why)]


def _held(one: Row, condition: bool, why: str) -> Row:
    """A row that is met only if something else is so, too."""
    if condition or not one.met:
        return one
    from dataclasses import replace

    return replace(one, met=False, reason=f"within the limit, but not all is right: {why}")


def _windows(site: Site) -> int:
    return int(site.ask("SELECT coalesce(max(id), 0) FROM windows")[0][0])


def _unsent(site: Site) -> int:
    return int(site.ask("SELECT count(*) FROM devices WHERE desired_sent < desired_version")[0][0])


def _open(site: Site, number: int) -> int:
    question = "SELECT count(*) FROM executions WHERE rollout_id = ? AND ended_at IS NULL"
    return int(site.ask(question, number)[0][0])


def _differences(site: Site, number: int) -> int:
    """Devices that run another release than their execution says."""
    question = """
        SELECT count(*) FROM executions AS e JOIN devices AS d ON d.id = e.device_id
        WHERE e.rollout_id = ? AND (d.release = ?) <> (e.state = 'SUCCEEDED')"""
    return int(site.ask(question, number, f"{NAME}@{GOOD}")[0][0])


def _windows_until_halt(site: Site, number: int) -> float:
    found = site.ask("SELECT soak_started_at, ended_at FROM waves WHERE rollout_id = ? AND number = 0", number)
    if not found or None in found[0]:
        return float("inf")
    soaked, ended = found[0]
    question = """
        SELECT w.received_at FROM windows AS w JOIN executions AS e ON e.device_id = w.device_id
        WHERE e.rollout_id = ? AND e.wave = 0 AND w.release = ? AND w.received_at >= ?
        ORDER BY w.received_at LIMIT 1 OFFSET ?"""
    enough = site.ask(question, number, f"{NAME}@{BAD}", soaked, MIN_WINDOWS - 1)
    return max(0.0, (ended - enough[0][0]) / WINDOW_S) if enough else float("inf")


def _until(question: Any, longest_s: float) -> bool:  # noqa: ANN401 - a callable
    end = time.monotonic() + longest_s
    while time.monotonic() < end:
        if question():
            return True
        time.sleep(0.3)
    return False
