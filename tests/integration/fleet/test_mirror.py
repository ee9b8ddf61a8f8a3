"""A copy of the registry in a real S3 server: what devices take from it, at every moment of a round."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tuf.ngclient import Updater

from edge.transport.https import ResumingFetcher
from edge.update.tuf_source import TufSource
from fleet.errors import ConflictError
from fleet.paths import DataFolder
from fleet.registry.changes import replacement, rotate
from fleet.registry.content import target_place
from fleet.registry.mirror import MirrorKeeper, sync
from fleet.registry.mirror_plan import TIMESTAMP, Held, Upload
from fleet.registry.mirror_s3 import S3Store, bucket_of
from fleet.registry.publish import publish
from fleet.registry.repository import Repository
from mien.errors import BundleError, TrustError, UnavailableError
from mien.files import sha256_of
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle
from tests.fakes.s3_server import FOLDER, KEYS, S3Server

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no S3 server: make setup")
ROOT = Path(__file__).parents[3]
PREFIX = "site/mien"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server, for all tests of this file."""
    made = S3Server(tmp_path_factory.mktemp("s3") / "log")
    yield made
    made.close()


class Copy:
    """A registry with one release, and a bucket for its copy."""

    def __init__(self, folder: Path, server: S3Server, bucket: str) -> None:
        self.folder, self.server, self.bucket = folder, server, bucket
        server.make_bucket(bucket)
        self.repository = Repository(DataFolder(folder / "data"))
        self.repository.create(now())
        self.publish("1.0.0")

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/{PREFIX}"

    @property
    def url(self) -> str:
        """Where anybody finds it, without a key."""
        return f"{self.server.url}/{self.bucket}/{PREFIX}"

    @property
    def store(self) -> S3Store:
        return S3Store(bucket_of(self.address, endpoint=self.server.url))

    def publish(self, version: str) -> Path:
        bundle = self.folder / f"bundle-{version}"
        write_bundle(bundle, version)
        publish(bundle, self.repository, now())
        return bundle

    def client(self, name: str) -> Updater:
        """The TUF client, over the bucket's plain addresses."""
        folder = self.folder / name
        (folder / "files").mkdir(parents=True, exist_ok=True)
        return Updater(
            str(folder),
            f"{self.url}/metadata/",
            target_dir=str(folder / "files"),
            target_base_url=f"{self.url}/targets/",
            bootstrap=self.repository.first_root(),
        )


class Watched:
    """A store that calls something after each object."""

    def __init__(self, store: S3Store, after: Callable[[Upload], object]) -> None:
        self._store, self._after = store, after

    def held(self) -> Iterator[tuple[str, Held]]:
        return self._store.held()

    def read(self, key: str) -> bytes | None:
        return self._store.read(key)

    def put(self, upload: Upload, content: bytes | Path, *, over: Held | None) -> None:
        self._store.put(upload, content, over=over)
        self._after(upload)


class _Cut(Exception):  # noqa: N818 - a power cut is no error
    pass


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@pytest.fixture
def copy(tmp_path: Path, server: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """A registry and its bucket; the keys are where S3's tools look."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    number = abs(hash(request.node.name)) % 10**9
    return Copy(tmp_path, server, f"bucket-{number}")


def test_a_device_takes_a_release_from_the_copy_with_no_key_and_no_service(copy: Copy, tmp_path: Path) -> None:
    """The device's own client, the bucket's plain address."""
    done = sync(copy.repository, copy.store)
    assert done.files == len(copy.repository.targets())
    source = TufSource(
        tmp_path / "tuf",
        copy.repository.first_root(),
        metadata_url=f"{copy.url}/metadata/",
        targets_url=f"{copy.url}/targets/",
        fetcher=ResumingFetcher(tmp_path / "parts", f"{copy.url}/targets/", attempts=1),
    )
    release = ReleaseRef(name="faces", version="1.0.0")
    content, _ = source.manifest(release)
    assert content == (tmp_path / "bundle-1.0.0" / "manifest.json").read_bytes()
    source.fetch(release, "model.int8.onnx", tmp_path / "got", lambda _: None)
    assert sha256_of(tmp_path / "got") == sha256_of(tmp_path / "bundle-1.0.0" / "model.int8.onnx")


def test_readers_see_a_whole_registry_after_every_single_object(copy: Copy) -> None:
    """A client that knows the state before and one that knows nothing, through a release and new keys for all."""
    sync(copy.repository, copy.store)
    copy.client("old").refresh()
    copy.publish("1.1.0")
    roles = ("root", "targets", "snapshot", "timestamp", "engines")
    rotate(copy.repository, {role: replacement(copy.repository, role) for role in roles}, now())
    seen: list[str] = []

    def look(upload: Upload) -> None:
        for name in ("old", f"new-{len(seen)}"):
            client = copy.client(name)
            client.refresh()
            assert client.get_targetinfo("faces/1.0.0/manifest.json") is not None
            newer = client.get_targetinfo("faces/1.1.0/manifest.json")
            if newer is not None:
                client.download_target(newer)
        seen.append(upload.key)

    sync(copy.repository, Watched(copy.store, look))
    assert TIMESTAMP in seen
    assert copy.client("old").get_targetinfo("faces/1.1.0/manifest.json") is not None
    assert seen.index(TIMESTAMP) < seen.index("metadata/2.root.json")


def test_a_second_round_puts_nothing(copy: Copy) -> None:
    """And a keeper does not even ask, until the registry changes."""
    sync(copy.repository, copy.store)
    assert not sync(copy.repository, copy.store).is_change
    keeper = MirrorKeeper(copy.repository, copy.store, copy.address)
    keeper.run()
    copy.publish("1.1.0")
    keeper.run()
    assert copy.client("late").get_targetinfo("faces/1.1.0/manifest.json") is not None


def test_a_round_that_is_cut_off_anywhere_goes_on_and_puts_nothing_twice(copy: Copy) -> None:
    """Whatever was put stays; the next round does the rest."""
    put: list[str] = []

    def cut(upload: Upload) -> None:
        put.append(upload.key)
        raise _Cut

    for _ in range(40):
        try:
            sync(copy.repository, Watched(copy.store, cut))
        except _Cut:
            continue
        break
    assert len(put) == len(set(put)) == len(copy.repository.targets()) + 5
    copy.client("late").refresh()


def test_only_the_timestamp_is_asked_for_again(copy: Copy) -> None:
    """Everything else has a name that never changes its content, and says so to caches."""
    sync(copy.repository, copy.store)
    caching = {key: httpx.get(f"{copy.url}/{key}").headers["cache-control"] for key, _ in copy.store.held()}
    assert caching.pop(TIMESTAMP) == "no-cache"
    assert set(caching.values()) == {"public, max-age=31536000, immutable"}


def test_an_older_registry_is_never_put_over_a_newer_one(copy: Copy) -> None:
    """A backup that was restored would look like a rollback to every device."""
    shelf = copy.repository.shelf
    backup = {path: path.read_bytes() for path in shelf.folder.iterdir()}
    copy.publish("1.1.0")
    sync(copy.repository, copy.store)
    for path in shelf.folder.iterdir():
        path.unlink()
    for path, content in backup.items():
        path.write_bytes(content)
    with pytest.raises(TrustError, match="newer than this registry"):
        sync(copy.repository, copy.store)


def test_two_services_do_not_write_one_timestamp(copy: Copy) -> None:
    """Who comes second is told, and the first one's stays."""
    sync(copy.repository, copy.store)
    held = dict(copy.store.held())[TIMESTAMP]
    first, second = (
        Upload(key=TIMESTAMP, content=text, cache_control="no-cache", content_type="application/json")
        for text in (b"first", b"second")
    )
    copy.store.put(first, b"first", over=held)
    with pytest.raises(ConflictError, match="another service"):
        copy.store.put(second, b"second", over=held)
    with pytest.raises(ConflictError):
        copy.store.put(second, b"second", over=None)
    assert copy.store.read(TIMESTAMP) == b"first"


def test_a_damaged_file_is_not_copied(copy: Copy) -> None:
    """What was not signed does not get under a signed name, and nothing speaks of it."""
    place = target_place(copy.repository.targets_folder, copy.repository.targets()["faces/1.0.0/model.int8.onnx"])
    place.write_bytes(b"x" * place.stat().st_size)
    with pytest.raises(BundleError, match="not what was signed"):
        sync(copy.repository, copy.store)
    assert TIMESTAMP not in dict(copy.store.held())


def test_a_store_that_lacks_the_bucket_or_is_away_says_so(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to check."""
    nowhere = S3Store(bucket_of("s3://no-such-bucket", endpoint=copy.server.url))
    with pytest.raises(UnavailableError, match="does not take the copy"):
        sync(copy.repository, nowhere)


def test_the_command_copies_and_says_how_much(copy: Copy) -> None:
    """``mien fleet registry sync``, twice."""
    command = [sys.executable, "-m", "mien", "fleet", "registry", "sync", copy.address, "--endpoint", copy.server.url]
    told = [
        subprocess.run(
            [*command, "--data", str(copy.folder / "data")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **KEYS},
        )
        for _ in range(2)
    ]
    assert [done.returncode for done in told] == [0, 0], told[0].stderr
    assert "5 files and 5 documents put" in told[0].stdout
    assert "is as the registry is" in told[1].stdout
