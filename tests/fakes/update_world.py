"""The world around an update, in memory: releases that are taken as signed, a device that does as it is told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.update.interface import SignedFile, UpdateCancelled, UpdateFault
from edge.update.journal import Journal
from edge.update.probe import LiveFigures
from edge.update.slots import Installed, SlotStore
from edge.update.timetable import SiteTimes
from edge.update.updater import Updater
from mien.facts import DeviceFacts
from mien.files import sha256_of
from mien.messages import Desired, ProbePolicy, UpdateReport
from mien.release import (
    MANIFEST,
    REFERENCE,
    FileEntry,
    GateResult,
    InputSpec,
    Manifest,
    OutputSpec,
    Precision,
    Provenance,
    ReleaseRef,
    Requires,
    Runtime,
    Variant,
    VariantPolicy,
)

FACTS = DeviceFacts(
    arch="x86_64", cpu="test cpu", cpu_count=2, memory_bytes=1 << 32, python="3.11", onnxruntime="1.24.4"
)


@dataclass
class FakeSource:
    """Releases in a folder; ``faults`` are raised, first come first served, by the named step."""

    folder: Path
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    forgotten: int = 0
    stored: int = 0
    """What stands in unfinished downloads."""

    def add(
        self,
        version: str,
        *,
        runtimes: tuple[Runtime, ...] = ("onnxruntime",),
        salt: str = "",
        precisions: tuple[Precision, ...] = ("fp32",),
    ) -> str:
        """Make a release with a model of each precision; its manifest's SHA-256."""
        folder = self.folder / version
        folder.mkdir(parents=True)
        models = {precision: "model.onnx" if precision == "fp32" else f"{precision}.onnx" for precision in precisions}
        for name in (*models.values(), REFERENCE):
            (folder / name).write_bytes(f"{name} of {version} {salt}".encode())
        reference = folder / REFERENCE
        manifest = Manifest(
            name="faces",
            version=version,
            labels=("happy", "sad"),
            input=InputSpec(width=64, height=64),
            outputs=OutputSpec(top_k=10),
            variants=tuple(
                Variant(
                    precision=precision,
                    format="onnx",
                    path=name,
                    sha256=sha256_of(folder / name),
                    size_bytes=(folder / name).stat().st_size,
                    requires=Requires(runtimes=runtimes),
                    reference_agreement=0.98,
                )
                for precision, name in models.items()
            ),
            files=(FileEntry(path=REFERENCE, sha256=sha256_of(reference), size_bytes=reference.stat().st_size),),
            provenance=Provenance(created_at="2026-01-01T00:00:00Z"),
            gate=GateResult(passed=True, checks=()),
            intended_use="tests",
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json())
        return sha256_of(folder / MANIFEST)

    def manifest(self, release: ReleaseRef) -> tuple[bytes, str]:
        self._maybe_fail("manifest")
        path = self.folder / release.version / MANIFEST
        if not path.is_file():
            raise UpdateFault("not_signed", f"{release} is not signed")
        content = path.read_bytes()
        return content, hashlib.sha256(content).hexdigest()

    def describe(self, release: ReleaseRef, path: str) -> SignedFile:
        self._maybe_fail("describe")
        file = self.folder / release.version / path
        return SignedFile(path=path, size_bytes=file.stat().st_size, sha256=sha256_of(file))

    def fetch(self, release: ReleaseRef, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        self._maybe_fail("fetch")
        content = (self.folder / release.version / path).read_bytes()
        self.fetched.append(path)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)
        on_bytes(len(content))

    def stored_bytes(self) -> int:
        return self.stored

    def forget(self) -> None:
        self.forgotten += 1

    def _maybe_fail(self, step: str) -> None:
        waiting = self.faults.get(step, [])
        if waiting:
            raise waiting.pop(0)


GOOD_LIVE = LiveFigures(frames=50, fps=10.0, latency_p95_ms=20.0, power_w=10.0, detections=50, confidence_mean=0.8)


@dataclass
class FakeDevice:
    """A device whose measurements are set by the test, by version."""

    agreement: dict[str, float | None] = field(default_factory=dict)
    live: dict[str, LiveFigures] = field(default_factory=dict)
    before: LiveFigures | None = GOOD_LIVE
    looks: list[LiveFigures] = field(default_factory=list)
    """What the next looks at live frames show, whatever runs."""
    away: list[tuple[str, ...] | None] = field(default_factory=lambda: [()])
    """Cameras that are away, one entry a question; the last one stays. ``None``: the process dies then."""
    asked: Callable[[], None] = lambda: None
    """Called when the cameras are asked for."""
    broken: set[str] = field(default_factory=set)
    """Versions whose engine cannot be opened."""
    unbuildable: set[str] = field(default_factory=set)
    room: int = 1 << 40
    machine: DeviceFacts = FACTS
    running: str | None = None
    taken_up: list[str | None] = field(default_factory=list)
    builds: int = 0
    dies_after_builds: int | None = None
    """Raises :class:`Killed` at the end of this build."""
    dies_in: str | None = None
    """Raises :class:`Killed` in this step: build, reference, take_up or watch."""
    stops_in: str | None = None
    """The agent is stopped in an orderly way in this step."""

    def facts(self) -> DeviceFacts:
        return self.machine

    def free_bytes(self) -> int:
        return self.room

    def build(self, model: Path, folder: Path, runtime: Runtime) -> Path:
        self._maybe_die("build")
        self.builds += 1
        text = model.read_text()
        if any(version in text for version in self.unbuildable):
            raise UpdateFault("build_failed", "the model cannot be built")
        folder.mkdir(parents=True, exist_ok=True)
        engine = folder / f"{model.stem}.bin"
        engine.write_text(f"engine of {text} for {self.machine.hardware_class()}")
        if self.builds == self.dies_after_builds:
            raise Killed("build")
        return engine

    def figures(self) -> LiveFigures | None:
        return self.before

    def reference_agreement(self, installed: Installed) -> float | None:
        self._maybe_die("reference")
        return self.agreement.get(installed.release.version, 0.98)

    def take_up(self, installed: Installed | None) -> None:
        self._maybe_die("take_up")
        version = installed.release.version if installed else None
        if version in self.broken:
            raise UpdateFault("build_failed", f"the engine of {version} cannot be opened")
        self.running = version
        self.taken_up.append(version)

    def cameras_away(self) -> tuple[str, ...]:
        self.asked()
        away = self.away.pop(0) if len(self.away) > 1 else self.away[0]
        if away is None:
            raise Killed("away")
        return away

    def watch(self, policy: ProbePolicy) -> LiveFigures:
        self._maybe_die("watch")
        if self.looks:
            return self.looks.pop(0)
        return self.live.get(self.running or "", GOOD_LIVE)

    def switched(self) -> None:
        """Nobody shows it."""

    def _maybe_die(self, step: str) -> None:
        if self.dies_in == step:
            raise Killed(step)
        if self.stops_in == step:
            raise UpdateCancelled


class Killed(BaseException):
    """The process ended here, as by kill -9: nothing catches it."""


@dataclass
class FakeReporter:
    """Keeps what was reported."""

    reports: list[UpdateReport] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def report(self, report: UpdateReport) -> None:
        self.reports.append(report)

    def event(self, kind: str, severity: str, message: str, details: Sequence[tuple[str, str]] = ()) -> None:
        self.events.append(kind)

    def states(self) -> list[str]:
        """States in the order in which they were first reported."""
        return list(dict.fromkeys(report.state.value for report in self.reports))


@dataclass
class FakeClock:
    """Unix seconds that only the test moves."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class PatientCancel(threading.Event):
    """The agent's order to stop, for which waiting takes no time: the clock is moved instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.waited: Callable[[], None] = lambda: None
        """Called after each step of a wait."""

    def wait(self, timeout: float | None = None) -> bool:
        if timeout and not self.is_set():
            self.clock.now += timeout
            self.waited()
        return self.is_set()


class World:
    """A device's disk and what surrounds it; ``updater()`` is a fresh process on that disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = FakeSource(folder / "releases")
        self.device = FakeDevice()
        self.reporter = FakeReporter()
        self.clock = FakeClock()
        self.cancel = PatientCancel(self.clock)
        self.policy = VariantPolicy()
        self.site = SiteTimes()
        self._count = 0

    @property
    def slots(self) -> SlotStore:
        return SlotStore(self.folder / "slots")

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "update")

    def updater(self) -> Updater:
        return Updater(
            slots=self.slots,
            journal=self.journal,
            source=self.source,
            device=self.device,
            reporter=self.reporter,
            clock=self.clock,
            cancel=self.cancel,
            policy=self.policy,
            first_pause_s=0.01,
            site=self.site,
        )

    def desired(self, version: str, sha256: str, **more: object) -> Desired:
        self._count += 1
        return Desired.model_validate(
            {
                "deployment_id": f"d{self._count}",
                "release": {"name": "faces", "version": version},
                "manifest_sha256": sha256,
                "issued_at": 0,
                **more,
            }
        )

    def deploy(self, version: str, **more: object) -> Desired:
        """Sign a release and bring the device to it."""
        desired = self.desired(version, self.source.add(version), **more)
        self.updater().handle(desired)
        return desired

    def active(self) -> str | None:
        found = self.slots.active()
        return found.release.version if found else None

    def last(self) -> tuple[str, str | None]:
        """State and error code of the last report."""
        report = self.reporter.reports[-1]
        return report.state.value, report.error_code
