"""The repository's keys.

Root and targets are offline keys: they sign releases, and may be moved to another machine. Snapshot and timestamp are
online keys: the service needs them every day, and they cannot sign a release.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from mien.errors import TrustError
from mien.files import write_bytes

OFFLINE = (Root.type, Targets.type)
ONLINE = (Snapshot.type, Timestamp.type)


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """Private keys on the disk, one PEM file (0600) for each role."""

    path: Path

    def has(self, role: str) -> bool:
        """Whether the key of a role is here."""
        return self._file(role).is_file()

    def made(self, role: str) -> CryptoSigner:
        """A role's key, made if it is not there; one that is there is never replaced.

        Raises:
            TrustError: it is there and cannot be read.
        """
        if self.has(role):
            return self.signer(role)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        write_bytes(self._file(role), pem, mode=0o600)
        return CryptoSigner(key)

    def signer(self, role: str) -> CryptoSigner:
        """A role's key.

        Raises:
            TrustError: it is not here, or cannot be read.
        """
        try:
            key = serialization.load_pem_private_key(self._file(role).read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise TrustError(
                f"the {role} key cannot be read",
                found=str(error),
                wanted=str(self._file(role)),
                remedy="name the folder that holds it with --keys; 'mien fleet keys init' makes keys for a new fleet",
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise TrustError(f"the {role} key is of another kind", wanted="an Ed25519 key")
        return CryptoSigner(key)

    def _file(self, role: str) -> Path:
        return self.path / f"{role}.pem"
