"""``mien fleet keys`` as operators and holders of keys type it: each machine is a folder, each command a process."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.paths import DataFolder
from fleet.registry.publish import signed_releases
from fleet.registry.repository import Repository
from tests.fakes.paper_bundle import write_bundle
from tests.integration.fleet.conftest import ROOT

SECRET = "several random words of mine"
TRUST = 8

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a ``mien fleet`` command in the test's folder; nothing of a passphrase may come out of it."""

    def call(*arguments: object, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mien", "fleet", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A passphrase file."""
    path = tmp_path / "passphrase"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def make_key(run: Run, secret: Path, role: str, holder: str) -> Path:
    """A holder makes a key on their own machine; its public half."""
    made = answer(run("keys", "make", role, "--keys", holder, "--passphrase-file", secret, "--json"))
    return Path(made["public"])


def bundle_of(tmp_path: Path, version: str, **more: Any) -> Path:
    folder = tmp_path / f"bundle-{version}-{more.get('salt', '')}"
    write_bundle(folder, version, **more)
    return folder


def releases(tmp_path: Path) -> list[str]:
    return [str(ref) for ref, _ in signed_releases(Repository(DataFolder(tmp_path / "data")))]


def travel(run: Run, secret: Path, *holders: str) -> subprocess.CompletedProcess[str]:
    """Export, have holders sign one after another, import."""
    answer(run("keys", "export", "--data", "data", "--out", "to-sign.json", "--json"))
    for holder in holders:
        done = run("keys", "sign", "to-sign.json", "--keys", holder, "--passphrase-file", secret, "--yes", "--json")
        answer(done)
    return run("keys", "import", "to-sign.json", "--data", "data", "--json")


def test_a_newcomer_has_keys_with_one_command(run: Run, tmp_path: Path) -> None:
    """As ever; and it is said that they are not encrypted, and for what that is good."""
    done = run("keys", "init", "--data", "data", "--json")
    assert answer(done)["encrypted"] is False
    assert "demo" in done.stderr
    assert run("publish", bundle_of(tmp_path, "1.0.0"), "--data", "data").returncode == 0
    assert releases(tmp_path) == ["faces@1.0.0"]


def test_a_ceremony_with_keys_on_three_machines(run: Run, secret: Path, tmp_path: Path) -> None:
    """Two of two for root, one for targets: no private key is ever where the registry is, and each step is named."""
    root = [make_key(run, secret, "root", holder) for holder in ("anna", "ben")]
    targets = make_key(run, secret, "targets", "carl")
    public = [f"--root-public={path}" for path in root] + [f"--targets-public={targets}", "--root-threshold=2"]
    done = run("keys", "init", "--data", "data", *public)
    assert (done.returncode, "mien fleet keys export" in done.stderr) == (TRUST, True)

    assert travel(run, secret, "anna").returncode == TRUST
    assert run("serve", "--data", "data").returncode == TRUST
    assert answer(travel(run, secret, "ben", "carl"))["in_force"]

    keys = answer(run("keys", "list", "--data", "data", "--json"))
    offline = [key for key in keys if key["role"] in {"root", "targets"}]
    assert [(key["role"], key["threshold"], key["where"]) for key in offline] == [
        ("root", 2, None),
        ("root", 2, None),
        ("targets", 1, None),
    ]
    assert list((tmp_path / "data" / "keys").rglob("root*")) == []


def test_a_release_waits_for_the_signature_that_it_lacks(run: Run, secret: Path, tmp_path: Path) -> None:
    """Two of two: the command ends with what to do next, and nothing is published before the second signature."""
    ben = make_key(run, secret, "targets", "ben")
    run("keys", "init", "--data", "data", "--targets-keys", 1, "--targets-public", ben, "--targets-threshold", 2)
    answer(travel(run, secret, "ben"))

    bundle = bundle_of(tmp_path, "1.0.0")
    refused = run("publish", bundle, "--data", "data", "--json")
    assert refused.returncode == TRUST
    assert "targets version 2 has 1 of 2 signatures" in refused.stdout + refused.stderr
    assert "mien fleet keys export --data data" in refused.stdout + refused.stderr
    assert releases(tmp_path) == []
    other = run("publish", bundle_of(tmp_path, "1.0.0", salt="other"), "--data", "data")
    assert (other.returncode, "another change" in other.stderr) == (TRUST, True)

    assert answer(travel(run, secret, "ben"))["files_published"] == 5
    assert releases(tmp_path) == ["faces@1.0.0"]
    assert answer(run("publish", bundle, "--data", "data", "--json"))["already_published"]


def test_a_document_that_was_changed_on_the_way_is_not_taken(run: Run, secret: Path, tmp_path: Path) -> None:
    """The registry takes signatures back, not documents."""
    run("keys", "init", "--data", "data", "--root-public", make_key(run, secret, "root", "anna"))
    answer(run("keys", "export", "--data", "data", "--out", "to-sign.json", "--json"))
    content = json.loads((tmp_path / "to-sign.json").read_text())
    content["documents"][0]["metadata"]["signed"]["roles"]["root"]["threshold"] = 1
    content["documents"][0]["metadata"]["signed"]["expires"] = "2099-01-01T00:00:00Z"
    (tmp_path / "to-sign.json").write_text(json.dumps(content))
    run("keys", "sign", "to-sign.json", "--keys", "anna", "--passphrase-file", secret, "--yes")
    done = run("keys", "import", "to-sign.json", "--data", "data")
    assert (done.returncode, "not the one that waits" in done.stderr) == (TRUST, True)


def test_signing_says_what_is_signed_and_asks(run: Run, secret: Path, tmp_path: Path) -> None:
    """A holder sees releases with their hashes; without a yes nothing is signed."""
    run("keys", "init", "--data", "data")
    ben = make_key(run, secret, "targets", "ben")
    run("keys", "rotate", "targets", "--public", ben, "--data", "data")
    answer(travel(run, secret, "ben"))
    bundle = bundle_of(tmp_path, "1.0.0")
    run("publish", bundle, "--data", "data")
    run("keys", "export", "--data", "data", "--out", "to-sign.json")
    before = (tmp_path / "to-sign.json").read_bytes()
    done = run("keys", "sign", "to-sign.json", "--keys", "ben", "--passphrase-file", secret)
    assert done.returncode != 0
    assert "faces/1.0.0/manifest.json sha256" in done.stderr
    assert (tmp_path / "to-sign.json").read_bytes() == before


def test_a_passphrase_comes_from_a_file_or_a_descriptor(run: Run, secret: Path, tmp_path: Path) -> None:
    """Never from the command line; a wrong one, a short one, a readable file and none at all are refused."""
    answer(run("keys", "init", "--data", "data", "--passphrase-file", secret, "--json"))
    for path in (tmp_path / "data" / "keys" / "offline").glob("*.pem"):
        assert b"ENCRYPTED" in path.read_bytes()
    bundle = bundle_of(tmp_path, "1.0.0")
    none = run("publish", bundle, "--data", "data")
    assert (none.returncode, "--passphrase-file" in none.stderr) == (TRUST, True)
    wrong = tmp_path / "wrong"
    wrong.write_text("quite another passphrase")
    wrong.chmod(0o600)
    assert run("publish", bundle, "--data", "data", "--passphrase-file", wrong).returncode == TRUST
    wrong.chmod(0o644)
    readable = run("publish", bundle, "--data", "data", "--passphrase-file", wrong)
    assert (readable.returncode, "chmod 600" in readable.stderr) == (TRUST, True)
    with secret.open("rb") as stream:
        env = {"MIEN_KEYS_PASSPHRASE_FD": str(stream.fileno())}
        done = run("publish", bundle, "--data", "data", env=env, pass_fds=[stream.fileno()])
    assert done.returncode == 0, done.stderr


def test_status_warns_before_something_runs_out(run: Run) -> None:
    """Exit code 0 while there is time, 8 when there is not; the JSON names role and state."""
    run("keys", "init", "--data", "data")
    assert run("keys", "status", "--data", "data").returncode == 0
    done = run("keys", "status", "--within", "400d", "--data", "data", "--json")
    assert done.returncode == TRUST
    states = {role["role"]: role["state"] for role in json.loads(done.stdout)["roles"]}
    assert states == {"root": "soon", "targets": "soon", "snapshot": "ok", "timestamp": "ok", "engines": "ok"}
    assert answer(run("keys", "renew", "--for", "500d", "--data", "data", "--json"))["renewed"] == ["root", "targets"]
    assert run("keys", "status", "--within", "400d", "--data", "data").returncode == 0


def test_a_rotation_replaces_keys_and_deletes_the_old_online_ones(run: Run, tmp_path: Path) -> None:
    """After a theft of the server's keys: one command, one change; the file of the old key is gone."""
    run("keys", "init", "--data", "data")
    online = tmp_path / "data" / "keys" / "online"
    before = {path.name for path in online.glob("*.pem")}
    done = answer(run("keys", "rotate", "snapshot", "timestamp", "engines", "--data", "data", "--json"))
    assert sorted(done) == ["engines", "snapshot", "timestamp"]
    after = {path.name for path in online.glob("*.pem")}
    assert (len(after), before & after) == (3, set())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rotate", "targets", "--threshold", "2"], "a threshold of 2 does not fit 1"),
        (["rotate", "mirrors"], "there is no role mirrors"),
        (["rotate", "snapshot", "--public", "x.pub"], "x.pub is no public key"),
        (["rotate", "snapshot", "timestamp", "--make", "2"], "are about one role"),
        (["rotate", "root", "--keep", "nothing"], "does not mean one root key"),
        (["renew", "snapshot"], "is not renewed by hand"),
        (["export", "--out", "x.json"], "nothing waits for signatures"),
        (["init"], "has keys already"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    """With the reason, and the registry as it was."""
    repository = Repository(DataFolder(tmp_path / "data"))
    repository.create(dt.datetime.now(dt.timezone.utc))
    before = {path: path.read_bytes() for path in repository.shelf.folder.iterdir()}
    done = run("keys", *arguments, "--data", "data")
    assert done.returncode in {3, TRUST}
    assert said in " ".join(done.stderr.split())
    assert {path: path.read_bytes() for path in repository.shelf.folder.iterdir()} == before
