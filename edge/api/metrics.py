"""Writes a snapshot in Prometheus' text format 0.0.4. Pure; figures that are not there are left out, never zero.

Names keep Prometheus' rules: base units, ``_total`` on what only rises, one help and type line for each family.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge.api.interface import ModelCard
from edge.api.state import Snapshot
from mien import __version__
from mien.lifecycle import UpdateState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Kind = Literal["counter", "gauge", "summary"]


@dataclass(slots=True)
class _Family:
    """A name with its samples."""

    name: str
    kind: Kind
    help: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def add(self, value: float | None, labels: Labels | None = None, *, suffix: str = "") -> _Family:
        """A sample, if there is a figure."""
        if value is not None and math.isfinite(value):
            self.samples.append((suffix, labels or {}, value))
        return self

    def lines(self) -> Iterable[str]:
        """The family as text; nothing without samples."""
        if self.samples:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} {self.kind}"
        for suffix, labels, value in self.samples:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield (
                f"{self.name}{suffix}{{{inner}}} {_number(value)}" if inner else f"{self.name}{suffix} {_number(value)}"
            )


def exposition(now: Snapshot, card: ModelCard | None, *, ready: bool) -> str:
    """All families as text."""
    families = [
        *_build(now, card, ready=ready),
        *_frames(now),
        *_latency(now),
        *_power(now),
        *_board(now),
        *_spool(now),
        *_cameras(now),
        *_faces(now),
        *_update(now),
    ]
    return "\n".join(line for family in families for line in family.lines()) + "\n"


def _build(now: Snapshot, card: ModelCard | None, *, ready: bool) -> Iterable[_Family]:
    yield _Family("mien_build_info", "gauge", "The agent.").add(1, {"version": __version__, "device": now.device_id})
    yield _Family("mien_start_time_seconds", "gauge", "Unix time of the agent's start.").add(now.started_at)
    yield _Family("mien_ready", "gauge", "1 when a model is loaded and frames flow.").add(float(ready))
    model = _Family("mien_model_info", "gauge", "The model that runs.")
    if card is not None:
        model.add(
            1,
            {
                "name": card.name,
                "version": card.version,
                "precision": card.precision,
                "runtime": card.runtime,
                "runtime_version": card.runtime_version,
            },
        )
    yield model


def _frames(now: Snapshot) -> Iterable[_Family]:
    window, pulse = now.window, now.pulse
    frames = pulse.frames if pulse else now.totals.frames
    yield _Family("mien_frames_total", "counter", "Frames that went through the model.").add(frames)
    dropped = _Family("mien_frames_dropped_total", "counter", "Frames let go for newer ones, of closed windows.")
    yield dropped.add(now.totals.dropped)
    errors = _Family("mien_model_errors_total", "counter", "Calls on which the engine failed.")
    yield errors.add(pulse.model_errors if pulse else None)
    rate = _Family("mien_frame_rate_hertz", "gauge", "Frames a second in the last window.")
    yield rate.add(window.fps if window else None)
    found = _Family("mien_detections_total", "counter", "Detections by label, of closed windows.")
    for label, count in sorted(now.totals.detections.items()):
        found.add(count, {"label": label})
    yield found
    events = _Family("mien_events_total", "counter", "Events by kind.")
    for (kind, severity), count in sorted(now.totals.events.items()):
        events.add(count, {"kind": kind, "severity": severity})
    yield events


def _latency(now: Snapshot) -> Iterable[_Family]:
    family = _Family(
        "mien_stage_latency_seconds", "summary", "Time by stage: quantiles of the last window, sum and count of all."
    )
    sums = now.pulse.stage_seconds if now.pulse else {}
    count = now.pulse.frames if now.pulse else now.totals.frames
    for stage, figures in (now.window.latency_ms if now.window else {}).items():
        for quantile, value_ms in (("0.5", figures.p50), ("0.95", figures.p95), ("0.99", figures.p99)):
            family.add(value_ms / 1e3, {"stage": stage, "quantile": quantile})
        family.add(sums.get(stage), {"stage": stage}, suffix="_sum")
        family.add(count, {"stage": stage}, suffix="_count")
    yield family


def _power(now: Snapshot) -> Iterable[_Family]:
    power = now.window.power if now.window else None
    source = {"source": power.source if power else "none"}
    total = _Family("mien_power_watts", "gauge", "Input power, mean of the last window, and where it was read.")
    yield total.add(power.total_w if power else None, source)
    rails = _Family("mien_rail_power_watts", "gauge", "Power of one rail; rails may contain each other.")
    for rail, watts in sorted(power.rails_w.items() if power else ()):
        rails.add(watts, {"rail": rail, **source})
    yield rails
    yield _Family("mien_energy_joules_total", "counter", "Energy, of closed windows.").add(now.totals.energy_j, source)
    each = _Family("mien_inference_energy_joules", "gauge", "Energy of one inference in the last window.")
    yield each.add(power.energy_per_inference_j if power else None, source)


def _board(now: Snapshot) -> Iterable[_Family]:
    window = now.window
    heat = _Family("mien_temperature_celsius", "gauge", "Temperature by sensor.")
    for sensor, celsius in sorted(window.temperature_c.items() if window else ()):
        heat.add(celsius, {"sensor": sensor})
    yield heat
    processor = _Family("mien_cpu_utilization_ratio", "gauge", "Of all cores of this machine, 0 to 1.")
    yield processor.add(_ratio(window.cpu_percent if window else None))
    graphics = _Family("mien_gpu_utilization_ratio", "gauge", "Of the GPU, 0 to 1.")
    yield graphics.add(_ratio(window.gpu_percent if window else None))
    yield _Family("mien_memory_used_bytes", "gauge", "Memory in use.").add(window.ram_bytes if window else None)
    size = _Family("mien_memory_size_bytes", "gauge", "Memory that this machine has.")
    yield size.add(window.ram_total_bytes if window else None)
    yield from _clocks(now)
    throttled = _Family("mien_throttled", "gauge", "1 when heat slowed the board in the last window.")
    yield throttled.add(float(window.throttled) if window else None)
    current = _Family("mien_over_current", "gauge", "1 when the board drew too much current in the last window.")
    yield current.add(float(window.over_current) if window else None)
    step = _Family("mien_limit_step", "gauge", "How far the device has stepped down to stay within limits; 0: not.")
    yield step.add(now.limits.step if now.limits else None)


def _clocks(now: Snapshot) -> Iterable[_Family]:
    window = now.window
    clocks = _Family("mien_clock_hertz", "gauge", "Clock, mean of the last window.")
    for part, hertz in sorted(window.clocks_hz.items() if window else ()):
        clocks.add(hertz, {"part": part})
    yield clocks
    fan = _Family("mien_fan_duty_ratio", "gauge", "How hard the fan is driven, 0 to 1.")
    yield fan.add(_ratio(window.fan_percent if window else None))
    mode = _Family("mien_power_mode_info", "gauge", "The board's power mode.")
    yield mode.add(1, {"mode": window.nvpmodel}) if window and window.nvpmodel else mode


def _spool(now: Snapshot) -> Iterable[_Family]:
    yield _Family("mien_spool_messages", "gauge", "Messages that wait for the broker.").add(now.spooled)
    yield _Family("mien_spool_lost_total", "counter", "Messages given up.").add(now.spool_lost)
    connected = _Family("mien_broker_connected", "gauge", "1 while the broker answers.")
    yield connected.add(float(now.broker.connected) if now.broker else None)


def _cameras(now: Snapshot) -> Iterable[_Family]:
    live = _Family("mien_camera_live", "gauge", "1 while the camera gives frames.")
    frames = _Family("mien_camera_frames_total", "counter", "Frames that went through the model.")
    dropped = _Family("mien_camera_frames_dropped_total", "counter", "Frames let go for newer ones.")
    again = _Family("mien_camera_reconnects_total", "counter", "Times the camera was lost and came back.")
    bad = _Family("mien_camera_bad_frames_total", "counter", "Frames that could not be decoded.")
    for camera in now.cameras:
        label = {"camera": camera.name}
        live.add(float(camera.state == "live"), label)
        frames.add(camera.frames, label)
        dropped.add(camera.dropped, label)
        again.add(camera.reconnects, label)
        bad.add(camera.bad_frames, label)
    yield from (live, frames, dropped, again, bad)


def _faces(now: Snapshot) -> Iterable[_Family]:
    pulse = now.pulse
    numbers = _Family("mien_tracks_total", "counter", "Numbers given to faces that were followed.")
    yield numbers.add(pulse.tracks if pulse else None)
    yield _Family("mien_faces_followed", "gauge", "Faces followed now.").add(pulse.faces if pulse else None)


def _update(now: Snapshot) -> Iterable[_Family]:
    family = _Family("mien_update_state", "gauge", "1 at the state of the last update.")
    if now.update is not None:
        for state in UpdateState:
            family.add(float(state.value == now.update.state), {"release": now.update.release, "state": state.value})
    yield family


def _ratio(percent: float | None) -> float | None:
    return percent / 100 if percent is not None else None


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
