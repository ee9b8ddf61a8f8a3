"""The TUF repository on the disk (specification 1.0, consistent snapshots).

Decides the order in which metadata appears: files first, then targets, engines, snapshot, and timestamp last, each
written atomically; so a client that reads in the middle of a publication sees the old release or the new one, whole. A
new root comes after the timestamp, which the old online keys then sign as well as the new ones; so clients accept it
before and after. A lock keeps the command line and the service from writing at the same time. What may be published is
decided in :mod:`fleet.registry.publish`, who may sign in :mod:`fleet.registry.roles`.
"""

from __future__ import annotations

import copy
import datetime as dt
import fcntl
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from fleet.paths import DataFolder
from fleet.registry.content import copy_target
from fleet.registry.keys import ENGINES, OFFLINE, ONLINE, KeyFolder
from fleet.registry.passphrases import NO_PASSPHRASE, Passphrase
from fleet.registry.pending import Change, PendingFolder, another_waits, still_waiting
from fleet.registry.roles import LIFETIMES, RoleKeys, engines_role, first_root, first_targets, next_targets, role_keys
from fleet.registry.shelf import Document, Shelf
from mien.errors import BundleError, ConfigError, TrustError, UnavailableError

__all__ = ["LIFETIMES", "Repository"]

_LOCK_WAIT_S = 30.0


class Repository:
    """A fleet's TUF repository.

    Args:
        data: the service's data folder.
        offline: where root and targets keys are, if not in the data folder.
        passphrase: opens them.
    """

    def __init__(
        self, data: DataFolder, *, offline: Path | None = None, passphrase: Passphrase = NO_PASSPHRASE
    ) -> None:
        self._data = data
        self.shelf = Shelf(data.tuf_metadata)
        self.offline = KeyFolder(offline or data.offline_keys, passphrase)
        self.online = KeyFolder(data.online_keys)
        self._pending = PendingFolder(data.tuf_pending)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._data.root

    @property
    def targets_folder(self) -> Path:
        """Where signed files lie."""
        return self._data.tuf_targets

    def exists(self) -> bool:
        """Whether the repository has been set up."""
        return self.shelf.exists()

    def create(self, now: dt.datetime, offline: Mapping[str, RoleKeys] | None = None) -> None:
        """Make keys and empty signed metadata. Keys which a killed attempt left behind are used.

        Args:
            now: the moment, for expiries.
            offline: keys of root and targets; by default one each, made here.

        Raises:
            ConfigError: there is a repository already.
            TrustError: root or targets want signatures of keys that are not here.
        """
        if self.exists():
            raise ConfigError(
                "this fleet has keys already",
                found=str(self.shelf.folder),
                remedy="nothing to do; to replace a key: mien fleet keys rotate ROLE",
            )
        self.targets_folder.mkdir(parents=True, exist_ok=True)
        waiting = self.pending()
        if waiting is not None:
            self.apply(waiting, now)
            return
        keys = dict(offline or {role: role_keys(role, self.offline.made(role), 1) for role in OFFLINE})
        keys |= {role: role_keys(role, self.online.made(role), 1) for role in ONLINE}
        root, targets = first_root(keys, now), first_targets(keys[ENGINES], now)
        self.apply(Change(root=Metadata(root), targets=Metadata(targets)), now)

    def first_root(self) -> bytes:
        """The root metadata that a new device starts to trust from."""
        return self.shelf.first_root()

    def targets(self) -> dict[str, TargetFile]:
        """All signed files of releases, by path."""
        return dict(self.shelf.targets().targets)

    def engines(self) -> dict[str, TargetFile]:
        """All signed engines that canaries built, by path."""
        document = self.shelf.engines()
        return dict(document.signed.targets) if document is not None else {}

    def custom(self, path: str) -> Mapping[str, str]:
        """What is signed about a file besides its length and hash."""
        found = self.shelf.targets().targets[path].unrecognized_fields.get("custom")
        return found if isinstance(found, dict) else {}

    def add(self, files: Mapping[str, Path], custom: Mapping[str, Mapping[str, str]], now: dt.datetime) -> None:
        """Sign files and publish them. The caller holds the lock.

        Args:
            files: target path to the file's place now.
            custom: what to sign about a file besides, by target path.
            now: the moment, for expiries.

        Raises:
            TrustError: the threshold of targets is not met with the keys here; the files wait for signatures.
        """
        targets = next_targets(self.shelf.targets(), now + LIFETIMES[Targets.type])
        for path, source in files.items():
            target = self._described(path, source)
            if path in custom:
                target.unrecognized_fields["custom"] = dict(custom[path])
            targets.targets[path] = target
        waiting = self.pending()
        if waiting is not None and waiting.means(targets):
            self.apply(waiting, now)
            return
        self.propose(Change(targets=Metadata(targets)), now)

    def engine_record(self, path: str) -> Mapping[str, Any]:
        """What is signed about an engine besides its length and hash; nothing where none is signed."""
        target = self.engines().get(path)
        found = target.unrecognized_fields.get("custom") if target is not None else None
        return found if isinstance(found, dict) else {}

    def add_engines(
        self, files: Mapping[str, Path], now: dt.datetime, custom: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Sign engines that a canary built, with the online key of their own role. The caller holds the lock.

        Args:
            files: target path to the file's place now.
            now: the moment, for expiries.
            custom: what to sign about a file besides, by target path.

        Raises:
            BundleError: a path is not one that this role is trusted for, or is signed with other content.
            TrustError: this registry has no such role, or its key is not here.
        """
        document, role = self.shelf.engines(), engines_role(self.shelf.targets())
        if document is None or role is None:
            raise TrustError("this registry has no key for engines", remedy="make one: mien fleet keys rotate engines")
        engines: Targets = copy.deepcopy(document.signed)
        for path, source in files.items():
            if not role.is_delegated_path(path):
                raise BundleError(f"{path} is no path of an engine", wanted=" or ".join(role.paths or []))
            target = self._described(path, source)
            if path in engines.targets and engines.targets[path].hashes != target.hashes:
                raise BundleError(f"{path} is signed with other content", remedy="an engine is signed once")
            if custom is not None and path in custom:
                target.unrecognized_fields["custom"] = dict(custom[path])
            engines.targets[path] = target
        self._write_online(now, engines=engines)

    def remove_engines(self, paths: Collection[str], now: dt.datetime) -> int:
        """Sign the list of engines without some. The caller holds the lock.

        Returns:
            How many are no longer signed.
        """
        document = self.shelf.engines()
        gone = [path for path in paths if document is not None and path in document.signed.targets]
        if document is not None and gone:
            engines: Targets = copy.deepcopy(document.signed)
            for path in gone:
                del engines.targets[path]
            self._write_online(now, engines=engines)
        return len(gone)

    def drop_engines(self, now: dt.datetime) -> int:
        """Sign an empty list of engines: whoever had the key may have put some there. The caller holds the lock.

        Returns:
            How many are no longer signed; canaries build them anew.
        """
        dropped = len(self.engines())
        if dropped:
            self._write_online(now, engines=Targets(expires=now))
        return dropped

    def renew(self, now: dt.datetime) -> bool:
        """Sign online metadata anew when half of its time is gone, and finish a change that was interrupted.

        Returns:
            Whether anything was signed.
        """
        waiting = self.pending()
        if waiting is not None and not waiting.lacks(self.shelf.root()):
            self._commit(waiting, now)
            return True
        engines = self.shelf.engines()
        stale = engines is not None and _half_gone(engines.signed.expires, ENGINES, now)
        if stale or _half_gone(self.shelf.snapshot().expires, Snapshot.type, now):
            self._write_online(now, engines=copy.deepcopy(engines.signed) if engines is not None and stale else None)
            return True
        if _half_gone(self.shelf.timestamp().expires, Timestamp.type, now):
            self._write_timestamp(self.shelf.snapshot(), now, [self.shelf.root()])
            return True
        return False

    def expires_soon(self, now: dt.datetime, within: dt.timedelta) -> list[str]:
        """Offline roles whose metadata runs out; a person must sign them."""
        ends = {Root.type: self.shelf.root().expires, Targets.type: self.shelf.targets().expires}
        return [role for role, end in ends.items() if end - now < within]

    def pending(self) -> Change | None:
        """The change that waits for signatures."""
        if not self.exists():
            return self._pending.read(0, 0)
        return self._pending.read(self.shelf.root().version, self.shelf.targets().version)

    def propose(self, change: Change, now: dt.datetime) -> None:
        """Begin a change. The caller holds the lock.

        Raises:
            TrustError: another waits, or this one wants signatures of keys that are not here.
        """
        waiting = self.pending()
        if waiting is not None:
            raise another_waits(waiting, self.data)
        self._pending.clear()
        self.apply(change, now)

    def apply(self, change: Change, now: dt.datetime) -> None:
        """Sign a change with the offline keys that are here, and bring it into force if that is enough.

        Raises:
            TrustError: it is not; the change waits.
        """
        before = self.shelf.root() if self.exists() else None
        for role, document in change.documents():
            wanted = set(change.trusted_keys(role, before)) - set(document.signatures)
            for signer in self.offline.signers(role, wanted):
                document.sign(signer, append=True)
        self._pending.store(change)
        lacks = change.lacks(before)
        if lacks:
            raise still_waiting(lacks, self.data)
        self._commit(change, now)

    def discard(self) -> bool:
        """Give up the change that waits; whether there was one."""
        was = self.pending() is not None
        self._pending.clear()
        return was

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

    def _described(self, path: str, source: Path) -> TargetFile:
        target = TargetFile.from_file(path, str(source), ["sha256"])
        copy_target(source, self.targets_folder, target)
        return target

    def _commit(self, change: Change, now: dt.datetime) -> None:
        first = not self.exists()
        before = None if first else self.shelf.root()
        root = change.root.signed if change.root is not None else before
        if first and change.root is not None:
            self.shelf.write(Root.type, change.root)
        if change.targets is not None:
            self.shelf.write(Targets.type, change.targets)
        self._write_online(now, targets=change.targets.signed if change.targets is not None else None, root=root)
        if not first and change.root is not None:
            self.shelf.write(Root.type, change.root)
        self._pending.clear()
        self._forget_retired()

    def _forget_retired(self) -> None:
        root, engines = self.shelf.root(), engines_role(self.shelf.targets())
        for role in (Snapshot.type, Timestamp.type):
            self.online.forget_all_but(role, root.roles[role].keyids)
        if engines is not None:
            self.online.forget_all_but(ENGINES, engines.keyids)

    def _write_online(
        self,
        now: dt.datetime,
        *,
        targets: Targets | None = None,
        engines: Targets | None = None,
        root: Root | None = None,
    ) -> None:
        """Write the next engines if they are given or no longer count, then the snapshot and the timestamp."""
        first = not self.exists()
        roots = [one for one in (None if first else self.shelf.root(), root) if one is not None]
        snapshot = Snapshot(expires=now) if first else self.shelf.snapshot()
        signers = self._online_signers(Snapshot.type, roots)
        if targets is not None:
            snapshot.meta["targets.json"] = MetaFile(targets.version)
        document = self._next_engines(targets or self.shelf.targets(), engines, now, first=first)
        if document is not None:
            self.shelf.write(ENGINES, document)
            snapshot.meta[f"{ENGINES}.json"] = MetaFile(document.signed.version)
        if not first:
            snapshot.version += 1
        snapshot.expires = now + LIFETIMES[Snapshot.type]
        self.shelf.write(Snapshot.type, _signed(snapshot, signers))
        self._write_timestamp(snapshot, now, roots)

    def _next_engines(
        self, targets: Targets, wanted: Targets | None, now: dt.datetime, *, first: bool
    ) -> Document | None:
        role = engines_role(targets)
        if role is None:
            return None
        present = None if first else self.shelf.engines()
        if wanted is None and present is not None:
            counts = targets.get_verification_result(ENGINES, present.signed_bytes, present.signatures)
            if counts.verified:
                return None
            wanted = copy.deepcopy(present.signed)
        engines = wanted or Targets(expires=now)
        engines.version = present.signed.version + 1 if present is not None else 1
        engines.expires = now + LIFETIMES[ENGINES]
        return _signed(engines, self.online.all_of(ENGINES, role.keyids))

    def _online_signers(self, role: str, roots: list[Root]) -> list[CryptoSigner]:
        """Keys that count under the newest root, and those of the root before it that are still here."""
        *older, newest = roots
        signers = self.online.all_of(role, newest.roles[role].keyids)
        known = {signer.public_key.keyid for signer in signers}
        retiring = {keyid for root in older for keyid in root.roles[role].keyids} - known
        return signers + self.online.signers(role, retiring)

    def _write_timestamp(self, snapshot: Snapshot, now: dt.datetime, roots: list[Root]) -> None:
        timestamp = self.shelf.timestamp() if self.exists() else Timestamp(expires=now)
        timestamp.snapshot_meta = MetaFile(snapshot.version)
        timestamp.expires = now + LIFETIMES[Timestamp.type]
        if self.exists():
            timestamp.version += 1
        signers = self._online_signers(Timestamp.type, roots)
        self.shelf.write(Timestamp.type, _signed(timestamp, signers))


def _signed(role: Targets | Snapshot | Timestamp, signers: Iterable[CryptoSigner]) -> Document:
    document = Document(role)
    for signer in signers:
        document.sign(signer, append=True)
    return document


def _half_gone(expires: dt.datetime, role: str, now: dt.datetime) -> bool:
    return expires - now < LIFETIMES[role] / 2


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
