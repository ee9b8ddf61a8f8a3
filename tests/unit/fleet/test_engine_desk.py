"""The desk that takes engines: uploads in pieces, decisions, signatures and withdrawals, on a real registry and store."""

import datetime as dt
import hashlib
import threading

import pytest
from sqlalchemy.orm import Session

from fleet.config import EngineSettings
from fleet.engines.desk import EngineDesk
from fleet.engines.quarantine import Quarantine
from fleet.errors import ConflictError, NotFoundError
from fleet.paths import DataFolder
from fleet.registry.publish import publish, read_release
from fleet.registry.repository import Repository
from fleet.store.journal import StoredEvent
from fleet.store.models import ExecutionRow, RolloutRow
from mien.engines import EngineRecord, record_from
from mien.errors import ConfigError, DataError, TrustError
from mien.facts import DeviceFacts
from mien.messages import Event, Twin
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle
from tests.unit.fleet.conftest import ISSUED, NOW

ENGINE = b"an engine of some bytes " * 20
FACTS = DeviceFacts(
    arch="x86_64", cpu="AMD EPYC", cpu_count=2, memory_bytes=1 << 32, python="3.11", onnxruntime="1.24.4"
)


class World:
    """A fleet with a published release, and devices that built its engine."""

    def __init__(self, folder, store):
        self.store, self.clock = store, NOW
        self.data = DataFolder(folder / "data")
        self.repository = Repository(self.data)
        moment = dt.datetime.fromtimestamp(NOW, dt.timezone.utc)
        self.repository.create(moment)
        manifest = write_bundle(folder / "bundle")
        publish(folder / "bundle", self.repository, moment)
        release = read_release(self.repository, ReleaseRef(name="faces", version="1.0.0"), at=NOW)
        self.manifest_sha256, self.variant = release.manifest_sha256, manifest.variants[0]
        with store.write() as work:
            work.releases.put(release)
            work.devices.add("cam-2", "lab", ISSUED, at=NOW)
        self.built = []

    def desk(self, **settings):
        """As a fresh process has it."""
        given = EngineSettings(**{"take": True} | settings)
        quarantine = Quarantine(self.data.engine_quarantine)
        return EngineDesk(self.store, self.repository, quarantine, given, clock=lambda: self.clock)

    def device(self, name):
        with self.store.read() as work:
            return work.devices.get(name)

    def build(self, name="cam-1", state="SUCCEEDED"):
        """A rollout in which a device built an engine; its record."""
        number = len(self.built) + 1
        self.built.append(name)
        report = {"built_engine": True, "probe": {"passed": True, "reference_agreement": 1.0}}
        with self.store.write() as work:
            work.devices.set_twin(
                name, Twin(facts=FACTS, hardware_class=FACTS.hardware_class(), capabilities=(), at=NOW)
            )
        with Session(self.store._writing) as session, session.begin():
            session.add(
                RolloutRow(
                    id=number,
                    release="faces@1.0.0",
                    manifest_sha256=self.manifest_sha256,
                    policy_name="p",
                    policy={},
                    seed="s",
                    state="finished",
                    created_at=NOW,
                    reverts=False,
                    approved_wave=-1,
                )
            )
            session.flush()
            session.add(
                ExecutionRow(
                    rollout_id=number,
                    device_id=name,
                    wave=0,
                    deployment_id=f"d{number}",
                    state=state,
                    detail="",
                    queued_at=NOW,
                    report=report,
                    waiting=False,
                    attempts=1,
                )
            )
        return self.record(name, number)

    def record(self, name="cam-1", number=1, **changes):
        return EngineRecord.model_validate(
            {
                "release": {"name": "faces", "version": "1.0.0"},
                "manifest_sha256": self.manifest_sha256,
                "variant_sha256": self.variant.sha256,
                "precision": "fp32",
                "runtime": "onnxruntime",
                "runtime_version": "1.24.4",
                "hardware_class": FACTS.hardware_class(),
                "engine": {"sha256": hashlib.sha256(ENGINE).hexdigest(), "size_bytes": len(ENGINE)},
                "reference_agreement": 1.0,
                "device_id": name,
                "deployment_id": f"d{number}",
                "build_s": 0.4,
            }
            | changes
        )

    def offered(self, desk, record, content=ENGINE):
        """Offer and send an engine; its id and how it stands."""
        body = record.model_dump_json().encode()
        engine_id, device = hashlib.sha256(body).hexdigest(), self.device(record.device_id)
        standing = desk.offer(device, engine_id, body)
        if standing.state == "uploading":
            standing = desk.piece(device, engine_id, "engine", 0, content)
        return engine_id, standing

    def refused_by(self, *names):
        """Devices say that a signed engine was of no use."""
        digest = hashlib.sha256(ENGINE).hexdigest()
        events = [
            StoredEvent(
                device_id=name,
                event=Event(
                    event_id=f"{name}-1",
                    at=self.clock,
                    kind="engine_refused",
                    severity="warning",
                    message="-",
                    details={"engine": digest},
                ),
            )
            for name in names
        ]
        with self.store.write() as work:
            work.events.add(events, at=self.clock)


@pytest.fixture
def world(tmp_path, store):
    return World(tmp_path, store)


def state_of(world, engine_id):
    with world.store.read() as work:
        return str(work.engines.find(engine_id).state)


def test_an_engine_waits_for_a_person_and_is_signed_with_its_record(world):
    """The default: every check passes, and nothing is signed until somebody says yes."""
    desk, record = world.desk(), world.build()
    engine_id, standing = world.offered(desk, record)
    assert standing.state == "checking"
    desk.look()
    assert (state_of(world, engine_id), world.repository.engines()) == ("waiting", {})
    desk.approve(engine_id[:8], "ann")
    signed = world.repository.engines()[record.path]
    assert signed.hashes["sha256"] == record.engine.sha256
    assert record_from(signed.unrecognized_fields["custom"], source="-") == record
    assert not list(world.data.engine_quarantine.iterdir())


def test_an_upload_goes_on_where_it_was_cut_off(world):
    """Also after a restart; a piece that is sent twice or out of turn changes nothing."""
    record = world.build()
    body = record.model_dump_json().encode()
    engine_id, device = hashlib.sha256(body).hexdigest(), world.device("cam-1")
    world.desk().offer(device, engine_id, body)
    assert world.desk().piece(device, engine_id, "engine", 0, ENGINE[:100]).have == {"engine": 100}
    desk = world.desk()
    assert desk.offer(device, engine_id, body).have == {"engine": 100}
    assert desk.piece(device, engine_id, "engine", 0, ENGINE[:100]).have == {"engine": 100}
    assert desk.piece(device, engine_id, "engine", 200, ENGINE[200:]).have == {"engine": 100}
    assert desk.piece(device, engine_id, "engine", 100, ENGINE[100:]).state == "checking"


def test_other_bytes_than_the_record_says_are_refused(world):
    """Of the same length, and longer; nothing stays."""
    desk, record = world.desk(), world.build()
    engine_id, standing = world.offered(desk, record, b"x" * len(ENGINE))
    assert (standing.state, "not what it said" in standing.reason) == ("rejected", True)
    longer = world.record(number=1, build_s=2.0)
    with pytest.raises(ConflictError, match="more bytes"):
        world.offered(desk, longer, ENGINE + b"!")
    desk.look()
    assert state_of(world, engine_id) == "rejected"


def test_bytes_that_change_in_quarantine_are_never_signed(world):
    """They are held against the record once more before a signature, a person's yes or not."""
    desk, record = world.desk(), world.build()
    engine_id, _ = world.offered(desk, record)
    desk.look()
    Quarantine(world.data.engine_quarantine).place(engine_id, "engine").write_bytes(b"y" * len(ENGINE))
    with pytest.raises(ConflictError, match="cannot be signed"):
        desk.approve(engine_id, "ann")
    assert world.repository.engines() == {}


def test_nobody_speaks_for_another_device(world):
    """Neither by the record, nor by the address, nor by sending to another's offer."""
    desk, record = world.desk(), world.build()
    body = record.model_dump_json().encode()
    engine_id = hashlib.sha256(body).hexdigest()
    with pytest.raises(TrustError, match="offers an engine of cam-1"):
        desk.offer(world.device("cam-2"), engine_id, body)
    with pytest.raises(DataError, match="not the one that the address names"):
        desk.offer(world.device("cam-1"), "0" * 64, body)
    desk.offer(world.device("cam-1"), engine_id, body)
    with pytest.raises(NotFoundError):
        desk.piece(world.device("cam-2"), engine_id, "engine", 0, ENGINE)


def test_offers_are_wanted_only_where_the_site_says_so(world):
    """Off by default; and so many a day, in so much room."""
    record = world.build()
    assert world.offered(world.desk(take=False), record)[1].state == "rejected"
    assert (
        world.offered(world.desk(quarantine_bytes=1024), world.record(engine={"sha256": "a" * 64, "size_bytes": 2000}))[
            1
        ].state
        == "later"
    )
    desk = world.desk(offers_a_day=1)
    assert world.offered(desk, record)[1].state == "checking"
    assert world.offered(desk, world.record(build_s=9.0))[1].state == "later"
    world.clock += 86_401
    assert world.offered(desk, world.record(build_s=9.0))[1].state == "checking"


def test_an_update_that_is_not_counted_yet_is_looked_at_again(world):
    """The device offers as soon as it has committed, which may be before its rollout has noted that."""
    desk, record = world.desk(approve="builders", builders=("cam-1",)), world.build(state="IN_PROGRESS")
    engine_id, _ = world.offered(desk, record)
    desk.look()
    assert state_of(world, engine_id) == "checking"
    with Session(world.store._writing) as session, session.begin():
        session.get(ExecutionRow, (1, "cam-1")).state = "SUCCEEDED"
    desk.look()
    assert state_of(world, engine_id) == "signed"


def test_a_second_device_with_the_same_bytes_is_a_witness(world):
    """One engine is signed, and the other one is told that it is."""
    desk = world.desk(approve="witnesses")
    first, _ = world.offered(desk, world.build("cam-1"))
    desk.look()
    assert state_of(world, first) == "waiting"
    second, _ = world.offered(desk, world.build("cam-2"))
    desk.look()
    assert sorted((state_of(world, first), state_of(world, second))) == ["rejected", "signed"]
    assert len(world.repository.engines()) == 1


def test_an_engine_of_no_use_to_devices_is_withdrawn(world):
    """After so many different devices said so, and another may be signed then."""
    desk = world.desk(approve="builders", builders=("cam-1",), withdraw_after=2)
    record = world.build()
    engine_id, _ = world.offered(desk, record)
    desk.look()
    world.refused_by("cam-2")
    desk.look()
    assert state_of(world, engine_id) == "signed"
    world.refused_by("cam-2", "cam-1")
    desk.look()
    assert (state_of(world, engine_id), world.repository.engines()) == ("withdrawn", {})
    again, _ = world.offered(desk, world.record(build_s=7.0))
    desk.look()
    assert state_of(world, again) == "signed"


def test_a_person_rejects_and_withdraws(world):
    """With a reason that stays; what is decided about is not decided again."""
    desk, record = world.desk(), world.build()
    engine_id, _ = world.offered(desk, record)
    desk.look()
    assert str(desk.reject(engine_id, "ann", "not that board").state) == "rejected"
    with pytest.raises(ConflictError):
        desk.approve(engine_id, "ann")
    other, _ = world.offered(desk, world.record(build_s=3.0))
    desk.look()
    desk.approve(other, "ann")
    assert str(desk.withdraw(other, "ann", "slow").state) == "withdrawn"
    with world.store.read() as work:
        noted = [(entry.actor, entry.action) for entry in work.audit.latest(3)]
    assert noted == [("ann", "engine.withdrawn"), ("ann", "engine.signed"), ("ann", "engine.rejected")]


def test_a_persons_no_waits_for_a_signature_under_way(world):
    """Else an engine could be rejected here and signed in the registry, where nobody would look for it again."""
    desk = world.desk()
    engine_id, _ = world.offered(desk, world.build())
    desk.look()
    signing, go_on, refused = threading.Event(), threading.Event(), []
    sign = world.repository.add_engines

    def slowly(*given):
        signing.set()
        go_on.wait(10)
        sign(*given)

    def refuse():
        try:
            desk.reject(engine_id, "eve", "no")
        except ConflictError as error:
            refused.append(error.what)

    world.repository.add_engines = slowly
    first = threading.Thread(target=desk.approve, args=(engine_id, "ann"), daemon=True)
    second = threading.Thread(target=refuse, daemon=True)
    first.start()
    assert signing.wait(10)
    second.start()
    second.join(0.2)
    go_on.set()
    for thread in (first, second):
        thread.join(10)
    assert (state_of(world, engine_id), len(refused)) == ("signed", 1)


def test_engines_that_a_key_rotation_dropped_are_noted(world):
    """The store follows the registry."""
    desk = world.desk(approve="builders", builders=("cam-1",))
    engine_id, _ = world.offered(desk, world.build())
    desk.look()
    world.repository.drop_engines(dt.datetime.fromtimestamp(NOW, dt.timezone.utc))
    desk.look()
    assert state_of(world, engine_id) == "withdrawn"


def test_what_does_not_get_on_is_given_up(world):
    """Half an upload after a day; its bytes go with it."""
    desk, record = world.desk(), world.build()
    engine_id, _ = world.offered(desk, record, ENGINE[:10])
    world.clock += 86_401
    desk.look()
    assert state_of(world, engine_id) == "rejected"
    assert not list(world.data.engine_quarantine.iterdir())


def test_builders_without_names_are_a_fault_of_the_settings():
    """Nobody means: every device's code, unseen."""
    with pytest.raises((ConfigError, ValueError), match="builders"):
        EngineSettings(approve="builders")
