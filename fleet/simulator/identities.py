"""Names, keys and certificates of simulated devices, in a folder: made by real enrolment at the first run, kept after.

Two ways in, both through :func:`fleet.identity.enrol.enrol`: over the service's API as a device does it, or, where the
service's data folder is on this machine, many in one transaction, which is some ten times as fast.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fleet.client import FleetClient
from fleet.identity.ca import open_authority
from fleet.identity.enrol import Asked, enrol
from fleet.identity.tokens import make_token
from fleet.paths import DataFolder
from fleet.simulator.device import Memory
from fleet.store.database import Store
from mien.console import SILENT, Progress
from mien.errors import ConfigError, UnavailableError
from mien.files import write_json

_AT_ONCE = 500
_TOKEN_S = 3600
_MEMORY, _FLEET = "memory.json", "fleet.json"
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A device that is wanted."""

    device_id: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A device's name and files."""

    device_id: str
    file: Path
    """Certificate and key, PEM."""


class IdentityFolder:
    """Where they are kept.

    Args:
        root: the folder.

    Raises:
        ConfigError: it cannot be made or read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"the folder {root} cannot be made", found=str(error), remedy="name another") from error

    def identity(self, device_id: str) -> Identity:
        """Where a device's files are, whether they are there or not."""
        return Identity(device_id=device_id, file=self._root / f"{device_id}.pem")

    def missing(self, members: Sequence[Member]) -> list[Member]:
        """Those without a certificate."""
        present = {path.stem for path in self._root.glob("*.pem")}
        return [member for member in members if member.device_id not in present]

    def keep(self, device_id: str, key: ec.EllipticCurvePrivateKey, certificate_pem: str) -> None:
        """Write one, readable by this user alone. Not durably: a simulated device that a power cut takes is no loss."""
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        file = self.identity(device_id).file
        part = file.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(certificate_pem + private)
        part.replace(file)

    @property
    def fleet(self) -> dict[str, Any] | None:
        """What the last enrolment told of the fleet: broker, authority, TUF root; ``None`` before the first."""
        file = self._root / _FLEET
        return json.loads(file.read_text()) if file.is_file() else None

    def keep_fleet(self, answer: dict[str, Any]) -> None:
        """Keep it."""
        write_json(self._root / _FLEET, {name: answer[name] for name in ("ca_pem", "mqtt", "tuf")}, mode=0o600)

    def memories(self) -> dict[str, Memory]:
        """What the devices kept of the last run."""
        try:
            kept = json.loads((self._root / _MEMORY).read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._root / _MEMORY} cannot be read", found=str(error), remedy="remove it: all devices begin anew"
            ) from error
        return {device_id: Memory(**memory) for device_id, memory in kept.items()}

    def remember(self, memories: dict[str, Memory]) -> None:
        """Keep it for the next run."""
        write_json(self._root / _MEMORY, {name: asdict(memory) for name, memory in memories.items()})


def enrol_over_api(
    fleet: FleetClient,
    http: httpx.Client,
    folder: IdentityFolder,
    wanted: Sequence[Member],
    progress: Progress = SILENT,
) -> None:
    """Enrol devices one by one, as devices do.

    Raises:
        UnavailableError: the service went away, or refuses a device.
    """
    for group, members in _by_group(wanted):
        body = {"group": group, "uses": len(members), "ttl_s": _TOKEN_S, "review": False}
        token = fleet.post("/tokens", body)["token"]
        for member in members:
            key = ec.generate_private_key(ec.SECP256R1())
            asked = {"token": token, "csr_pem": _request(key), "device_id": member.device_id}
            said = http.post("/api/device/v1/enroll", json=asked, timeout=_TIMEOUT_S)
            if said.is_error:
                raise UnavailableError(
                    f"the service refuses to enrol {member.device_id}",
                    found=said.text[:300],
                    remedy="choose another --prefix, or remove the device's earlier namesake",
                )
            answer = said.json()
            folder.keep(member.device_id, key, answer["certificate_pem"])
            folder.keep_fleet(answer)
            progress.advance()


def enrol_in_store(
    store: Store, data: DataFolder, folder: IdentityFolder, wanted: Sequence[Member], progress: Progress = SILENT
) -> None:
    """Enrol devices in the service's own store, many in one transaction.

    Raises:
        TrustError, ConfigError, ConflictError: as enrolment raises them.
    """
    authority = open_authority(data.ca)
    for group, members in _by_group(wanted):
        for start in range(0, len(members), _AT_ONCE):
            part, now = members[start : start + _AT_ONCE], time.time()
            keys = {member.device_id: ec.generate_private_key(ec.SECP256R1()) for member in part}
            token, kept = make_token(
                group=group, uses=len(part), expires_at=now + _TOKEN_S, ca_sha256=authority.fingerprint
            )
            with store.write() as work:
                work.tokens.add(kept, at=now)
                done = [
                    enrol(work, authority, Asked(token=token, csr_pem=_request(key), wanted_id=name), now=now)
                    for name, key in keys.items()
                ]
            for one in done:
                folder.keep(one.device_id, keys[one.device_id], one.certificate_pem or "")
            progress.advance(len(part))


def _by_group(wanted: Sequence[Member]) -> Iterator[tuple[str, list[Member]]]:
    for group in sorted({member.group for member in wanted}):
        yield group, [member for member in wanted if member.group == group]


def _request(key: ec.EllipticCurvePrivateKey) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()
