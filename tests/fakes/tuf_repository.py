"""A small TUF repository on disk, with keys in memory: real signatures, consistent snapshots, hash-prefixed targets."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp


class TufRepository:
    """A repository that is served as files: ``metadata/`` and ``targets/`` below its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        self._signers = {role: CryptoSigner.generate_ed25519() for role in ("root", "targets", "snapshot", "timestamp")}
        expires = self._in(days=30)
        self.root = Metadata(Root(expires=expires, consistent_snapshot=True))
        for role, signer in self._signers.items():
            self.root.signed.add_key(signer.public_key, role)
        self.targets = Metadata(Targets(expires=expires))
        self.snapshot = Metadata(Snapshot(expires=expires))
        self.timestamp = Metadata(Timestamp(expires=expires))
        self.root.sign(self._signers["root"])
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
        """Sign new versions of targets, snapshot and timestamp."""
        for role in (self.targets, self.snapshot, self.timestamp):
            role.signed.version += 1
        self.write()

    def expire(self) -> None:
        """Publish a timestamp that has expired."""
        self.timestamp.signed.expires = self._in(days=-1)
        self.publish()

    def write(self) -> None:
        """Sign and write what stands."""
        self.snapshot.signed.meta["targets.json"] = MetaFile(version=self.targets.signed.version)
        self.timestamp.signed.snapshot_meta = MetaFile(version=self.snapshot.signed.version)
        folder = self.folder / "metadata"
        for role, metadata, name in (
            ("targets", self.targets, f"{self.targets.signed.version}.targets.json"),
            ("snapshot", self.snapshot, f"{self.snapshot.signed.version}.snapshot.json"),
            ("timestamp", self.timestamp, "timestamp.json"),
        ):
            metadata.sign(self._signers[role])
            metadata.to_file(str(folder / name))

    @staticmethod
    def _in(*, days: int) -> dt.datetime:
        return dt.datetime.now(dt.timezone.utc).replace(microsecond=0) + dt.timedelta(days=days)
