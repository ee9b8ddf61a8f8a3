"""Engines that other devices built: taken where they fit and do what they should, built here everywhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edge.transport.fleet_http import EngineStanding
from edge.update.build_cost import measured
from edge.update.engine_offer import EngineOffers, record_of
from edge.update.interface import SignedFile, UpdateFault
from edge.update.ready_made import ReadyMade, SignedEngine
from edge.update.updater import Updater
from mien.engines import PIECE_BYTES, EngineRecord, engine_path
from mien.errors import UnavailableError
from mien.release import ReleaseRef, VariantPolicy
from tests.fakes.update_world import FACTS, World

ENGINE = b"an engine that another device built"


@dataclass
class Engines:
    """Signed engines in memory."""

    world: World
    signed: dict[str, SignedEngine] = field(default_factory=dict)
    content: bytes = ENGINE
    fault: tuple[str, str] = ("", "")
    """In which step, and its code."""

    def sign(self, version: str, sha256: str, **changes: object) -> None:
        """Sign an engine for a release's FP32 model."""
        model = (self.world.source.folder / version / "model.onnx").read_bytes()
        digest, variant = hashlib.sha256(ENGINE).hexdigest(), hashlib.sha256(model).hexdigest()
        ref = ReleaseRef(name="faces", version=version)
        path = engine_path(ref, FACTS.hardware_class(), variant)
        record = EngineRecord.model_validate(
            {
                "release": ref,
                "manifest_sha256": sha256,
                "variant_sha256": variant,
                "precision": "fp32",
                "runtime": "onnxruntime",
                "runtime_version": "1.24.4",
                "hardware_class": FACTS.hardware_class(),
                "engine": {"sha256": digest, "size_bytes": len(ENGINE)},
                "reference_agreement": 0.98,
                "device_id": "canary",
                "deployment_id": "d0",
                "build_s": 90.0,
            }
            | changes
        )
        self.signed[path] = SignedEngine(
            record=record, files=(SignedFile(path=path, size_bytes=len(ENGINE), sha256=digest),)
        )

    def find_engine(self, path: str) -> SignedEngine | None:
        self._maybe_fail("find")
        return self.signed.get(path)

    def fetch_file(self, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        self._maybe_fail("fetch")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(self.content)
        on_bytes(len(self.content))

    def _maybe_fail(self, step: str) -> None:
        if self.fault[0] == step:
            raise UpdateFault(self.fault[1], "not to be had")


@pytest.fixture
def world(memory_path: Path) -> World:
    """A device without any release."""
    return World(memory_path)


@pytest.fixture
def engines(world: World) -> Engines:
    """What is signed."""
    return Engines(world)


def deploy(world: World, engines: Engines, *, wanted: bool = True, **changes: object) -> None:
    """Sign a release and an engine of it, and bring the device there."""
    sha256 = world.source.add("1.0.0")
    engines.sign("1.0.0", sha256, **changes)
    ready = ReadyMade(engines, world.device, world.reporter, wanted=wanted)
    updater = Updater(
        slots=world.slots,
        journal=world.journal,
        source=world.source,
        device=world.device,
        reporter=world.reporter,
        clock=world.clock,
        cancel=world.cancel,
        policy=world.policy,
        ready_made=ready,
    )
    updater.handle(world.desired("1.0.0", sha256))


def test_an_engine_of_this_class_is_taken_and_nothing_is_built(world: World, engines: Engines) -> None:
    """The report says so; the model stands beside it, for a runtime that changes."""
    deploy(world, engines)
    active = world.slots.active()
    assert active is not None
    assert (world.last()[0], world.device.builds) == ("committed", 0)
    assert (active.record.taken, active.record.built, active.engine_path.read_bytes()) == (True, False, ENGINE)
    assert (active.folder / "model.onnx").is_file()
    assert (world.reporter.reports[-1].took_engine, world.reporter.reports[-1].built_engine) == (True, False)


@pytest.mark.parametrize("fault", ["agreement", "bytes"])
def test_an_engine_that_is_of_no_use_is_told_of_and_built_here(world: World, engines: Engines, fault: str) -> None:
    """Reference frames that it does not see, or other bytes than were signed: the update goes on without it."""
    if fault == "bytes":
        engines.content = b"x" * len(ENGINE)
    else:
        look = world.device.reference_agreement
        world.device.reference_agreement = lambda one: 0.5 if one.record.taken else look(one)  # type: ignore[method-assign]
    deploy(world, engines)
    active = world.slots.active()
    assert active is not None
    assert (world.last()[0], world.device.builds, world.reporter.events) == ("committed", 1, ["engine_refused"])
    assert (active.record.taken, active.record.built) == (False, True)
    assert ENGINE not in [path.read_bytes() for path in active.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("step", ["find", "fetch"])
@pytest.mark.parametrize("code", ["expired_metadata", "bad_signature", "hash_mismatch", "server_refused"])
def test_engines_that_cannot_be_trusted_do_not_hold_up_a_release(
    world: World, engines: Engines, step: str, code: str
) -> None:
    """Whoever has the key for engines, or has lost one of their files, costs devices a build and no update."""
    engines.fault = (step, code)
    deploy(world, engines)
    assert (world.last(), world.device.builds) == (("committed", None), 1)


def test_a_fault_of_the_disk_is_none_of_the_engines(world: World, engines: Engines) -> None:
    """It ends the update, as with any other file."""
    engines.fault = ("fetch", "no_space")
    deploy(world, engines)
    assert world.last() == ("failed", "no_space")


@pytest.mark.parametrize(
    "change",
    [
        {"runtime_version": "1.23.0"},
        {"hardware_class": "linux-x86_64-another-cpu-ort1.24.4"},
        {"manifest_sha256": "0" * 64},
        {"variant_sha256": "0" * 64},
        {"precision": "int8"},
    ],
)
def test_an_engine_whose_record_differs_is_not_even_fetched(
    world: World, engines: Engines, change: dict[str, object]
) -> None:
    """Whatever name it is signed under."""
    deploy(world, engines, **change)
    assert (world.last()[0], world.device.builds, world.reporter.events) == ("committed", 1, [])


def test_an_engine_of_no_measure_does_not_fill_the_disk(world: World, engines: Engines) -> None:
    """A signed length of a terabyte is passed over, and takes no room from the release."""
    sha256 = world.source.add("1.0.0")
    engines.sign("1.0.0", sha256)
    engines.signed = {
        path: replace(one, files=(replace(one.files[0], size_bytes=1 << 40),)) for path, one in engines.signed.items()
    }
    world.device.room = 1 << 30
    updater = Updater(
        slots=world.slots,
        journal=world.journal,
        source=world.source,
        device=world.device,
        reporter=world.reporter,
        clock=world.clock,
        ready_made=ReadyMade(engines, world.device, world.reporter),
    )
    updater.handle(world.desired("1.0.0", sha256))
    assert (world.last(), world.device.builds) == (("committed", None), 1)


def test_a_site_may_build_each_engine_itself(world: World, engines: Engines) -> None:
    """``updates.take_engines: false``."""
    deploy(world, engines, wanted=False)
    assert world.device.builds == 1


def test_a_device_that_may_not_build_takes_a_ready_made_engine_or_says_why_not(world: World, engines: Engines) -> None:
    """Without one it refuses as before; one of no use is a failed build, not a build after all."""
    world.policy = VariantPolicy(allow_build=False)
    deploy(world, engines)
    assert (world.last()[0], world.device.builds) == ("committed", 0)
    other = World(world.folder / "other")
    other.policy = world.policy
    spoilt = Engines(other, content=b"y" * len(ENGINE))
    deploy(other, spoilt)
    assert (other.last(), other.device.builds) == (("failed", "build_failed"), 0)


def test_a_taken_engine_is_built_anew_for_another_runtime(world: World, engines: Engines) -> None:
    """From the model that came along, without the fleet."""
    deploy(world, engines)
    world.device.machine = FACTS.model_copy(update={"onnxruntime": "1.25.0"})
    world.updater().recover()
    active = world.slots.active()
    assert active is not None
    assert (world.device.builds, active.record.built, active.record.taken) == (1, True, False)


class Way:
    """The fleet's side of an offer, in memory; ``faults`` are raised first."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.got = bytearray()
        self.faults: list[Exception] = []
        self.size = 0

    def offer(self, engine_id: str, record: bytes) -> EngineStanding:
        assert hashlib.sha256(record).hexdigest() == engine_id
        self.records.append(record)
        self.size = EngineRecord.model_validate_json(record).engine.size_bytes
        return self._standing()

    def send(self, place: str, offset: int, piece: bytes) -> EngineStanding:
        if self.faults and self.got:
            raise self.faults.pop(0)
        assert offset == len(self.got)
        self.got += piece
        return self._standing()

    def _standing(self) -> EngineStanding:
        state = "checking" if len(self.got) == self.size else "uploading"
        return EngineStanding(state=state, have={"engine": len(self.got)})


def offers_of(world: World, way: Way) -> EngineOffers:
    """As a fresh process has them."""
    return EngineOffers(
        world.slots, world.journal, FACTS, "cam-1", way, tell=lambda kind, *_: world.reporter.events.append(kind)
    )


def test_what_was_built_probed_and_committed_is_offered_once(world: World) -> None:
    """With what was measured; a restart asks nothing more."""
    world.deploy("1.0.0")
    way = Way()
    assert offers_of(world, way).offer() is None
    record = EngineRecord.model_validate_json(way.records[0])
    active = world.slots.active()
    assert active is not None
    assert (bytes(way.got), record.reference_agreement) == (active.engine_path.read_bytes(), 0.98)
    assert (record.deployment_id, record.build_s) == ("d1", active.record.build_s)
    assert offers_of(world, way).offer() is None
    assert (len(way.records), world.reporter.events) == (1, ["engine_offered"])


def test_an_offer_that_was_cut_off_goes_on_with_the_same_record(world: World) -> None:
    """Pieces that the fleet has are not sent again."""
    world.deploy("1.0.0")
    active, way = world.slots.active(), Way()
    assert active is not None
    active.engine_path.write_bytes(b"z" * (2 * PIECE_BYTES + 5))
    way.faults.append(UnavailableError("the network is away"))
    with pytest.raises(UnavailableError):
        offers_of(world, way).offer()
    assert len(way.got) == PIECE_BYTES
    assert offers_of(world, way).offer() is None
    assert len(way.got) == 2 * PIECE_BYTES + 5
    assert way.records[0] == way.records[1]


def test_nothing_is_offered_that_was_not_built_here_and_committed(world: World, engines: Engines) -> None:
    """Not another's engine, not one that was taken back, not one of another machine."""
    deploy(world, engines)
    assert record_of(world.slots.active(), world.journal.read(), FACTS, "cam-1") is None
    other = World(world.folder / "other")
    other.deploy("1.0.0")
    moved = FACTS.model_copy(update={"onnxruntime": "1.25.0"})
    assert record_of(other.slots.active(), other.journal.read(), moved, "cam-1") is None
    other.device.agreement["1.1.0"] = 0.1
    other.deploy("1.1.0")
    assert record_of(other.slots.active(), other.journal.read(), FACTS, "cam-1") is None


def test_a_peak_that_cannot_be_measured_is_not_told(tmp_path: Path) -> None:
    """Rather than that of an earlier time; where it can, it covers what was done meanwhile."""
    with measured(clear=tmp_path / "no" / "such") as cost:
        pass
    assert cost.peak_bytes is None
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t    2048 kB\n")
    with measured(clear=tmp_path / "clear", status=status) as cost:
        pass
    assert cost.peak_bytes == 2 << 20
