"""What the fleet's values look like as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from fleet.engines.savings import builds_of
from fleet.rollouts.cohorts import is_meant
from fleet.rollouts.states import UNSUCCESSFUL, ExecutionState, RevertState
from fleet.rollouts.view import DeviceView, ExecutionView
from fleet.store.devices import Device
from fleet.store.releases import Release
from fleet.store.rollouts import Rollout
from mien.lifecycle import UpdateState


def device_json(device: Device, *, now: float, silent_after_s: float) -> dict[str, Any]:
    """A device with its last figures; ``None`` where it does not measure."""
    twin, window = device.twin or {}, device.last_window or {}
    power = window.get("power") or {}
    total = (window.get("latency_ms") or {}).get("total") or {}
    heard = device.last_seen_at
    return {
        "id": device.id,
        "group": device.group,
        "state": device.state.value,
        "serial_number": device.serial_number,
        "online": device.online,
        "silent": device.online and (heard is None or now - heard > silent_after_s),
        "last_seen_at": heard,
        "enrolled_at": device.enrolled_at,
        "revoked_at": device.revoked_at,
        "certificate_expires_at": device.certificate_expires_at,
        "labels": dict(device.labels),
        "release": device.release,
        "precision": twin.get("precision"),
        "runtime": twin.get("runtime"),
        "hardware_class": twin.get("hardware_class"),
        "model": (twin.get("facts") or {}).get("model"),
        "known_bad": sorted(device.known_bad),
        "fps": window.get("fps"),
        "dropped": window.get("dropped"),
        "latency_p95_ms": total.get("p95"),
        "power_w": power.get("total_w"),
        "power_source": power.get("source") or twin.get("power_source") or "none",
        "energy_per_inference_j": power.get("energy_per_inference_j"),
        "temperature_c": max((window.get("temperature_c") or {}).values(), default=None),
        "confidence_mean": window.get("confidence_mean"),
        "throttled": bool(window.get("throttled")),
        "over_current": bool(window.get("over_current")),
        "measured_at": window.get("ended_at"),
        "update": dict(device.update) if device.update else None,
        "desired": dict(device.desired) if device.desired else None,
    }


def release_json(release: Release) -> dict[str, Any]:
    """A release with what was measured of its variants."""
    manifest = release.manifest
    return {
        "release": release.ref,
        "name": manifest.name,
        "version": manifest.version,
        "manifest_sha256": release.manifest_sha256,
        "published_at": release.published_at,
        "labels": list(manifest.labels),
        "variants": [variant.model_dump(mode="json", exclude_none=True) for variant in manifest.variants],
        "calibration": manifest.calibration.model_dump(mode="json") if manifest.calibration else None,
        "gate_passed": manifest.gate.passed,
        "refused": dict(manifest.gate.refused),
        "intended_use": manifest.intended_use,
        "known_limits": list(manifest.known_limits),
    }


def rollout_json(rollout: Rollout, devices: Iterable[DeviceView], *, now: float) -> dict[str, Any]:
    """A rollout with its waves and executions."""
    view = rollout.view
    executions = view.executions
    back = sum(1 for execution in executions if was_rolled_back(execution))
    kept = [e for e in executions if e.state is ExecutionState.SUCCEEDED and e.revert_state is not RevertState.DONE]
    seconds = None if rollout.started_at is None else (rollout.ended_at or now) - rollout.started_at
    return {
        "id": view.id,
        "release": view.release,
        "state": str(view.state),
        "policy_name": rollout.policy_name,
        "policy": view.policy.model_dump(mode="json"),
        "created_at": rollout.created_at,
        "started_at": rollout.started_at,
        "ended_at": rollout.ended_at,
        "seconds": None if seconds is None else round(seconds, 1),
        "devices_total": len({d.id for d in devices if is_meant(view, d)} | {e.device_id for e in executions}),
        "devices_reached": len(executions),
        "devices_succeeded": len(kept),
        "devices_rolled_back": back,
        "engines": asdict(builds_of(executions)),
        "halted_because": rollout.halted_because,
        "paused_because": rollout.paused_because,
        "waves": _waves(rollout),
        "executions": [_execution(execution) for execution in executions],
    }


def was_rolled_back(execution: ExecutionView) -> bool:
    """Whether a device had the release and has it no more: by its own probe, or taken back by the fleet."""
    own = execution.report is not None and execution.report.state is UpdateState.ROLLED_BACK
    return own or execution.revert_state is RevertState.DONE


def _waves(rollout: Rollout) -> list[dict[str, Any]]:
    """Every wave of the policy; those that have not begun are ``pending``."""
    begun = {wave.number: wave for wave in rollout.view.waves}
    shapes: list[dict[str, Any]] = []
    for number, policy in enumerate(rollout.view.policy.waves):
        wave = begun.get(number)
        states = Counter(execution.state for execution in rollout.view.executions if execution.wave == number)
        shapes.append(
            {
                "number": number,
                "name": policy.name,
                "state": str(wave.state) if wave else "pending",
                "started_at": wave.started_at if wave else None,
                "soak_started_at": wave.soak_started_at if wave else None,
                "ended_at": rollout.wave_ends.get(number),
                "devices": sum(states.values()),
                "succeeded": states[ExecutionState.SUCCEEDED],
                "failed": sum(states[state] for state in UNSUCCESSFUL),
                "verdict": rollout.verdicts.get(number),
            }
        )
    return shapes


def _execution(execution: ExecutionView) -> dict[str, Any]:
    report = execution.report
    return {
        "device": execution.device_id,
        "wave": execution.wave,
        "deployment_id": execution.deployment_id,
        "state": str(execution.state),
        "detail": execution.detail,
        "previous": execution.previous,
        "percent": report.percent if report else None,
        "rolled_back": was_rolled_back(execution),
        "revert_state": str(execution.revert_state) if execution.revert_state else None,
        "queued_at": execution.queued_at,
        "started_at": execution.started_at,
        "ended_at": execution.ended_at,
        "probe": report.probe.model_dump(mode="json", exclude_none=True) if report and report.probe else None,
    }
