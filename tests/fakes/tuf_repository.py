"""A small TUF repository on disk, with keys in memory: real signatures, consistent snapshots, hash-prefixed targets.

Its keys lie open, so that a test can play somebody who stole some of them.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

TOP = ("root", "targets", "snapshot", "timestamp")


class TufRepository:
    """A repository that is served as files: ``metadata/`` and ``targets/`` below its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        self.signers = {role: CryptoSigner.generate_ed25519() for role in (*TOP, "engines")}
        expires = self._in(days=30)
        self.root = Metadata(Root(expires=expires, consistent_snapshot=True))
        for role in TOP:
            self.root.signed.add_key(self.signers[role].public_key, role)
        self.targets = Metadata(Targets(expires=expires, delegations=self._delegations()))
        self.engines = Metadata(Targets(expires=expires))
        self.snapshot = Metadata(Snapshot(expires=expires))
        self.timestamp = Metadata(Timestamp(expires=expires))
        self.root.sign(self.signers["root"])
        self.root.to_file(str(folder / "metadata" / "1.root.json"))
        self.write()

    @property
    def root_bytes(self) -> bytes:
        """The trust anchor which a device gets at enrolment."""
        return (self.folder / "metadata" / "1.root.json").read_bytes()

    def add_bundle(self, bundle: Path, name: str, version: str) -> str:
        """Sign all files of a bundle as targets; the manifest's SHA-256."""
        for path in sorted(bundle.rglob("*")):
            if path.is_file():
                self.add_file(path, f"{name}/{version}/{path.relative_to(bundle).as_posix()}")
        self.publish()
        return self.targets.signed.targets[f"{name}/{version}/manifest.json"].hashes["sha256"]

    def add_file(self, path: Path, target: str) -> None:
        """Copy a file among the targets and describe it; publish afterwards."""
        described = TargetFile.from_file(target, str(path), ["sha256"])
        self.targets.signed.targets[target] = described
        stored = self.stored(target)
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(path.read_bytes())

    def stored(self, target: str) -> Path:
        """Where a target's bytes lie."""
        folder, _, base = target.rpartition("/")
        return self.folder / "targets" / folder / f"{self.targets.signed.targets[target].hashes['sha256']}.{base}"

    def publish(self) -> None:
        """Sign new versions of targets, engines, snapshot and timestamp."""
        for role in (self.targets, self.engines, self.snapshot, self.timestamp):
            role.signed.version += 1
        self.write()

    def expire(self) -> None:
        """Publish a timestamp that has expired."""
        self.timestamp.signed.expires = self._in(days=-1)
        self.publish()

    def next_root(self, *rotated: str, days: int = 30) -> None:
        """Sign a root with new keys for some roles, then everything else with them.

        Args:
            rotated: roles that get a new key.
            days: how long it is valid; a negative number makes one that has expired.
        """
        before = self.signers["root"]
        root = self.root.signed
        root.version += 1
        root.expires = self._in(days=days)
        for role in rotated:
            root.revoke_key(self.signers[role].public_key.keyid, role)
            self.signers[role] = CryptoSigner.generate_ed25519()
            root.add_key(self.signers[role].public_key, role)
        self.root.sign(before)
        self.root.sign(self.signers["root"], append=True)
        self.root.to_file(str(self.folder / "metadata" / f"{root.version}.root.json"))
        self.publish()

    def write(self) -> None:
        """Sign and write what stands."""
        self.snapshot.signed.meta["targets.json"] = MetaFile(version=self.targets.signed.version)
        self.snapshot.signed.meta["engines.json"] = MetaFile(version=self.engines.signed.version)
        self.timestamp.signed.snapshot_meta = MetaFile(version=self.snapshot.signed.version)
        for role, metadata in (
            ("targets", self.targets),
            ("engines", self.engines),
            ("snapshot", self.snapshot),
            ("timestamp", self.timestamp),
        ):
            self.put(role, metadata, self.signers[role])

    def put(self, role: str, metadata: Metadata[Any], signer: CryptoSigner) -> Path:
        """Sign a document with some key and serve it under its name."""
        metadata.sign(signer)
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        path = self.folder / "metadata" / name
        metadata.to_file(str(path))
        return path

    def _delegations(self) -> Delegations:
        key = self.signers["engines"].public_key
        role = DelegatedRole("engines", [key.keyid], 1, terminating=True, paths=["engines/*/*/*/*"])
        return Delegations({key.keyid: key}, {"engines": role})

    @staticmethod
    def _in(*, days: int) -> dt.datetime:
        return dt.datetime.now(dt.timezone.utc).replace(microsecond=0) + dt.timedelta(days=days)
