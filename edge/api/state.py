"""What the local API shows: filled by the device, read by requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mien.messages import Window


@dataclass(slots=True)
class DeviceState:
    """The newest of each thing worth showing."""

    device_id: str
    spool_length: Callable[[], int]
    window: Window | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``/status.json``."""
        return {
            "device_id": self.device_id,
            "spool": self.spool_length(),
            "window": self.window.model_dump(mode="json", exclude_none=True) if self.window else None,
        }

    def metrics(self) -> str:
        """For ``/metrics``: Prometheus text format 0.0.4. Figures that are not there are left out."""
        lines = [_gauge("mien_spool_messages", "Messages that wait for the broker.", self.spool_length())]
        if self.window is not None:
            window = self.window
            lines.append(_gauge("mien_fps", "Frames a second in the last window.", window.fps))
            lines.append(_gauge("mien_dropped_frames", "Frames let go in the last window.", window.dropped))
            if window.power.total_w is not None:
                label = {"source": window.power.source}
                lines.append(_gauge("mien_power_watts", "Power, and where it was read.", window.power.total_w, label))
            for stage, latency in window.latency_ms.items():
                lines.append(_gauge("mien_latency_p95_ms", "95th percentile.", latency.p95, {"stage": stage}))
        return "\n".join(dict.fromkeys("\n".join(lines).splitlines())) + "\n"


def _gauge(name: str, help_text: str, value: float, labels: dict[str, str] | None = None) -> str:
    inner = ",".join(f'{key}="{text}"' for key, text in (labels or {}).items())
    series = f"{name}{{{inner}}}" if inner else name
    return f"# HELP {name} {help_text}\n# TYPE {name} gauge\n{series} {value:g}"
