"""Keys as files, changes that wait for signatures, and what is said of them; without any process or network."""

import datetime as dt
import os

import pytest

from fleet.paths import DataFolder
from fleet.registry.ceremony import read_request, sign_request, summary, take_signatures, write_request
from fleet.registry.changes import renew, replacement, rotate
from fleet.registry.keys import KeyFolder, read_public
from fleet.registry.passphrases import DESCRIPTOR, GivenPassphrase
from fleet.registry.publish import publish
from fleet.registry.repository import Repository
from fleet.registry.roles import LIFETIMES, role_keys
from fleet.registry.standing import keys_of_registry, roles_of_registry, state_of
from mien.errors import BundleError, ConfigError, TrustError
from tests.fakes.paper_bundle import write_bundle

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc)
MONTH = dt.timedelta(days=30)
SECRET = b"several random words of mine"


class Given:
    """A passphrase that is there."""

    def __init__(self, secret=SECRET):
        self.secret = secret

    def to_open(self, name):
        return self.secret

    def for_a_new_key(self):
        return self.secret


@pytest.fixture
def repository(tmp_path):
    made = Repository(DataFolder(tmp_path / "data"))
    made.create(NOW)
    return made


@pytest.fixture
def elsewhere(tmp_path, repository):
    """The folder of a holder of a second root key; two of two must sign from now on."""
    folder = KeyFolder(tmp_path / "holder", Given())
    public = folder.make("root")
    present = repository.shelf.root().roles["root"].keyids
    keys = replacement(repository, "root", keep=present, public=[public], make=0, threshold=2)
    with pytest.raises(TrustError):
        rotate(repository, {"root": keys}, NOW)
    bring_signatures(repository, folder, tmp_path)
    return folder


def bring_signatures(repository, folder, tmp_path):
    path = tmp_path / "to-sign.json"
    write_request(repository.pending(), repository.shelf.root(), path)
    sign_request(read_request(path), folder, path)
    change = repository.pending()
    added = take_signatures(change, repository.shelf.root(), read_request(path))
    repository.apply(change, NOW)
    return added


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path):
    """And its file is private, and does not hold the key in the clear."""
    key = KeyFolder(tmp_path, Given()).make("root")
    (path,) = tmp_path.glob("*.pem")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    (signer,) = KeyFolder(tmp_path, Given()).signers("root", [key.keyid])
    assert signer.public_key == key == read_public(path.with_suffix(".pub"))
    for folder in (KeyFolder(tmp_path), KeyFolder(tmp_path, Given(b"quite another one"))):
        with pytest.raises(TrustError) as caught:
            folder.signers("root", [key.keyid])
        assert "quite another one" not in str(caught.value)


def test_a_passphrase_is_the_first_line_of_its_file(tmp_path):
    """Whatever follows is no part of it."""
    path = tmp_path / "passphrase"
    path.write_bytes(SECRET + b"\r\nand a note\n")
    path.chmod(0o600)
    assert GivenPassphrase(path, encrypt=False, environment={}).to_open("x") == SECRET


def test_a_passphrase_comes_through_a_descriptor():
    """Its number stands in the environment; a number of nothing is a configuration's fault."""
    reading, writing = os.pipe()
    os.write(writing, SECRET + b"\n")
    os.close(writing)
    given = GivenPassphrase(None, encrypt=False, environment={DESCRIPTOR: str(reading)})
    assert given.for_a_new_key() == given.to_open("x") == SECRET
    os.close(reading)
    with pytest.raises(ConfigError):
        GivenPassphrase(None, encrypt=False, environment={DESCRIPTOR: "many"}).to_open("x")


def test_a_short_passphrase_makes_no_key(tmp_path):
    """A key for years is not locked with a word."""
    path = tmp_path / "passphrase"
    path.write_text("secret")
    path.chmod(0o600)
    with pytest.raises(TrustError, match="too short"):
        KeyFolder(tmp_path / "keys", GivenPassphrase(path, encrypt=True, environment={})).make("root")
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(("threshold", "count"), [(0, 1), (2, 1), (1, 0)])
def test_a_threshold_must_fit_its_keys(tmp_path, threshold, count):
    """Nobody, more than there are, and one of none."""
    keys = [KeyFolder(tmp_path).make("root") for _ in range(count)]
    with pytest.raises(ConfigError):
        role_keys("root", keys, threshold)


def test_the_same_key_twice_is_one_key(tmp_path):
    """A threshold of two is not met by one holder."""
    key = KeyFolder(tmp_path).make("root")
    with pytest.raises(ConfigError):
        role_keys("root", [key, key], 2)


def test_a_change_waits_until_every_threshold_is_met(repository, elsewhere, tmp_path):
    """A root needs the threshold of the root before it and its own; what is in force stays in force meanwhile."""
    before = repository.shelf.root().version
    with pytest.raises(TrustError, match="1 of 2 signatures"):
        renew(repository, ["root"], NOW, MONTH)
    assert repository.shelf.root().version == before
    assert bring_signatures(repository, elsewhere, tmp_path) == 1
    assert (repository.shelf.root().version, repository.pending()) == (before + 1, None)


def test_a_root_that_lost_a_key_still_needs_the_old_threshold(repository, elsewhere, tmp_path):
    """One holder alone cannot throw the other out."""
    mine = next(key for key in keys_of_registry(repository) if key.role == "root" and key.place is not None)
    alone = replacement(repository, "root", keep=[mine.keyid], make=0, threshold=1)
    with pytest.raises(TrustError, match="1 of 2 signatures"):
        rotate(repository, {"root": alone}, NOW)


def test_one_change_at_a_time(repository, elsewhere):
    """The second is refused, the first can be given up."""
    with pytest.raises(TrustError):
        renew(repository, ["root"], NOW, MONTH)
    with pytest.raises(TrustError, match="another change"):
        renew(repository, ["targets"], NOW, MONTH)
    assert repository.discard()
    assert not repository.discard()
    renew(repository, ["targets"], NOW, MONTH)
    assert repository.shelf.targets().expires == NOW + MONTH


def test_a_strange_or_broken_signature_is_refused(repository, elsewhere, tmp_path):
    """By a key that nobody asked, and by the right key over something else."""
    with pytest.raises(TrustError):
        renew(repository, ["root"], NOW, MONTH)
    change, root, path = repository.pending(), repository.shelf.root(), tmp_path / "to-sign.json"
    (item,) = write_request(change, root, path)
    (strange,) = KeyFolder(tmp_path / "strange").signers("root", [KeyFolder(tmp_path / "strange").make("root").keyid])
    (returned,) = read_request(path)
    returned.document.sign(strange, append=True)
    with pytest.raises(TrustError, match="may not sign"):
        take_signatures(change, root, [returned])
    (returned,) = read_request(path)
    (right,) = elsewhere.signers("root", item.wanted)
    returned.document.sign(right, append=True)
    broken = returned.document.signatures[right.public_key.keyid]
    broken.signature = ("0" if broken.signature[0] != "0" else "1") + broken.signature[1:]
    with pytest.raises(TrustError, match="is wrong"):
        take_signatures(change, root, [returned])
    assert len(change.root.signatures) == 1


def test_a_holder_without_a_key_that_is_asked_for_signs_nothing(repository, elsewhere, tmp_path):
    """And is told which keys are."""
    with pytest.raises(TrustError):
        renew(repository, ["root"], NOW, MONTH)
    path = tmp_path / "to-sign.json"
    write_request(repository.pending(), repository.shelf.root(), path)
    with pytest.raises(TrustError, match="none of the keys"):
        sign_request(read_request(path), KeyFolder(tmp_path / "nobody"), path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "other"}', '{"format": "mien-to-sign-1", "documents": [{}]}']
)
def test_a_file_with_nothing_to_sign_is_one_sentence(tmp_path, content):
    """Whatever it holds."""
    path = tmp_path / "to-sign.json"
    path.write_text(content)
    with pytest.raises(TrustError, match="nothing to sign"):
        read_request(path)


def test_a_holder_sees_releases_with_their_hashes(repository, tmp_path):
    """As long as a holder compares them, nobody gets a signature for something else."""
    bundle = tmp_path / "bundle"
    write_bundle(bundle)
    done = publish(bundle, repository, NOW)
    path, public = tmp_path / "to-sign.json", KeyFolder(tmp_path / "holder").make("targets")
    with pytest.raises(TrustError):
        rotate(repository, {"targets": replacement(repository, "targets", public=[public])}, NOW)
    root_item, targets_item = write_request(repository.pending(), repository.shelf.root(), path)
    assert f"  faces/1.0.0/manifest.json sha256 {done.manifest_sha256}" in summary(targets_item)
    assert any(line.startswith("  targets: 1 of ") for line in summary(root_item))


def test_where_keys_are_and_when_what_runs_out(repository, elsewhere):
    """A key that is not here has no place; online roles are the service's."""
    keys = [key for key in keys_of_registry(repository) if key.role == "root"]
    assert [(key.threshold, key.keys, key.place is None) for key in keys] == [(2, 2, False), (2, 2, True)]
    roles = {role.role: role for role in roles_of_registry(repository, NOW, MONTH)}
    assert roles["root"].who == "mien fleet keys renew root"
    assert roles["snapshot"].who == "the service, by itself"
    assert {role.state for role in roles.values()} == {"ok"}


@pytest.mark.parametrize(
    ("role", "left", "state"),
    [
        ("root", dt.timedelta(days=31), "ok"),
        ("root", dt.timedelta(days=29), "soon"),
        ("root", dt.timedelta(0), "expired"),
        ("timestamp", dt.timedelta(hours=7), "ok"),
        ("timestamp", dt.timedelta(hours=5), "soon"),
        ("snapshot", -dt.timedelta(days=1), "expired"),
    ],
)
def test_soon_is_a_month_for_people_and_a_quarter_of_its_life_for_the_service(role, left, state):
    """An online role in its last quarter was not renewed when it should have been."""
    assert state_of(role, NOW + left, NOW, MONTH) == state


def test_engines_are_renewed_by_the_service(repository):
    """With the snapshot and the timestamp, in one go, when half of their month is gone."""
    late = NOW + LIFETIMES["engines"] * 2 / 3
    assert repository.renew(late)
    assert repository.shelf.engines().signed.expires == late + LIFETIMES["engines"]
    assert repository.shelf.snapshot().meta["engines.json"].version == 2
    assert not repository.renew(late)


def test_no_release_is_called_engines(repository, tmp_path):
    """Its paths would be those of engines."""
    write_bundle(tmp_path / "bundle", name="engines")
    with pytest.raises(BundleError, match="may not be called engines"):
        publish(tmp_path / "bundle", repository, NOW)


def test_an_online_key_that_is_lost_stops_signing_with_a_reason(repository):
    """The error names the folder; nothing is written."""
    before = repository.shelf.timestamp().version
    for path in repository.online.path.glob("timestamp*.pem"):
        path.unlink()
    with pytest.raises(TrustError, match="timestamp key"):
        repository.renew(NOW + LIFETIMES["timestamp"])
    assert repository.shelf.timestamp().version == before
