"""The main job from top to bottom: data, training, bundles, fleet, devices, three rollouts, summary.

Each step is a ``mien`` command of its own, started as a process; this module only orders them and keeps the clock.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.console import err, out
from mien.demo.fleet_api import answers, get_json, wait_for
from mien.demo.preflight import check_disk, check_port, only_one
from mien.demo.processes import Children
from mien.demo.settings import ROOT, AccuracySettings, DemoSettings
from mien.demo.summary import ROLLOUT_FIELDS, VARIANT_FIELDS, device_row, picked, tables
from mien.errors import ExitCode, GateError
from mien.files import write_json, write_text

NAME = "faces"
FIRST, SECOND, DAMAGED = "1.0.0", "1.1.0", "1.2.0"
_READY_S = 60.0
_SETTLE_WINDOWS = 3
_HALTED_IS_FINE = frozenset({int(ExitCode.OK), int(ExitCode.GATE)})
_STEPS = 8


@dataclass
class Demo:
    """One run of the demo: where it works, what it was told, and what it has measured so far."""

    settings: DemoSettings
    folder: Path
    children: Children
    http_port: int
    mqtt_port: int
    seconds: dict[str, float] = field(default_factory=dict)
    variants: list[dict[str, Any]] = field(default_factory=list)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    @property
    def url(self) -> str:
        """Where the fleet service answers."""
        return f"http://127.0.0.1:{self.http_port}"

    @contextmanager
    def step(self, key: str, title: str) -> Iterator[None]:
        """Announce a step and keep its time under ``key``."""
        self.number += 1
        console = err()
        console.rule(f"[bold]{self.number}/{_STEPS}[/] {title}", align="left")
        started = time.monotonic()
        yield
        self.seconds[key] = round(time.monotonic() - started, 1)
        console.print(f"  [green]done[/] in {self.seconds[key]:.1f} s", highlight=False)


def run(settings: DemoSettings, folder: Path, *, http_port: int, mqtt_port: int, once: bool) -> None:
    """Run the demo and leave ``summary.json`` in ``folder``.

    Raises:
        UnavailableError: a port is taken, the disk is too full, or another demo runs.
        StepError: a step failed; carries the step's own error.
        GateError: the rollouts did not end as they must.
    """
    with only_one(folder), Children(ROOT) as children:
        check_disk(folder, settings.free_disk_mb)
        check_port(http_port, "--http-port")
        check_port(mqtt_port, "--mqtt-port")
        _clear(folder)
        demo = Demo(settings, folder, children, http_port, mqtt_port)
        _make_data(demo)
        _train(demo)
        _optimize(demo)
        _start_fleet(demo)
        _start_devices(demo)
        _roll_out(demo)
        summary = _summarize(demo)
        out().print(tables(summary))
        out().print(f"written to {folder / 'summary.json'}", highlight=False)
        _judge(summary, settings.accuracy)
        if not once:
            out().print(f"dashboard: [bold]{_link(demo)}[/]", soft_wrap=True)
            out().print("It lets you in once, within ten minutes. Ctrl-C ends it and everything that was started.")
            _stay(demo)


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left in its own folders; nothing else in ``folder`` is touched."""
    for part in ("data", "videos", "train", "bundles", "fleet", "devices", "logs"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "summary.json").unlink(missing_ok=True)


def _make_data(demo: Demo) -> None:
    data, settings = demo.settings.data, demo.settings
    with demo.step("synth", f"render {data.train} + {data.val} labelled images of faces, and the devices' videos"):
        sizes = ["--train", str(data.train), "--val", str(data.val), "--size", str(data.size)]
        target = ["--out", str(demo.folder / "data"), "--seed", str(settings.seed)]
        demo.children.step(["train", "synth", *target, *sizes])
        for number in _device_numbers(demo):
            video = settings.devices
            demo.children.step(
                [
                    *("train", "synth", "--video", str(_video(demo, number))),
                    *("--seconds", str(video.video_seconds), "--fps", str(video.video_fps)),
                    *("--size", video.video_size, "--seed", str(1000 * settings.seed + number)),
                ]
            )
    with demo.step("check", "check the data"):
        demo.children.step(["train", "data", "check", str(demo.folder / "data" / "data.yaml")])


def _train(demo: Demo) -> None:
    with demo.step("train", "train YOLOv8n from scratch"):
        demo.children.step(
            [
                *("train", "run", "--data", str(demo.folder / "data" / "data.yaml")),
                *("--recipe", str(demo.settings.training), "--seed", str(demo.settings.seed)),
                *("--out", str(demo.folder / "train")),
            ]
        )


def _optimize(demo: Demo) -> None:
    with demo.step("optimize", "compile, calibrate, measure and pack two releases, and damage a third on purpose"):
        for version, weights in ((FIRST, "early"), (SECOND, "final")):
            answer = demo.children.step(
                [
                    *("optimize", "run", "--weights", str(demo.folder / "train" / "weights" / f"{weights}.pt")),
                    *("--data", str(demo.folder / "data" / "data.yaml"), "--out", str(_bundle(demo, version))),
                    *("--name", NAME, "--version", version, "--gate", str(demo.settings.optimize.gate)),
                    *("--calibration-images", str(demo.settings.optimize.calibration_images)),
                    *("--training-record", str(demo.folder / "train" / "run.json")),
                    *("--intended-use", "Demonstration on rendered faces; not for decisions about people."),
                ]
            )
            demo.variants += [picked(variant, VARIANT_FIELDS) for variant in answer["variants"]]
        good, bad = _bundle(demo, SECOND), _bundle(demo, DAMAGED)
        demo.children.step(["optimize", "drill", str(good), "--version", DAMAGED, "--out", str(bad)])


def _start_fleet(demo: Demo) -> None:
    with demo.step("serve", f"start the fleet service at {demo.url}"):
        log = demo.folder / "logs" / "fleet.log"
        ports = ["--http-port", str(demo.http_port), "--mqtt-port", str(demo.mqtt_port)]
        service = demo.children.background(["fleet", "serve", "--data", str(_fleet(demo)), *ports], log)
        wait_for(
            lambda: answers(f"{demo.url}/healthz"), what="the fleet service", child=service, log=log, timeout_s=_READY_S
        )


def _start_devices(demo: Demo) -> None:
    count = demo.settings.devices.count
    with demo.step("devices", f"enrol and start {count} devices"):
        answer = demo.children.step(
            ["fleet", "token", "create", "--group", "demo", "--uses", str(count), "--ttl", "1h", *_at(demo)]
        )
        token = demo.folder / "devices" / "token"
        write_text(token, answer["token"], mode=0o600)
        running = [_start_device(demo, number, token) for number in _device_numbers(demo)]
        token.unlink()
        for log, process in running:
            wait_for(
                lambda: _online(demo) >= count, what=f"device {log.stem}", child=process, log=log, timeout_s=_READY_S
            )


def _start_device(demo: Demo, number: int, token: Path) -> tuple[Path, subprocess.Popen[str]]:
    name = _device(number)
    state = demo.folder / "devices" / name
    enrolment = ["--token-file", str(token), "--url", demo.url, "--state", str(state), "--device-id", name]
    demo.children.step(["edge", "enroll", *enrolment])
    config = demo.folder / "devices" / f"{name}.yaml"
    write_text(config, json.dumps(_device_settings(demo, number, state), indent=2) + "\n")
    log = demo.folder / "logs" / f"{name}.log"
    return log, demo.children.background(["edge", "run", "--config", str(config)], log)


def _device_settings(demo: Demo, number: int, state: Path) -> dict[str, Any]:
    """A device's configuration; JSON is YAML."""
    return {
        "state": str(state),
        "fleet": {"url": demo.url},
        "camera": {"source": str(_video(demo, number)), "loop": True, "realtime": True},
        "telemetry": {"window_s": demo.settings.devices.telemetry_window_s},
        "power": {"source": "auto", "replay": str(ROOT / "configs" / "power" / "orin-nano-replay.log")},
    }


def _roll_out(demo: Demo) -> None:
    policies = demo.settings.rollouts
    plan = ((FIRST, policies.everyone), (SECOND, policies.careful), (DAMAGED, policies.careful))
    with demo.step("rollouts", f"roll out {FIRST} to all, {SECOND} by canary, and {DAMAGED}, which is damaged"):
        for version, policy in plan:
            if version != FIRST:
                time.sleep(_SETTLE_WINDOWS * demo.settings.devices.telemetry_window_s)
            demo.children.step(
                ["fleet", "publish", str(_bundle(demo, version)), "--data", str(_fleet(demo)), *_at(demo)]
            )
            answer = demo.children.step(
                [
                    *("fleet", "rollout", "create", "--release", f"{NAME}@{version}", "--policy", str(policy)),
                    *("--start", "--wait", *_at(demo)),
                ],
                accept=_HALTED_IS_FINE,
            )
            demo.rollouts.append(picked(answer, ROLLOUT_FIELDS))


def _summarize(demo: Demo) -> dict[str, Any]:
    with demo.step("summary", "gather the figures"):
        time.sleep(_SETTLE_WINDOWS * demo.settings.devices.telemetry_window_s)
        devices = _ask(demo, "/devices")
        windows = {d["id"]: _ask(demo, f"/devices/{d['id']}/windows?limit=10") for d in devices}
        summary = {
            "variants": demo.variants,
            "devices": [device_row(device, windows[device["id"]]) for device in devices],
            "rollouts": demo.rollouts,
            "seconds": {**demo.seconds, "all": round(sum(demo.seconds.values()), 1)},
        }
        write_json(demo.folder / "summary.json", summary)
    return summary


def _judge(summary: dict[str, Any], limits: AccuracySettings) -> None:
    """The promise of the demo: an accurate model, two releases everywhere, the damaged one stopped at its canary.

    Raises:
        GateError: it went otherwise.
    """
    final = [row for row in summary["variants"] if row["release"] == f"{NAME}@{SECOND}"]
    exact = next(row for row in final if row["precision"] == "fp32")
    worst_int8 = min((row["map50_95"] for row in final if row["precision"] == "int8"), default=exact["map50_95"])
    if exact["map50"] < limits.min_map50 or exact["map50_95"] - worst_int8 > limits.max_int8_loss:
        raise GateError(
            f"the accuracy of {SECOND} is not what the demo promises",
            found=f"mAP50 {exact['map50']:.3f}, INT8 loses {exact['map50_95'] - worst_int8:.3f} mAP50-95",
            wanted=f"at least {limits.min_map50}, at most {limits.max_int8_loss} lost",
            remedy="look at the report.html of the bundle beside summary.json",
        )
    count = len(summary["devices"])
    ends = {row["release"].partition("@")[2]: row for row in summary["rollouts"]}
    good = all(ends[version]["devices_succeeded"] == count for version in (FIRST, SECOND))
    bad = ends[DAMAGED]
    if not good or bad["state"] == "finished" or bad["devices_reached"] != 1 or bad["devices_rolled_back"] != 1:
        raise GateError(
            "the rollouts did not end as they must",
            found="; ".join(f"{row['release']} {row['state']}" for row in summary["rollouts"]),
            wanted=f"{FIRST} and {SECOND} on all devices, {DAMAGED} taken back at its canary",
            remedy="look at the dashboard's rollout pages and at the logs beside summary.json",
        )


def _stay(demo: Demo) -> None:
    while answers(f"{demo.url}/healthz"):
        time.sleep(1)


def _link(demo: Demo) -> str:
    """A link to the dashboard that logs in once, for an operator of the demo."""
    answer = demo.children.step(["fleet", "user", "add", "demo", "--role", "operator", "--link", *_at(demo)])
    return str(answer["link"])


def _ask(demo: Demo, path: str) -> Any:  # noqa: ANN401 - JSON is any value
    return get_json(f"{demo.url}/api/v1{path}", _fleet(demo) / "operator.token")


def _at(demo: Demo) -> list[str]:
    return ["--url", demo.url, "--data", str(_fleet(demo))]


def _online(demo: Demo) -> int:
    return sum(1 for device in _ask(demo, "/devices") if device.get("online"))


def _device_numbers(demo: Demo) -> range:
    return range(1, demo.settings.devices.count + 1)


def _device(number: int) -> str:
    return f"camera-{number}"


def _video(demo: Demo, number: int) -> Path:
    return demo.folder / "videos" / f"{_device(number)}.mp4"


def _bundle(demo: Demo, version: str) -> Path:
    return demo.folder / "bundles" / f"{NAME}-{version}"


def _fleet(demo: Demo) -> Path:
    return demo.folder / "fleet"
