"""Where things lie in the service's data folder. Nothing else in the package spells these names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mien.errors import UnavailableError

_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder of one fleet."""

    root: Path

    @property
    def ca(self) -> Path:
        """The certificate authority: ``ca.pem`` and ``ca.key`` (0600)."""
        return self.root / "ca"

    @property
    def offline_keys(self) -> Path:
        """TUF root and targets keys; to be moved away from a server that is reachable."""
        return self.root / "keys" / "offline"

    @property
    def online_keys(self) -> Path:
        """TUF snapshot and timestamp keys, which the service needs every day."""
        return self.root / "keys" / "online"

    @property
    def tuf_metadata(self) -> Path:
        """Signed metadata, as served."""
        return self.root / "tuf" / "metadata"

    @property
    def tuf_targets(self) -> Path:
        """Signed files, as served."""
        return self.root / "tuf" / "targets"

    @property
    def tuf_pending(self) -> Path:
        """Metadata that waits for signatures of offline keys; never served."""
        return self.root / "tuf" / "pending"

    @property
    def engine_quarantine(self) -> Path:
        """Engines that devices offered and that are not signed; never served."""
        return self.root / "engines"

    @property
    def registry_lock(self) -> Path:
        """Held by whoever changes the TUF repository."""
        return self.root / "tuf" / "lock"

    @property
    def broker(self) -> Path:
        """The embedded broker's configuration and passwords (0600)."""
        return self.root / "broker"

    @property
    def tls(self) -> Path:
        """The certificate that the service made for itself, and its key (0600)."""
        return self.root / "tls"

    @property
    def streams(self) -> Path:
        """The certificates with which streams connect to the broker, and their keys (0600)."""
        return self.root / "streams"

    @property
    def ingest_group(self) -> Path:
        """The secret name under which several processes share telemetry (0600)."""
        return self.root / "ingest" / "group"

    @property
    def audit_anchor(self) -> Path:
        """Heads of the audit record, outside the database (0600); copy it elsewhere now and then."""
        return self.root / "audit.anchor"

    @property
    def operator_token(self) -> Path:
        """What the command line shows to the service (0600)."""
        return self.root / "operator.token"

    def create(self) -> None:
        """Make the folder, readable by this user alone.

        Raises:
            UnavailableError: it cannot be made there.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(_PRIVATE)
        except OSError as error:
            raise UnavailableError(
                f"could not make the data folder {self.root}",
                found=error.strerror or str(error),
                remedy="choose another with --data",
            ) from error
