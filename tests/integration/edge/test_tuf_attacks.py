"""Each attack on the way of a release to a device, against the real TUF client over real HTTP and real slots on the disk.

A device runs faces@1.0.0. Somebody attacks while it is told to take another release: the update must end with the
reason's own code, no byte in a slot may change, and what runs must go on.
"""

from __future__ import annotations

import copy
import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Targets

from edge.transport.https import ResumingFetcher
from edge.transport.pace import Pace
from edge.update.journal import Journal
from edge.update.slots import SlotStore
from edge.update.tuf_source import TufSource
from edge.update.updater import Updater
from mien.files import sha256_of
from mien.messages import Desired
from tests.fakes.hostile_server import HostileServer
from tests.fakes.paper_bundle import write_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.fakes.update_world import FakeDevice, FakeReporter

BAD = "0" * 64
MODEL = "model.int8.onnx"
"""What this device takes of a release."""
FAR_AHEAD = 1_000_000


class Device:
    """A device's disk, and the programs that start on it afresh for each update."""

    def __init__(self, folder: Path, repository: TufRepository, url: str) -> None:
        self.folder, self.repository, self.url = folder, repository, url
        self.root = repository.root_bytes
        self.engines = FakeDevice()
        self.reporter = FakeReporter()
        self.clock: Callable[[], float] = time.time
        self.patience_s = 60.0
        self._count = 0

    @property
    def slots(self) -> SlotStore:
        return SlotStore(self.folder / "slots")

    def update(self, version: str, sha256: str, *, timeout_s: float = 30.0) -> tuple[str, str | None]:
        """Take a release; state and error code at the end."""
        self._count += 1
        desired = Desired.model_validate(
            {
                "deployment_id": f"d{self._count}",
                "release": {"name": "faces", "version": version},
                "manifest_sha256": sha256,
                "issued_at": 0,
                "timeout_s": timeout_s,
            }
        )
        fetcher = ResumingFetcher(
            self.folder / "parts",
            f"{self.url}/targets/",
            attempts=1,
            pace=lambda: Pace(least_bytes_per_s=10_000, over_s=self.patience_s),
            head_within_s=self.patience_s,
        )
        source = TufSource(
            self.folder / "tuf",
            self.root,
            metadata_url=f"{self.url}/metadata/",
            targets_url=f"{self.url}/targets/",
            fetcher=fetcher,
            clock=self.clock,
        )
        Updater(
            slots=self.slots,
            journal=Journal(self.folder / "update"),
            source=source,
            device=self.engines,
            reporter=self.reporter,
            first_pause_s=60.0,
        ).handle(desired)
        fetcher.close()
        report = self.reporter.reports[-1]
        return report.state.value, report.error_code

    def picture(self) -> dict[str, str]:
        """Every file and link of the slots."""
        paths = sorted((self.folder / "slots").rglob("*"))
        files = {str(path): sha256_of(path) for path in paths if path.is_file() and not path.is_symlink()}
        return files | {str(path): str(path.readlink()) for path in paths if path.is_symlink()}


@pytest.fixture
def server(repository: TufRepository) -> Iterator[HostileServer]:
    """Serves the repository's folder, well until it is told otherwise."""
    made = HostileServer(repository.folder)
    yield made
    made.close()


@pytest.fixture
def device(tmp_path: Path, repository: TufRepository, server: HostileServer) -> Device:
    """A device that runs faces@1.0.0."""
    made = Device(tmp_path / "device", repository, server.url)
    assert made.update("1.0.0", sign(tmp_path, repository, "1.0.0")) == ("committed", None)
    return made


@pytest.fixture
def refused(device: Device) -> Callable[..., None]:
    """Sees that an update ends as said, and that slots and engine stay as they are."""

    def check(version: str, sha256: str, code: str, *, state: str = "rejected", **more: Any) -> None:
        before, taken_up = device.picture(), list(device.engines.taken_up)
        assert device.update(version, sha256, **more) == (state, code)
        assert device.reporter.reports[-1].message
        assert device.picture() == before
        assert (device.engines.running, device.engines.taken_up) == ("1.0.0", taken_up)

    return check


def sign(tmp_path: Path, repository: TufRepository, version: str) -> str:
    """Publish a release; its manifest's SHA-256."""
    folder = tmp_path / f"bundle-{version}"
    write_bundle(folder, version)
    return repository.add_bundle(folder, "faces", version)


def metadata_of(repository: TufRepository) -> dict[Path, bytes]:
    """What is served now."""
    return {path: path.read_bytes() for path in (repository.folder / "metadata").iterdir()}


def forged_targets(repository: TufRepository, tmp_path: Path) -> Metadata[Targets]:
    """The next list of releases, with one that its owner never published."""
    folder = tmp_path / "evil"
    write_bundle(folder, "6.6.6", salt="evil")
    kept = copy.deepcopy(repository.targets.signed)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        repository.add_file(path, f"faces/6.6.6/{path.relative_to(folder).as_posix()}")
    forged = Metadata(copy.deepcopy(repository.targets.signed))
    repository.targets.signed.targets = kept.targets
    forged.signed.version += 1
    return forged


def evil_sha256(tmp_path: Path) -> str:
    return sha256_of(tmp_path / "evil" / "manifest.json")


def announce(
    repository: TufRepository, snapshot_key: CryptoSigner, timestamp_key: CryptoSigner, **versions: int
) -> None:
    """Serve a snapshot and a timestamp of one's own, signed with these keys."""
    snapshot, timestamp = copy.deepcopy(repository.snapshot), copy.deepcopy(repository.timestamp)
    snapshot.signed.version = versions.pop("snapshot", snapshot.signed.version + 1)
    timestamp.signed.version = versions.pop("timestamp", timestamp.signed.version + 1)
    for role, version in versions.items():
        snapshot.signed.meta[f"{role}.json"] = MetaFile(version=version)
    timestamp.signed.snapshot_meta = MetaFile(version=snapshot.signed.version)
    repository.put("snapshot", snapshot, snapshot_key)
    repository.put("timestamp", timestamp, timestamp_key)


def test_without_an_attack_the_update_comes(device: Device, repository: TufRepository, tmp_path: Path) -> None:
    """The same device takes the next release when nobody interferes: refusals below are not for another reason."""
    assert device.update("1.1.0", sign(tmp_path, repository, "1.1.0")) == ("committed", None)
    assert device.engines.running == "1.1.0"


def test_arbitrary_software_that_nobody_signed(refused: Callable[..., None]) -> None:
    """An order for a release that is not among the signed ones."""
    refused("6.6.6", BAD, "not_signed")


def test_arbitrary_software_under_keys_of_ones_own(
    refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """A whole repository by somebody else, with a root that names their keys."""
    forged_targets(repository, tmp_path)
    strange = TufRepository(tmp_path / "strange")
    sha256 = strange.add_bundle(tmp_path / "evil", "faces", "6.6.6")
    strange.root.signed.version = 2
    strange.put("root", strange.root, strange.signers["root"])
    for path in (strange.folder / "metadata").iterdir():
        (repository.folder / "metadata" / path.name).write_bytes(path.read_bytes())
    refused("6.6.6", sha256, "bad_signature")


def test_rollback_to_an_old_timestamp(
    device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """Everything that was served when there was no update yet."""
    old = (repository.folder / "metadata" / "timestamp.json").read_bytes()
    sha256 = sign(tmp_path, repository, "1.1.0")
    device.update("9.9.9", BAD)
    (repository.folder / "metadata" / "timestamp.json").write_bytes(old)
    refused("1.1.0", sha256, "rollback_attack")


def test_rollback_of_the_list_of_releases_with_stolen_online_keys(
    device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """New timestamp and snapshot lead to an old list."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    device.update("9.9.9", BAD)
    keys = repository.signers
    announce(repository, keys["snapshot"], keys["timestamp"], targets=repository.targets.signed.version - 1)
    refused("1.1.0", sha256, "rollback_attack")


def test_freeze(refused: Callable[..., None], repository: TufRepository, tmp_path: Path) -> None:
    """Nothing new comes until the timestamp has run out."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    repository.expire()
    refused("1.1.0", sha256, "expired_metadata")


def test_fast_forward_and_its_recovery(
    device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """Versions far ahead lock the rightful ones out, until the stolen keys are replaced."""
    keys = repository.signers
    kept = metadata_of(repository)
    announce(repository, keys["snapshot"], keys["timestamp"], snapshot=FAR_AHEAD, timestamp=FAR_AHEAD)
    assert device.update("9.9.9", BAD) == ("rejected", "not_signed")
    for path, content in kept.items():
        path.write_bytes(content)
    sha256 = sign(tmp_path, repository, "1.1.0")
    refused("1.1.0", sha256, "rollback_attack")
    repository.next_root("snapshot", "timestamp")
    assert device.update("1.1.0", sha256) == ("committed", None)


def test_fast_forward_of_the_list_of_releases_and_its_recovery(
    device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """A snapshot that names a list far ahead is remembered; replacing the snapshot's key forgets it."""
    keys = repository.signers
    announce(repository, keys["snapshot"], keys["timestamp"], targets=FAR_AHEAD)
    repository.snapshot.signed.version += 1
    repository.timestamp.signed.version += 1
    device.update("9.9.9", BAD, timeout_s=0)
    sha256 = sign(tmp_path, repository, "1.1.0")
    refused("1.1.0", sha256, "rollback_attack")
    repository.next_root("snapshot", "timestamp")
    assert device.update("1.1.0", sha256) == ("committed", None)


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_mix_and_match(refused: Callable[..., None], repository: TufRepository, tmp_path: Path, role: str) -> None:
    """A rightful but older document under the name of the newer one."""
    old = copy.deepcopy(getattr(repository, role))
    sha256 = sign(tmp_path, repository, "1.1.0")
    newest = getattr(repository, role).signed.version
    old.to_file(str(repository.folder / "metadata" / f"{newest}.{role}.json"))
    refused("1.1.0", sha256, "rollback_attack")


@pytest.mark.parametrize("ending", ["timestamp.json", "snapshot.json", ".targets.json", "2.root.json", MODEL])
def test_endless_data(
    refused: Callable[..., None], repository: TufRepository, server: HostileServer, tmp_path: Path, ending: str
) -> None:
    """Bytes without an end, in place of each kind of file."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    if ending == "2.root.json":
        repository.next_root()
    server.manners[ending] = "endless"
    refused("1.1.0", sha256, "endless_data")
    parts = [path.stat().st_size for path in (tmp_path / "device" / "parts").glob("*.part")]
    assert sum(parts) <= (tmp_path / "bundle-1.1.0" / MODEL).stat().st_size


@pytest.mark.parametrize("manner", ["dripping", "dripping head"])
@pytest.mark.parametrize("ending", ["timestamp.json", MODEL])
def test_slow_retrieval(
    device: Device,
    refused: Callable[..., None],
    repository: TufRepository,
    server: HostileServer,
    tmp_path: Path,
    ending: str,
    manner: Any,
) -> None:
    """A byte now and then, in the body or in the head: no read takes long, and no file ever ends."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    server.manners[ending] = manner
    device.patience_s = 0.3
    refused("1.1.0", sha256, "slow_retrieval", state="failed")


def test_a_slow_server_that_mends_itself_is_no_fault(
    device: Device, repository: TufRepository, server: HostileServer, tmp_path: Path
) -> None:
    """The next order goes through, from where the bytes stopped or from the beginning."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    server.manners["timestamp.json"] = "dripping"
    device.patience_s = 0.3
    assert device.update("1.1.0", sha256) == ("failed", "slow_retrieval")
    server.manners.clear()
    device.patience_s = 60.0
    assert device.update("1.1.0", sha256) == ("committed", None)


@pytest.mark.parametrize("ending", ["timestamp.json", "2.root.json", MODEL])
def test_a_redirection_is_not_followed(
    refused: Callable[..., None], repository: TufRepository, server: HostileServer, tmp_path: Path, ending: str
) -> None:
    """Addresses come from the enrolment, and the page of a redirection is taken for no document."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    server.manners[ending] = "pointing elsewhere"
    refused("1.1.0", sha256, "server_refused", state="failed")


@pytest.mark.parametrize("name", ["manifest.json", MODEL])
def test_wrong_hash(refused: Callable[..., None], repository: TufRepository, tmp_path: Path, name: str) -> None:
    """A file of the right length with one byte changed."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    stored = repository.stored(f"faces/1.1.0/{name}")
    stored.write_bytes(b"~" + stored.read_bytes()[1:])
    refused("1.1.0", sha256, "hash_mismatch")


def test_a_file_that_is_too_short(refused: Callable[..., None], repository: TufRepository, tmp_path: Path) -> None:
    """Half of the model is no model."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    stored = repository.stored(f"faces/1.1.0/{MODEL}")
    stored.write_bytes(stored.read_bytes()[:100])
    refused("1.1.0", sha256, "hash_mismatch")


@pytest.mark.parametrize("stolen", ["timestamp", "snapshot", "engines"])
def test_one_stolen_online_key(
    refused: Callable[..., None], repository: TufRepository, tmp_path: Path, stolen: str
) -> None:
    """With it a thief signs all that it is for, and everything else with a key of their own."""
    keys = {role: CryptoSigner.generate_ed25519() for role in ("targets", "snapshot", "timestamp", "engines")}
    keys[stolen] = repository.signers[stolen]
    forged = forged_targets(repository, tmp_path)
    repository.put("targets", forged, keys["targets"])
    engines = Metadata(copy.deepcopy(forged.signed))
    engines.signed.delegations, engines.signed.version = None, repository.engines.signed.version + 1
    repository.put("engines", engines, keys["engines"])
    announce(
        repository,
        keys["snapshot"],
        keys["timestamp"],
        targets=forged.signed.version,
        engines=engines.signed.version,
    )
    refused("6.6.6", evil_sha256(tmp_path), "bad_signature")


def test_all_online_keys_stolen_at_once(
    refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """The list of releases is still not theirs to sign."""
    keys, forged = repository.signers, forged_targets(repository, tmp_path)
    repository.put("targets", forged, keys["engines"])
    announce(repository, keys["snapshot"], keys["timestamp"], targets=forged.signed.version)
    refused("6.6.6", evil_sha256(tmp_path), "bad_signature")


def test_engines_key_cannot_name_a_release(
    refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """With all online keys, a release in the list of engines is signed, and not looked for there."""
    keys, forged = repository.signers, forged_targets(repository, tmp_path)
    engines = Metadata(copy.deepcopy(forged.signed))
    engines.signed.delegations, engines.signed.version = None, repository.engines.signed.version + 1
    repository.put("engines", engines, keys["engines"])
    announce(repository, keys["snapshot"], keys["timestamp"], engines=engines.signed.version)
    refused("6.6.6", evil_sha256(tmp_path), "not_signed")


def test_expired_root(device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path) -> None:
    """Nothing is taken under a root that has run out; a root signed anew ends that."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    repository.next_root(days=-1)
    refused("1.1.0", sha256, "expired_metadata")
    repository.next_root()
    assert device.update("1.1.0", sha256) == ("committed", None)


def test_a_root_that_only_new_keys_signed(
    refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """A next root counts only with the threshold of the root before it."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    mine = CryptoSigner.generate_ed25519()
    root: Metadata[Root] = copy.deepcopy(repository.root)
    root.signed.version += 1
    root.signed.revoke_key(repository.signers["root"].public_key.keyid, "root")
    root.signed.add_key(mine.public_key, "root")
    repository.put("root", root, mine)
    refused("1.1.0", sha256, "bad_signature")


@pytest.mark.parametrize("now", [dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc) for year in (1970, 2020)])
def test_a_clock_from_before_this_version(
    device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path, now: dt.datetime
) -> None:
    """A device without a clock says so and asks nobody for anything; with the time set, the update comes."""
    sha256 = sign(tmp_path, repository, "1.1.0")
    device.clock = now.timestamp
    refused("1.1.0", sha256, "clock_wrong", state="failed")
    assert str(now.year) in device.reporter.reports[-1].message
    device.clock = time.time
    assert device.update("1.1.0", sha256) == ("committed", None)


def test_a_clock_from_before_the_last_metadata(
    device: Device, refused: Callable[..., None], repository: TufRepository, tmp_path: Path
) -> None:
    """A clock that was set back would make frozen metadata look fresh; an hour may be a correction."""
    device.clock = lambda: time.time() + 10 * 86400
    assert device.update("1.1.0", sign(tmp_path, repository, "1.1.0")) == ("committed", None)
    device.clock = time.time
    before, sha256 = device.picture(), sign(tmp_path, repository, "1.2.0")
    assert device.update("1.2.0", sha256) == ("failed", "clock_wrong")
    assert device.picture() == before
    device.clock = lambda: time.time() + 10 * 86400 - 3600
    assert device.update("1.2.0", sha256) == ("committed", None)
