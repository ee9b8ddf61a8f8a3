"""The registry's folder behind a plain file server: what devices take from it, at every moment of a change."""

from __future__ import annotations

import copy
import datetime as dt
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater

from edge.transport.https import ResumingFetcher
from edge.update.interface import UpdateFault
from edge.update.tuf_source import TufSource
from fleet.paths import DataFolder
from fleet.registry.changes import replacement, rotate
from fleet.registry.keys import ENGINES, OFFLINE
from fleet.registry.publish import publish
from fleet.registry.repository import Repository
from fleet.registry.shelf import Document, Shelf
from mien.errors import BundleError, TrustError
from mien.files import sha256_of
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle

ENGINE = "engines/faces/1.0.0/linux-aarch64-sm8.7-trt10.3/model.int8.engine"
ROTATIONS = [("root",), ("targets",), ("snapshot",), ("timestamp",), ("snapshot", "timestamp"), ("engines",)]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Host:
    """A registry, its folder behind ``http.server``, and devices that know its first root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataFolder(folder / "data")
        self.repository.create(now())
        self._root = self.repository.first_root()
        self._numbers = itertools.count()
        handler = functools.partial(_Quiet, directory=str(folder / "data" / "tuf"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def repository(self) -> Repository:
        """As a fresh process sees it."""
        return Repository(self.data)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish(self, version: str, repository: Repository | None = None) -> Path:
        """Publish a release; its bundle."""
        bundle = self.folder / f"bundle-{version}"
        if not bundle.exists():
            write_bundle(bundle, version)
        publish(bundle, repository or self.repository, now())
        return bundle

    def device(self, folder: Path | None = None) -> TufSource:
        """A device, new unless a folder is given."""
        place = folder or self.folder / f"device-{next(self._numbers)}"
        fetcher = ResumingFetcher(place / "parts", f"{self.url}/targets/", attempts=1)
        return TufSource(
            place / "tuf",
            self._root,
            metadata_url=f"{self.url}/metadata/",
            targets_url=f"{self.url}/targets/",
            fetcher=fetcher,
        )

    def client(self, folder: Path) -> Updater:
        """The TUF client alone."""
        (folder / "files").mkdir(parents=True, exist_ok=True)
        return Updater(
            str(folder),
            f"{self.url}/metadata/",
            target_dir=str(folder / "files"),
            target_base_url=f"{self.url}/targets/",
            bootstrap=self._root,
        )


class WatchedShelf(Shelf):
    """Calls something after each file that is written."""

    def __init__(self, folder: Path, after: Callable[[], object]) -> None:
        super().__init__(folder)
        self._after = after

    def write(self, role: str, document: Document) -> None:
        super().write(role, document)
        self._after()


class _Killed(Exception):  # noqa: N818 - a power cut is no error
    pass


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def ref(version: str) -> ReleaseRef:
    return ReleaseRef(name="faces", version=version)


def exchange(repository: Repository, roles: tuple[str, ...]) -> None:
    """Replace the keys of these roles by new ones."""
    rotate(repository, {role: replacement(repository, role) for role in roles}, now())


def changes_of(host: Host, version: str = "1.1.0") -> dict[str, Callable[[Repository], object]]:
    """Everything that writes metadata."""
    return {
        "publish": lambda repository: host.publish(version, repository),
        **{"+".join(roles): functools.partial(exchange, roles=roles) for roles in ROTATIONS},
    }


NAMES = ["publish", *("+".join(roles) for roles in ROTATIONS)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A registry with one release, on a static host."""
    made = Host(tmp_path)
    made.publish("1.0.0")
    yield made
    made.close()


def test_a_device_takes_a_release_from_a_plain_folder(host: Host, tmp_path: Path) -> None:
    """No service runs: files are enough."""
    bundle, device = host.publish("1.1.0"), host.device()
    content, _ = device.manifest(ref("1.1.0"))
    assert content == (bundle / "manifest.json").read_bytes()
    device.fetch(ref("1.1.0"), "model.int8.onnx", tmp_path / "got", lambda _: None)
    assert sha256_of(tmp_path / "got") == sha256_of(bundle / "model.int8.onnx")


@pytest.mark.parametrize("roles", ROTATIONS, ids="+".join)
def test_devices_follow_a_rotation(host: Host, tmp_path: Path, roles: tuple[str, ...]) -> None:
    """A device that knew the old keys and one that comes later both take what the new keys sign."""
    host.device(tmp_path / "old").manifest(ref("1.0.0"))
    exchange(host.repository, roles)
    bundle = host.publish("1.1.0")
    for device in (host.device(tmp_path / "old"), host.device()):
        assert device.manifest(ref("1.1.0"))[1] == sha256_of(bundle / "manifest.json")


@pytest.mark.parametrize("name", NAMES)
def test_clients_see_a_whole_registry_after_every_single_write(host: Host, tmp_path: Path, name: str) -> None:
    """Old or new, never in between: for a client that knows the state before and for one that knows nothing."""
    host.client(tmp_path / "old").refresh()
    seen = []

    def look() -> None:
        for folder in (tmp_path / "old", tmp_path / f"new-{len(seen)}"):
            client = host.client(folder)
            client.refresh()
            seen.append(client.get_targetinfo("faces/1.0.0/manifest.json"))

    repository = host.repository
    repository.shelf = WatchedShelf(host.data.tuf_metadata, look)
    changes_of(host)[name](repository)
    assert len(seen) >= 4
    assert None not in seen


@pytest.mark.parametrize("name", NAMES)
def test_a_change_that_is_killed_after_any_write_is_finished_later(host: Host, tmp_path: Path, name: str) -> None:
    """The upkeep of the next process brings it to its end, once; clients are served all the time."""
    for writes in itertools.count(1):
        before, left = host.repository.shelf.timestamp().version, [writes]

        def cut(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise _Killed

        repository = host.repository
        repository.shelf = WatchedShelf(host.data.tuf_metadata, cut)
        try:
            changes_of(host, f"1.{writes}.0")[name](repository)
        except _Killed:
            host.client(tmp_path / f"between-{writes}").refresh()
            host.repository.renew(now())
        assert host.repository.pending() is None
        assert host.repository.shelf.timestamp().version > before
        host.client(tmp_path / "old").refresh()
        host.client(tmp_path / f"new-{writes}").refresh()
        if left[0] > 0:
            break
    assert writes > 2


def test_one_stolen_targets_key_of_two_signs_nothing(host: Host) -> None:
    """With a threshold of two, a list of releases with one good signature is refused by devices."""
    repository = host.repository
    keys = replacement(repository, "targets", make=2, threshold=2)
    rotate(repository, {"targets": keys}, now())
    stolen = repository.offline.all_of("targets", [keys.keys[0].keyid])
    forged = Metadata(copy.deepcopy(repository.shelf.targets()))
    forged.sign(stolen[0])
    path = host.data.tuf_metadata / f"{forged.signed.version}.targets.json"
    path.write_bytes(forged.to_bytes())
    with pytest.raises(UpdateFault) as caught:
        host.device().manifest(ref("1.0.0"))
    assert (caught.value.code, "1/2" in caught.value.found) == ("bad_signature", True)


def test_an_engine_of_a_canary_is_taken_and_nothing_else_by_its_key(host: Host, tmp_path: Path) -> None:
    """The engines' key works without the offline ones, below its own paths, once for each path."""
    for role in OFFLINE:
        for key in host.data.offline_keys.glob(f"{role}*.pem"):
            key.unlink()
    engine = tmp_path / "engine"
    engine.write_bytes(b"built by a canary")
    host.repository.add_engines({ENGINE: engine}, now())
    client = host.client(tmp_path / "client")
    target = client.get_targetinfo(ENGINE)
    assert target is not None
    assert Path(client.download_target(target)).read_bytes() == b"built by a canary"
    engine.write_bytes(b"something else")
    with pytest.raises(BundleError, match="other content"):
        host.repository.add_engines({ENGINE: engine}, now())
    with pytest.raises(BundleError, match="no path of an engine"):
        host.repository.add_engines({"faces/1.0.0/model.int8.onnx": engine}, now())


def test_an_engine_outlives_the_rotation_of_its_key(host: Host, tmp_path: Path) -> None:
    """What was signed before is signed anew."""
    engine = tmp_path / "engine"
    engine.write_bytes(b"built by a canary")
    host.repository.add_engines({ENGINE: engine}, now())
    exchange(host.repository, (ENGINES,))
    assert host.client(tmp_path / "client").get_targetinfo(ENGINE) is not None


def test_engines_that_a_thief_may_have_signed_can_be_dropped(host: Host, tmp_path: Path) -> None:
    """Also for a device that saw them."""
    engine = tmp_path / "engine"
    engine.write_bytes(b"built by somebody")
    host.repository.add_engines({ENGINE: engine}, now())
    assert host.client(tmp_path / "client").get_targetinfo(ENGINE) is not None
    assert host.repository.drop_engines(now()) == 1
    exchange(host.repository, (ENGINES,))
    assert host.client(tmp_path / "client").get_targetinfo(ENGINE) is None
    assert host.repository.drop_engines(now()) == 0


def test_a_registry_of_an_earlier_version_gets_its_engines_role(tmp_path: Path) -> None:
    """It has four keys with plain names and no delegation; it publishes as before, and rotation adds the role."""
    host = Host(tmp_path)
    make_as_before(host)
    host.publish("1.0.0")
    with pytest.raises(TrustError, match="no key for engines"):
        host.repository.add_engines({}, now())
    exchange(host.repository, (ENGINES, "snapshot"))
    engine = tmp_path / "engine"
    engine.write_bytes(b"built by a canary")
    host.repository.add_engines({ENGINE: engine}, now())
    assert host.client(tmp_path / "client").get_targetinfo(ENGINE) is not None
    assert not (host.data.online_keys / "snapshot.pem").exists()
    host.close()


def make_as_before(host: Host) -> None:
    """Bring a new registry into the form that earlier versions made."""
    for folder in (host.data.online_keys, host.data.offline_keys):
        for path in folder.glob("*.pem"):
            path.rename(folder / f"{path.stem.partition('-')[0]}.pem")
            path.with_suffix(".pub").unlink()
    (host.data.online_keys / "engines.pem").unlink()
    shelf, repository = host.repository.shelf, host.repository
    targets, snapshot = shelf.targets(), shelf.snapshot()
    targets.delegations = None
    del snapshot.meta["engines.json"]
    root = shelf.root()
    for role, signed in (("targets", targets), ("snapshot", snapshot)):
        folder = repository.offline if role == "targets" else repository.online
        document = Document(signed)
        document.sign(folder.all_of(role, root.roles[role].keyids)[0])
        shelf.write(role, document)
