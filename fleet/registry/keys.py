"""The repository's keys as files.

Root and targets are offline keys: they say who may sign and what is released, may be several with a threshold, and lie
on machines that are not on the network. Snapshot, timestamp and engines are online keys: the service needs them every
day, and none of them can sign a release.

A private key is ``ROLE-ID.pem`` (PKCS#8, 0600; encrypted when it was made with a passphrase), and the public key that
may be handed around lies beside it as ``ROLE-ID.pub``. The id in the name is the beginning of the key's TUF id, so an
encrypted key is found without opening it. Earlier versions wrote ``ROLE.pem``, which is read too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from fleet.registry.passphrases import NO_PASSPHRASE, Passphrase
from mien.errors import TrustError
from mien.files import write_bytes

ENGINES = "engines"
OFFLINE = (Root.type, Targets.type)
ONLINE = (Snapshot.type, Timestamp.type, ENGINES)
SHORT = 16
"""So many digits of a key's id stand in file names and tables."""

_ENCRYPTED = b"BEGIN ENCRYPTED PRIVATE KEY"
_ANOTHER_FOLDER = "name the folder that holds it with --keys; 'mien fleet keys init' makes keys for a new fleet"


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """Private keys on the disk, one file for each key.

    Args:
        path: the folder.
        passphrase: opens encrypted keys, and encrypts new ones if it is there.
    """

    path: Path
    passphrase: Passphrase = field(default=NO_PASSPHRASE, repr=False)

    def made(self, role: str, count: int = 1) -> list[SSlibKey]:
        """A role's public keys, made where there are fewer than ``count``; one that is there is never replaced.

        Raises:
            TrustError: one is there and cannot be read.
        """
        keys = [self._opened(path).public_key for path in self._files(role)][:count]
        return keys + [self.make(role) for _ in range(count - len(keys))]

    def make(self, role: str) -> SSlibKey:
        """Make one more key for a role; its public half."""
        key = Ed25519PrivateKey.generate()
        secret = self.passphrase.for_a_new_key()
        how = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
        public = SSlibKey.from_crypto(key.public_key())
        place = self.place_of(role, public.keyid)
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        write_bytes(place, pem, mode=0o600)
        write_bytes(place.with_suffix(".pub"), public_pem(key.public_key()))
        return public

    def signers(self, role: str, keyids: Collection[str]) -> list[CryptoSigner]:
        """Those of the named keys that lie here, opened.

        Raises:
            TrustError: one lies here and cannot be read or opened.
        """
        found = (self._opened(path) for path in self._files(role) if _may_be(path, role, keyids))
        return [signer for signer in found if signer.public_key.keyid in keyids]

    def all_of(self, role: str, keyids: Collection[str]) -> list[CryptoSigner]:
        """As :meth:`signers`, but none is not enough.

        Raises:
            TrustError: none of them lies here.
        """
        signers = self.signers(role, keyids)
        if not signers:
            raise TrustError(
                f"the {role} key cannot be read",
                found=f"none of {short(keyids)} in {self.path}",
                wanted=str(self.place_of(role, min(keyids, default="ID"))),
                remedy=_ANOTHER_FOLDER,
            )
        return signers

    def find(self, role: str, keyid: str) -> Path | None:
        """Where a key lies; looks at names, and opens only what has none and is not encrypted."""
        for path in self._files(role):
            if path.stem == f"{role}-{keyid[:SHORT]}":
                return path
            if path.stem == role and not is_encrypted(path) and self._opened(path).public_key.keyid == keyid:
                return path
        return None

    def forget_all_but(self, role: str, keyids: Collection[str]) -> list[Path]:
        """Delete the keys of an online role that nobody trusts any more."""
        kept = {self.find(role, keyid) for keyid in keyids}
        gone = [path for path in self._files(role) if path not in kept]
        for path in gone:
            path.unlink()
            path.with_suffix(".pub").unlink(missing_ok=True)
        return gone

    def place_of(self, role: str, keyid: str) -> Path:
        """Where a key of a role is kept."""
        return self.path / f"{role}-{keyid[:SHORT]}.pem"

    def _files(self, role: str) -> list[Path]:
        return sorted((*self.path.glob(f"{role}.pem"), *self.path.glob(f"{role}-*.pem")))

    def _opened(self, path: Path) -> CryptoSigner:
        try:
            content = path.read_bytes()
            secret = self.passphrase.to_open(path.name) if _ENCRYPTED in content else None
            key = serialization.load_pem_private_key(content, password=secret)
        except (OSError, ValueError) as error:
            raise TrustError(
                f"the key {path.name} cannot be read",
                found=str(error) or "the passphrase does not open it",
                wanted=str(path),
                remedy="check the passphrase; " + _ANOTHER_FOLDER,
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise TrustError(f"the key {path.name} is of another kind", wanted="an Ed25519 key")
        return CryptoSigner(key)


def is_encrypted(path: Path) -> bool:
    """Whether a private key asks for a passphrase."""
    return _ENCRYPTED in path.read_bytes()


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as it is handed around."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public(path: Path) -> SSlibKey:
    """A public key that somebody handed over.

    Raises:
        TrustError: the file is not an Ed25519 public key.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrustError(
            f"{path} is no public key",
            found=str(error),
            wanted="the .pub file that 'mien fleet keys make' wrote",
            remedy="ask its holder for that file; a private key never leaves its machine",
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(f"{path} is a key of another kind", wanted="an Ed25519 key")
    return SSlibKey.from_crypto(key)


def short(keyids: Collection[str]) -> str:
    """Key ids for people."""
    return ", ".join(sorted(keyid[:SHORT] for keyid in keyids)) or "none"


def _may_be(path: Path, role: str, keyids: Collection[str]) -> bool:
    return path.stem == role or any(path.stem == f"{role}-{keyid[:SHORT]}" for keyid in keyids)
