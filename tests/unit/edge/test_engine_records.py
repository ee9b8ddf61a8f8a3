"""The record of a TensorRT engine stays with it: on its way to a device, and in the slot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.engine.tensorrt.sidecar import sidecar_of
from mien.files import sha256_of
from mien.release import MANIFEST, FileEntry, Manifest, Runtime
from tests.fakes.update_world import FACTS, FakeDevice
from tests.unit.edge.test_updater import World

JETSON = FACTS.model_copy(update={"tensorrt": "10.3.0", "compute_capability": "8.7"})


class Builder(FakeDevice):
    """A Jetson that writes a record beside an engine."""

    def build(self, model: Path, folder: Path, runtime: Runtime) -> Path:
        engine = super().build(model, folder, runtime)
        sidecar_of(engine).write_text("{}")
        return engine


@pytest.fixture
def world(memory_path: Path) -> World:
    """A Jetson without any release."""
    world = World(memory_path)
    world.device = Builder(machine=JETSON)
    return world


def deploy(world: World, version: str) -> None:
    world.updater().handle(world.desired(version, world.source.add(version, runtimes=("tensorrt",))))


def test_an_engine_with_its_record_is_taken_up_as_it_is(world: World) -> None:
    """A restart builds nothing when engine and record stand."""
    deploy(world, "1.0.0")
    world.updater().recover()
    assert (world.device.running, world.device.builds) == ("1.0.0", 1)


def test_an_engine_without_a_record_is_built_again(world: World) -> None:
    """An engine of an older agent, which wrote no record, is made anew at the next start and runs."""
    deploy(world, "1.0.0")
    active = world.slots.active()
    assert active is not None
    sidecar_of(active.engine_path).unlink()
    world.updater().recover()
    assert (world.device.running, world.device.builds) == ("1.0.0", 2)
    rebuilt = world.slots.active()
    assert rebuilt is not None
    assert sidecar_of(rebuilt.engine_path).is_file()


def test_a_packed_engine_brings_its_record(world: World) -> None:
    """A record that a release lists beside its variant comes along, and a file that nobody needs does not."""
    world.source.add("1.0.0", runtimes=("tensorrt",))
    folder = world.source.folder / "1.0.0"
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    entries = list(manifest.files)
    for name in ("model.onnx.json", "report.html"):
        (folder / name).write_text(json.dumps(name))
        entries.append(FileEntry(path=name, sha256=sha256_of(folder / name), size_bytes=(folder / name).stat().st_size))
    (folder / MANIFEST).write_text(manifest.model_copy(update={"files": tuple(entries)}).model_dump_json())
    world.updater().handle(world.desired("1.0.0", sha256_of(folder / MANIFEST)))
    active = world.slots.active()
    assert active is not None
    assert (active.folder / "model.onnx.json").is_file()
    assert "report.html" not in world.source.fetched
