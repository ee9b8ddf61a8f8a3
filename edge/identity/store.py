"""The identity on the disk: ``STATE/identity`` holds the key (for this user alone), certificates and addresses."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ValidationError

from edge.transport.fleet_http import BrokerBlock, EnrolmentAnswer, RegistryBlock, checked_url
from edge.transport.interface import TlsFiles
from mien.errors import TrustError, UnavailableError
from mien.files import write_bytes, write_text

_SECRET = 0o600
_FOLDER_MODE = 0o700
_ENROLL = "mien edge enroll TOKEN@URL"


class _Record(BaseModel):
    device_id: str
    fleet_url: str
    metadata_url: str
    """As the fleet gave it: mostly relative to the service."""
    targets_url: str
    mqtt: BrokerBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the device is, and where its fleet is."""

    device_id: str
    fleet_url: str
    metadata_url: str
    """Where TUF metadata is; absolute."""
    targets_url: str
    mqtt: BrokerBlock
    key: ec.EllipticCurvePrivateKey
    ca_pem: str
    tuf_root: bytes
    files: TlsFiles

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Identity(device_id={self.device_id!r}, fleet_url={self.fleet_url!r})"

    @property
    def pinned_ca(self) -> str | None:
        """The authority to trust for https; ``None`` for plain http."""
        return self.ca_pem if self.fleet_url.startswith("https://") else None

    @property
    def registry_ca(self) -> str | None:
        """The authority to trust where signed releases are: the fleet's at its service, the system's elsewhere."""
        return self.pinned_ca if self.targets_url.startswith(f"{self.fleet_url}/") else None


class IdentityStore:
    """Reads and writes the identity.

    Args:
        state: the device's state folder.
        fleet_url: where the fleet service is now; ``None``: where it was at enrolment.
    """

    def __init__(self, state: Path, *, fleet_url: str | None = None) -> None:
        self._folder = state / "identity"
        self._fleet_url = checked_url(fleet_url) if fleet_url else None

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    def exists(self) -> bool:
        """Whether this device has enrolled."""
        return (self._folder / "identity.json").is_file()

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The device's key; made, and kept, at the first call. It never leaves the device."""
        path = self._folder / "key.pem"
        if path.is_file():
            return _key_from(path)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(_FOLDER_MODE)
        write_bytes(path, pem, mode=_SECRET)
        return key

    def save(self, answer: EnrolmentAnswer, fleet_url: str) -> Identity:
        """Keep what enrolment gave; the record is written last, so a half-written identity is none.

        Raises:
            TrustError: the answer holds no readable trust root.
        """
        try:
            root = base64.b64decode(answer.tuf.root, validate=True)
        except binascii.Error as error:
            raise TrustError("the fleet's trust root cannot be read", found=str(error)) from error
        write_text(self._folder / "cert.pem", answer.certificate_pem)
        write_text(self._folder / "ca.pem", answer.ca_pem)
        write_bytes(self._folder / "root.json", root)
        self._write(
            _Record(
                device_id=answer.device_id,
                fleet_url=fleet_url,
                metadata_url=answer.tuf.metadata_url,
                targets_url=answer.tuf.targets_url,
                mqtt=answer.mqtt,
            )
        )
        return self.load()

    def save_certificate(self, pem: str) -> Identity:
        """Keep a new certificate for the same key and name."""
        write_text(self._folder / "cert.pem", pem)
        return self.load()

    def has_asked(self) -> bool:
        """Whether a key was made and no identity came of it yet: the fleet may know the key already."""
        return (self._folder / "key.pem").is_file() and not self.exists()

    def save_broker(self, mqtt: BrokerBlock) -> Identity:
        """Keep a new address or password of the broker."""
        self._write(self._record().model_copy(update={"mqtt": mqtt}))
        return self.load()

    def save_registry(self, registry: RegistryBlock) -> bool:
        """Keep another address of signed releases, for the next start; whether it is another."""
        before = self._record()
        after = before.model_copy(update=registry.model_dump())
        if after == before:
            return False
        self._write(after)
        return True

    def load(self) -> Identity:
        """The identity.

        Raises:
            TrustError: this device has not enrolled, or a file of its identity is missing or damaged.
            UnavailableError: a file of it cannot be read now; the identity may be whole.
        """
        record = self._record()
        files = TlsFiles(
            ca=self._folder / "ca.pem", certificate=self._folder / "cert.pem", key=self._folder / "key.pem"
        )
        try:
            ca_pem, root = files.ca.read_text(), (self._folder / "root.json").read_bytes()
            files.certificate.read_bytes()
        except FileNotFoundError as error:
            raise TrustError("this device's identity is incomplete", found=str(error), remedy=_ENROLL) from error
        except OSError as error:
            raise _unreadable(error) from error
        fleet_url = self._fleet_url or record.fleet_url
        return Identity(
            device_id=record.device_id,
            fleet_url=fleet_url,
            metadata_url=_absolute(fleet_url, record.metadata_url),
            targets_url=_absolute(fleet_url, record.targets_url),
            mqtt=record.mqtt,
            key=_key_from(files.key),
            ca_pem=ca_pem,
            tuf_root=root,
            files=files,
        )

    def _record(self) -> _Record:
        path = self._folder / "identity.json"
        try:
            return _Record.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise TrustError("this device has not enrolled", found=f"no {path}", remedy=_ENROLL) from error
        except OSError as error:
            raise _unreadable(error) from error
        except ValidationError as error:
            raise TrustError(
                f"{path} cannot be read", found=str(error)[:200], remedy=f"enrol again: {_ENROLL}"
            ) from error

    def _write(self, record: _Record) -> None:
        write_text(self._folder / "identity.json", record.model_dump_json(indent=2) + "\n", mode=_SECRET)


def _absolute(base: str, address: str) -> str:
    joined = address if "://" in address else f"{base}/{address.lstrip('/')}"
    return joined if joined.endswith("/") else joined + "/"


def _unreadable(error: OSError) -> UnavailableError:
    return UnavailableError(
        "this device's identity cannot be read now",
        found=str(error),
        remedy="run as the service's user, or look at the disk; the identity itself was not refused",
    )


def _key_from(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise TrustError("this device's identity is incomplete", found=str(error), remedy=_ENROLL) from error
    except OSError as error:
        raise _unreadable(error) from error
    except ValueError as error:
        raise TrustError(f"the device key {path} cannot be read", found=str(error), remedy=_ENROLL) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"the device key {path} is of another kind", wanted="an ECDSA P-256 key", remedy=_ENROLL)
    return key
