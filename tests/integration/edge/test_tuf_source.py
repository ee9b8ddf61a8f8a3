"""Signed releases over HTTP: what TUF refuses, and downloads that go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadLengthMismatchError

from edge.transport.https import ResumingFetcher
from edge.update.interface import UpdateFault
from edge.update.tuf_source import TufSource
from mien.files import sha256_of
from mien.release import ReleaseRef
from tests.fakes.fake_fleet import FakeFleet
from tests.fakes.tiny_bundle import make_bundle
from tests.fakes.tuf_repository import TufRepository

FIRST = ReleaseRef(name="faces", version="1.0.0")
MODEL = "model.fp32.onnx"

Open = Callable[[], TufSource]


@pytest.fixture
def bundle(tmp_path: Path, repository: TufRepository) -> Path:
    """A signed release."""
    folder = tmp_path / "bundle"
    make_bundle(folder, ballast=600_000)
    repository.add_bundle(folder, "faces", "1.0.0")
    return folder


@pytest.fixture
def open_source(tmp_path: Path, repository: TufRepository, fleet: FakeFleet) -> Open:
    """A device's source, as after a restart, on the same disk each time."""

    def make() -> TufSource:
        targets_url = f"{fleet.url}/tuf/targets/"
        fetcher = ResumingFetcher(tmp_path / "parts", targets_url, attempts=2)
        return TufSource(
            tmp_path / "metadata",
            repository.root_bytes,
            metadata_url=f"{fleet.url}/tuf/metadata/",
            targets_url=targets_url,
            fetcher=fetcher,
        )

    return make


def _ignore(_: int) -> None: ...


def test_a_file_arrives_as_signed(open_source: Open, bundle: Path, tmp_path: Path) -> None:
    """Bytes, counted as they come, equal the signed ones, and no part is left."""
    source, counted = open_source(), []
    source.manifest(FIRST)
    source.fetch(FIRST, MODEL, tmp_path / "got", counted.append)
    assert sha256_of(tmp_path / "got") == sha256_of(bundle / MODEL)
    assert sum(counted) == (bundle / MODEL).stat().st_size
    assert list((tmp_path / "parts").iterdir()) == []


def test_bytes_of_the_next_manifest_are_nobodys(open_source: Open, bundle: Path, tmp_path: Path) -> None:
    """A counter is told of its own file only."""
    source, counted = open_source(), []
    source.manifest(FIRST)
    source.fetch(FIRST, MODEL, tmp_path / "got", counted.append)
    before = len(counted)
    source.manifest(FIRST)
    assert len(counted) == before


def test_an_interrupted_download_asks_for_the_rest(
    open_source: Open, bundle: Path, fleet: FakeFleet, tmp_path: Path
) -> None:
    """What arrived before the interruption is not asked for again."""

    class Interrupted(Exception):  # noqa: N818 - no fault
        pass

    arrived = 0

    def stop_in_the_middle(count: int) -> None:
        nonlocal arrived
        arrived += count
        if arrived > 200_000:
            raise Interrupted

    source = open_source()
    source.manifest(FIRST)
    with pytest.raises(Interrupted):
        source.fetch(FIRST, MODEL, tmp_path / "got", stop_in_the_middle)
    fleet.requests.clear()
    again = open_source()
    again.manifest(FIRST)
    again.fetch(FIRST, MODEL, tmp_path / "got", _ignore)
    asked = [ranges for path, ranges in fleet.requests if MODEL in path]
    assert asked == [f"bytes={arrived}-{(bundle / MODEL).stat().st_size - 1}"]
    assert sha256_of(tmp_path / "got") == sha256_of(bundle / MODEL)


def test_a_part_with_wrong_bytes_is_thrown_away(
    open_source: Open, bundle: Path, tmp_path: Path, fleet: FakeFleet
) -> None:
    """A part that was damaged on the disk fails its check once, and the next try begins afresh."""
    source = open_source()
    source.manifest(FIRST)
    digest = sha256_of(bundle / MODEL)
    fetcher = ResumingFetcher(tmp_path / "parts", f"{fleet.url}/tuf/targets/")
    part = fetcher.part_of(f"{fleet.url}/tuf/targets/faces/1.0.0/{digest}.{MODEL}")
    part.write_bytes(b"x" * 1000)
    with pytest.raises(UpdateFault) as caught:
        source.fetch(FIRST, MODEL, tmp_path / "got", _ignore)
    assert caught.value.code == "hash_mismatch"
    source.fetch(FIRST, MODEL, tmp_path / "got", _ignore)
    assert sha256_of(tmp_path / "got") == digest


def test_more_bytes_than_signed_are_not_taken(
    open_source: Open, bundle: Path, repository: TufRepository, tmp_path: Path
) -> None:
    """An endless file stops at its signed length."""
    stored = repository.stored(f"faces/1.0.0/{MODEL}")
    stored.write_bytes(stored.read_bytes() + b"x" * 500_000)
    source = open_source()
    source.manifest(FIRST)
    with pytest.raises(UpdateFault) as caught:
        source.fetch(FIRST, MODEL, tmp_path / "got", _ignore)
    assert caught.value.code == "endless_data"


def test_an_older_repository_is_refused(open_source: Open, bundle: Path, repository: TufRepository) -> None:
    """A device that has seen version 2 never takes version 1 again."""
    timestamp = repository.folder / "metadata" / "timestamp.json"
    old = timestamp.read_bytes()
    repository.publish()
    open_source().manifest(FIRST)
    timestamp.write_bytes(old)
    with pytest.raises(UpdateFault) as caught:
        open_source().manifest(FIRST)
    assert caught.value.code == "rollback_attack"


def test_a_forged_timestamp_is_refused(open_source: Open, bundle: Path, repository: TufRepository) -> None:
    """A changed byte breaks the signature."""
    timestamp = repository.folder / "metadata" / "timestamp.json"
    forged = timestamp.read_text().replace('"version":2', '"version":9')
    assert forged != timestamp.read_text()
    timestamp.write_text(forged)
    with pytest.raises(UpdateFault) as caught:
        open_source().manifest(FIRST)
    assert caught.value.code == "bad_signature"


def test_a_fleet_that_is_away_is_a_fault_of_the_network(open_source: Open, bundle: Path, fleet: FakeFleet) -> None:
    """Nobody answers: the code says that trying again may help."""
    source = open_source()
    fleet.close()
    with pytest.raises(UpdateFault) as caught:
        source.manifest(FIRST)
    assert caught.value.code == "network"


class _Endless(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(65536))


def test_an_answer_without_an_end_is_cut_at_the_length_that_tuf_allows(tmp_path: Path) -> None:
    """A server that never stops sending metadata fills neither memory nor disk."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/tuf"
        fetcher = ResumingFetcher(tmp_path / "parts", f"{url}/targets/", attempts=2)
        with pytest.raises(DownloadLengthMismatchError):
            fetcher.download_bytes(f"{url}/metadata/timestamp.json", 100_000)
        fetcher.close()
        server.shutdown()
