"""The TUF repository on the disk (specification 1.0, consistent snapshots).

Decides the order in which metadata appears: files first, then targets, snapshot, and timestamp last, each written
atomically; so a client that reads in the middle of a publication sees the old release or the new one, whole. A lock
keeps the command line and the service from writing at the same time. What may be published is decided in
:mod:`fleet.registry.publish`.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from fleet.paths import DataFolder
from fleet.registry.keys import OFFLINE, ONLINE, KeyFolder
from mien.errors import ConfigError, TrustError, UnavailableError
from mien.files import write_bytes

LIFETIMES = {
    Root.type: dt.timedelta(days=365),
    Targets.type: dt.timedelta(days=365),
    Snapshot.type: dt.timedelta(days=7),
    Timestamp.type: dt.timedelta(days=1),
}
"""How long signed metadata is valid. A device that sees nothing newer for so long knows that it is being held back."""

_LOCK_WAIT_S = 30.0
_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)
_Role = Root | Targets | Snapshot | Timestamp


class Repository:
    """A fleet's TUF repository.

    Args:
        data: the service's data folder.
        offline: where the root and targets keys are, if not in the data folder.
    """

    def __init__(self, data: DataFolder, *, offline: Path | None = None) -> None:
        self._data = data
        self._metadata = data.tuf_metadata
        self._offline = KeyFolder(offline or data.offline_keys)
        self._online = KeyFolder(data.online_keys)

    @property
    def targets_folder(self) -> Path:
        """Where signed files lie."""
        return self._data.tuf_targets

    def exists(self) -> bool:
        """Whether the repository has been set up."""
        return (self._metadata / "timestamp.json").is_file()

    def create(self, now: dt.datetime) -> None:
        """Make keys and empty signed metadata. Keys which a killed attempt left behind are used.

        Raises:
            ConfigError: there is a repository already.
        """
        if self.exists():
            raise ConfigError(
                "this fleet has keys already",
                found=str(self._metadata),
                remedy="nothing to do; keys are never replaced",
            )
        signers = {role: self._offline.made(role) for role in OFFLINE}
        signers |= {role: self._online.made(role) for role in ONLINE}
        root = Root(expires=now + LIFETIMES[Root.type], consistent_snapshot=True)
        for role, signer in signers.items():
            root.add_key(signer.public_key, role)
        self.targets_folder.mkdir(parents=True, exist_ok=True)
        self._write(root, signers[Root.type])
        self._release(Targets(expires=now), Snapshot(expires=now), Timestamp(expires=now), now)

    def first_root(self) -> bytes:
        """The root metadata that a new device starts to trust from."""
        return (self._metadata / "1.root.json").read_bytes()

    def targets(self) -> dict[str, TargetFile]:
        """All signed files, by path."""
        return dict(self._read(Targets).targets)

    def custom(self, path: str) -> Mapping[str, str]:
        """What is signed about a file besides its length and hash."""
        found = self._read(Targets).targets[path].unrecognized_fields.get("custom")
        return found if isinstance(found, dict) else {}

    def add(self, files: Mapping[str, Path], custom: Mapping[str, Mapping[str, str]], now: dt.datetime) -> None:
        """Sign files and publish them. The caller holds the lock.

        Args:
            files: target path to the file's place now.
            custom: what to sign about a file besides, by target path.
            now: the moment, for expiries.
        """
        from fleet.registry.content import copy_target

        targets = self._read(Targets)
        for path, source in files.items():
            target = TargetFile.from_file(path, str(source), ["sha256"])
            if path in custom:
                target.unrecognized_fields["custom"] = dict(custom[path])
            copy_target(source, self.targets_folder, target)
            targets.targets[path] = target
        targets.version += 1
        self._release(targets, self._read(Snapshot), self._read(Timestamp), now)

    def renew(self, now: dt.datetime) -> bool:
        """Sign the timestamp, and the snapshot with it if need be, anew when half of their time is gone.

        Returns:
            Whether anything was signed.
        """
        snapshot, timestamp = self._read(Snapshot), self._read(Timestamp)
        old_snapshot = snapshot.expires - now < LIFETIMES[Snapshot.type] / 2
        if not old_snapshot and timestamp.expires - now >= LIFETIMES[Timestamp.type] / 2:
            return False
        if old_snapshot:
            snapshot.version += 1
            self._sign_snapshot(snapshot, now)
        self._sign_timestamp(timestamp, snapshot, now)
        return True

    def expires_soon(self, now: dt.datetime, within: dt.timedelta) -> list[str]:
        """Offline roles whose metadata runs out; a person must sign them."""
        ends = {Root.type: self._read(Root).expires, Targets.type: self._read(Targets).expires}
        return [role for role, end in ends.items() if end - now < within]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository alone.

        Raises:
            UnavailableError: another process held it for half a minute.
        """
        path = self._data.registry_lock
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            _lock(stream.fileno(), path)
            yield

    def _release(self, targets: Targets, snapshot: Snapshot, timestamp: Timestamp, now: dt.datetime) -> None:
        targets.expires = now + LIFETIMES[Targets.type]
        self._write(targets, self._offline.signer(Targets.type))
        snapshot.meta["targets.json"] = MetaFile(targets.version)
        if self.exists():
            snapshot.version += 1
        self._sign_snapshot(snapshot, now)
        self._sign_timestamp(timestamp, snapshot, now)

    def _sign_snapshot(self, snapshot: Snapshot, now: dt.datetime) -> None:
        snapshot.expires = now + LIFETIMES[Snapshot.type]
        self._write(snapshot, self._online.signer(Snapshot.type))

    def _sign_timestamp(self, timestamp: Timestamp, snapshot: Snapshot, now: dt.datetime) -> None:
        timestamp.snapshot_meta = MetaFile(snapshot.version)
        timestamp.expires = now + LIFETIMES[Timestamp.type]
        if self.exists():
            timestamp.version += 1
        self._write(timestamp, self._online.signer(Timestamp.type))

    def _write(self, role: _Role, signer: CryptoSigner) -> None:
        document = Metadata[Any](role)
        document.sign(signer)
        name = "timestamp.json" if role.type == Timestamp.type else f"{role.version}.{role.type}.json"
        write_bytes(self._metadata / name, document.to_bytes(JSONSerializer(compact=False)))

    def _read(self, kind: type[_T]) -> _T:
        try:
            path = self._newest(kind.type)
            document = Metadata[Any].from_file(str(path))
        except (OSError, DeserializationError, ValueError) as error:
            raise TrustError(
                f"the registry's {kind.type} metadata cannot be read",
                found=str(error),
                wanted=str(self._metadata),
                remedy="run 'mien fleet keys init' for a new fleet, or restore the data folder from a backup",
            ) from error
        if not isinstance(document.signed, kind):
            raise TrustError(f"{path} holds another role's metadata", found=document.signed.type, wanted=kind.type)
        return document.signed

    def _newest(self, role: str) -> Path:
        """The present metadata of a role: what the timestamp leads to, not what a killed publication left behind."""
        if role == Timestamp.type:
            return self._metadata / "timestamp.json"
        if role == Root.type:
            return max(self._metadata.glob("*.root.json"), key=lambda path: int(path.name.partition(".")[0]))
        if role == Snapshot.type:
            version = self._read(Timestamp).snapshot_meta.version
        else:
            version = self._read(Snapshot).meta["targets.json"].version
        return self._metadata / f"{version}.{role}.json"


def _lock(descriptor: int, path: Path) -> None:
    end = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise UnavailableError(
                    "the registry is being written by another process", found=str(path), remedy="try again"
                ) from error
            time.sleep(0.1)
        else:
            return
