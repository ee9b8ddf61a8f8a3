"""The registry: what may be published, and that clients who know TUF accept it and nothing else."""

import datetime as dt
import json

import pytest

from fleet.paths import DataFolder
from fleet.registry.publish import publish, read_release, signed_releases
from fleet.registry.repository import LIFETIMES, Repository
from mien.errors import BundleError, ConfigError, GateError, TrustError
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc)


@pytest.fixture
def repository(tmp_path):
    made = Repository(DataFolder(tmp_path / "data"))
    made.create(NOW)
    return made


@pytest.fixture
def bundle(tmp_path):
    def make(version="1.0.0", **given):
        folder = tmp_path / f"bundle-{version}-{given.get('salt', '')}"
        write_bundle(folder, version, **given)
        return folder

    return make


def version_of(repository, role):
    return json.loads((repository.targets_folder.parent / "metadata" / f"{role}.json").read_bytes())["signed"][
        "version"
    ]


def test_a_published_release_is_signed(repository, bundle):
    """All its files are targets, and its manifest names it."""
    done = publish(bundle(), repository, NOW)
    assert sorted(repository.targets()) == [
        "faces/1.0.0/cards/model_card.md",
        "faces/1.0.0/manifest.json",
        "faces/1.0.0/model.fp16.onnx",
        "faces/1.0.0/model.fp32.onnx",
        "faces/1.0.0/model.int8.onnx",
    ]
    assert repository.custom("faces/1.0.0/manifest.json") == {"release": "faces@1.0.0"}
    assert signed_releases(repository) == [(ReleaseRef(name="faces", version="1.0.0"), done.manifest_sha256)]


def test_publishing_again_changes_nothing(repository, bundle):
    """The same bundle twice is no fault, and signs nothing."""
    publish(bundle(), repository, NOW)
    before = version_of(repository, "timestamp")
    assert publish(bundle(), repository, NOW).already
    assert version_of(repository, "timestamp") == before


def test_a_version_means_one_content(repository, bundle):
    """Other bytes under a published version are refused."""
    publish(bundle(), repository, NOW)
    with pytest.raises(BundleError) as caught:
        publish(bundle(salt="other"), repository, NOW)
    assert "other content" in caught.value.what


def test_versions_rise(repository, bundle):
    """An older version after a newer one is refused; 1.10 is newer than 1.9."""
    publish(bundle("1.9.0"), repository, NOW)
    publish(bundle("1.10.0"), repository, NOW)
    with pytest.raises(BundleError):
        publish(bundle("1.9.1"), repository, NOW)


def test_a_model_whose_gate_failed_is_not_let_out(repository, bundle):
    """And the reason is named."""
    with pytest.raises(GateError) as caught:
        publish(bundle(gate_passed=False), repository, NOW)
    assert "map50_95_drop" in caught.value.found


def test_a_changed_byte_is_found_before_signing(repository, bundle):
    """A damaged bundle never becomes a signed one."""
    folder = bundle()
    damaged = bytearray((folder / "model.int8.onnx").read_bytes())
    damaged[5] ^= 1
    (folder / "model.int8.onnx").write_bytes(damaged)
    with pytest.raises(BundleError):
        publish(folder, repository, NOW)
    assert repository.targets() == {}


def test_a_release_is_read_back(repository, bundle):
    """The service reads what the command line published."""
    done = publish(bundle(), repository, NOW)
    release = read_release(repository, done.release, at=1.0)
    assert release.manifest.labels[0] == "anger"
    assert release.manifest_sha256 == done.manifest_sha256


def test_a_registry_file_that_was_changed_is_refused(repository, bundle):
    """The service believes the signature, not the disk."""
    done = publish(bundle(), repository, NOW)
    (place,) = repository.targets_folder.rglob("*.manifest.json")
    place.write_bytes(place.read_bytes() + b" ")
    with pytest.raises(BundleError):
        read_release(repository, done.release, at=1.0)


def test_a_publication_that_was_killed_leaves_the_old_state(repository, bundle):
    """New targets without snapshot and timestamp are not there; the next publication goes through."""
    publish(bundle("1.0.0"), repository, NOW)
    folder = repository.targets_folder.parent / "metadata"
    kept = {path: path.read_bytes() for path in folder.glob("*.json")}
    publish(bundle("1.1.0"), repository, NOW)
    (folder / "timestamp.json").write_bytes(kept[folder / "timestamp.json"])
    assert len(signed_releases(repository)) == 1
    publish(bundle("1.2.0"), repository, NOW)
    assert [ref.version for ref, _ in signed_releases(repository)] == ["1.0.0", "1.2.0"]


def test_keys_are_private_and_made_once(repository):
    """Only this user reads them, and a second set-up is refused."""
    keys = list(repository.targets_folder.parents[1].joinpath("keys").rglob("*.pem"))
    assert len(keys) == 5
    assert not [key for key in keys if key.stat().st_mode & 0o077]
    with pytest.raises(ConfigError):
        repository.create(NOW)


def test_without_the_offline_keys_nothing_is_published(repository, bundle):
    """They were moved away, as advised: the error says how to name their place."""
    for key in repository.targets_folder.parents[1].joinpath("keys", "offline").glob("*.pem"):
        key.unlink()
    with pytest.raises(TrustError) as caught:
        publish(bundle(), repository, NOW)
    assert "--keys" in caught.value.remedy


def test_the_timestamp_is_renewed_in_time(repository):
    """Half of its life is kept as reserve, and nothing is signed before."""
    assert not repository.renew(NOW + LIFETIMES["timestamp"] / 4)
    assert repository.renew(NOW + LIFETIMES["timestamp"] * 3 / 4)
    assert version_of(repository, "timestamp") == 2


def test_offline_metadata_that_runs_out_is_named(repository):
    """A person must sign it; the service can only warn."""
    assert repository.expires_soon(NOW, dt.timedelta(days=30)) == []
    late = NOW + LIFETIMES["root"] - dt.timedelta(days=10)
    assert repository.expires_soon(late, dt.timedelta(days=30)) == ["root", "targets"]


def test_publishing_needs_a_registry(tmp_path, bundle):
    """A wrong folder is told with what to do, and nothing is made there."""
    with pytest.raises(ConfigError, match="no registry") as caught:
        publish(bundle(), Repository(DataFolder(tmp_path / "empty")), NOW)
    assert "mien fleet keys init" in caught.value.remedy
    assert not (tmp_path / "empty").exists()
