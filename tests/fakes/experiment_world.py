"""A fleet in a database for experiments: devices that take what they are told, and windows of a known quality."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.experiments.orders import create
from fleet.experiments.policy import ExperimentPolicy
from fleet.experiments.tick import ExperimentTick
from fleet.experiments.view import ExperimentView
from fleet.identity.ca import Issued
from fleet.store.database import Store
from fleet.store.releases import Release
from fleet.store.windows import StoredWindow
from fleet.store.work import Work
from mien.facts import DeviceFacts
from mien.lifecycle import UpdateState
from mien.messages import Percentiles, Power, ProbeResult, Status, Twin, UpdateReport, Window
from mien.release import Manifest, ReleaseRef

CONTROL, CANDIDATE = "faces@1.0.0", "faces@1.1.0"
WINDOW_S = 10.0
FACTS = DeviceFacts(arch="aarch64", cpu="cortex", cpu_count=6, memory_bytes=8 << 30, python="3.10")


@dataclass
class ExperimentWorld:
    """One store, its devices, and a clock of its own."""

    store: Store
    manifest: Manifest
    now: float = 1_800_000_000.0
    energy: Callable[[str, str], float] = lambda _device, _release: 0.3
    fps: Callable[[str, str], float] = lambda _device, _release: 30.0
    refuses: Callable[[str, str], bool] = lambda _device, _release: False
    sequence: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def populate(self, count: int, *, kinds: tuple[str, ...] = ("orin",)) -> None:
        """Accepted devices on the control, online, and both releases."""
        with self.store.write() as work:
            for ref, digest in ((CONTROL, "a"), (CANDIDATE, "b")):
                manifest = self.manifest.model_copy(update={"version": ref.partition("@")[2]})
                work.releases.put(
                    Release(ref=ref, manifest_sha256=digest * 64, manifest=manifest, published_at=self.now)
                )
            for number in range(count):
                device_id = f"cam-{number:02d}"
                if work.devices.find(device_id) is None:
                    work.devices.add(
                        device_id, "lab", Issued(pem="-", serial="1", expires_at=self.now + 1e6), at=self.now
                    )
            for number in range(count):
                self._says(work, f"cam-{number:02d}", CONTROL, kinds[number % len(kinds)])

    def begin(self, **policy: object) -> int:
        """Begin an experiment; its number."""
        with self.store.write() as work:
            given = ExperimentPolicy.model_validate(policy)
            return create(work, CONTROL, CANDIDATE, given, seed="seed", now=self.now).view.id

    def view(self, number: int = 1) -> ExperimentView:
        """The experiment now."""
        with self.store.read() as work:
            found = work.experiments.find(number)
            assert found is not None
            return found.view

    def tick(self) -> int:
        """What the service's loop does."""
        return ExperimentTick(self.store, clock=lambda: self.now, changed=lambda: None).run()

    def answer(self) -> None:
        """Every device does what it was told, or takes it back by its probe."""
        with self.store.write() as work:
            for device in work.devices.all():
                desired = device.desired
                if not desired or (device.update or {}).get("deployment_id") == desired["deployment_id"]:
                    continue
                release = f"{desired['release']['name']}@{desired['release']['version']}"
                refused = self.refuses(device.id, release)
                self.sequence += 1
                work.devices.set_update(
                    device.id,
                    UpdateReport(
                        deployment_id=desired["deployment_id"],
                        release=ReleaseRef.parse(release),
                        sequence=self.sequence,
                        state=UpdateState.ROLLED_BACK if refused else UpdateState.COMMITTED,
                        error_code="probe_failed" if refused else None,
                        probe=ProbeResult(passed=not refused, reasons=("agreement 0.1",) if refused else ()),
                        at=self.now,
                    ),
                )
                if not refused:
                    self._says(work, device.id, release, device.twin["hardware_class"])

    def run(self, seconds: float, *, every_s: float = WINDOW_S) -> None:
        """Let time pass: devices send windows, do what they are told, and the service looks."""
        end = self.now + seconds
        while self.now < end:
            self.now += every_s
            self.answer()
            self._windows(every_s)
            self.tick()

    def _windows(self, length_s: float) -> None:
        with self.store.write() as work:
            arrived = []
            for device in work.devices.all():
                if device.release is None:
                    continue
                self.sequence += 1
                arrived.append(
                    StoredWindow(device_id=device.id, window=self._window(device.id, device.release, length_s))
                )
            work.windows.add(arrived, at=self.now)

    def _window(self, device_id: str, release: str, length_s: float) -> Window:
        noise = 1 + 0.03 * self.random.gauss(0, 1)
        return Window(
            window_id=f"w{self.sequence}",
            sequence=self.sequence,
            boot_id="boot",
            started_at=self.now - length_s,
            ended_at=self.now,
            release=ReleaseRef.parse(release),
            frames=300,
            fps=self.fps(device_id, release) * noise,
            latency_ms={"total": Percentiles(p50=10, p95=20 * noise, p99=30)},
            power=Power(source="tegrastats", total_w=9, energy_per_inference_j=self.energy(device_id, release) * noise),
            detections=600,
        )

    def _says(self, work: Work, device_id: str, release: str, kind: str) -> None:
        work.devices.set_status(
            device_id, Status(state="online", boot_id="boot", agent_version="1", at=self.now), at=self.now
        )
        active = ReleaseRef.parse(release)
        work.devices.set_twin(device_id, Twin(facts=FACTS, hardware_class=kind, active=active, at=self.now))
