"""Looks at what belongs to the agent: its certificate, service, spool and cameras."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from edge.camera.chooser import open_camera
from edge.config import CameraSettings
from edge.doctor.probes import ask
from edge.doctor.probes.stack import shipped_service
from edge.doctor.seen import CameraSeen, CertificateSeen, ServiceSeen, SpoolSeen
from edge.identity.store import Identity
from mien.errors import TrustError

_UNIT = "mien-edge.service"
_UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_RUNS_SYSTEMD = Path("/run/systemd/system")
_LOCKS = Path("/proc/locks")


def certificate(identity: Identity) -> CertificateSeen:
    """The device's certificate.

    Raises:
        TrustError: it cannot be read.
    """
    try:
        found = x509.load_pem_x509_certificate(identity.files.certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise TrustError("the certificate cannot be read", found=str(error), remedy="mien edge enroll") from error
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return CertificateSeen(
        name=str(names[0].value) if names else "without a name",
        starts_s=found.not_valid_before_utc.timestamp(),
        ends_s=found.not_valid_after_utc.timestamp(),
    )


def service() -> ServiceSeen:
    """The installed service, and what systemd says of it."""
    shipped = shipped_service()
    path = next((place for folder in _UNIT_FOLDERS if (place := Path(folder) / _UNIT).is_file()), None)
    said: dict[str, str] = {}
    if _RUNS_SYSTEMD.is_dir():
        names = "ActiveState,UnitFileState,NRestarts,NeedDaemonReload"
        answer = ask.program(["systemctl", "show", _UNIT, "-p", names])
        said = dict(line.split("=", 1) for line in (answer.value or "").splitlines() if "=" in line)
    return ServiceSeen(
        systemd=_RUNS_SYSTEMD.is_dir(),
        shipped=str(shipped) if shipped.is_file() else None,
        path=str(path) if path else None,
        same=path is not None and (not shipped.is_file() or path.read_bytes() == shipped.read_bytes()),
        active=said.get("ActiveState", "unknown"),
        enabled=said.get("UnitFileState", "unknown"),
        restarts=int(said.get("NRestarts") or 0),
        reload_needed=said.get("NeedDaemonReload") == "yes",
    )


def spool(path: Path) -> SpoolSeen:
    """The spool's file, read only."""
    if not path.is_file():
        return SpoolSeen(exists=False)
    damaged = tuple(sorted(other.name for other in path.parent.glob(f"{path.name}.damaged-*")))
    size = sum(other.stat().st_size for other in path.parent.glob(f"{path.name}*") if other.name not in damaged)
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            check = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            waiting = int(connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])
    except sqlite3.Error as error:
        return SpoolSeen(exists=True, bytes=size, check=str(error), damaged=damaged)
    return SpoolSeen(exists=True, bytes=size, waiting=waiting, check=check, damaged=damaged)


def camera(settings: CameraSettings, state: Path, *, insists: bool = False) -> CameraSeen:
    """One frame of a camera, unless a running agent has it: many cameras take one session at a time.

    Args:
        settings: the camera.
        state: folder of the agent.
        insists: whether somebody named this camera, and wants it tried all the same.

    Raises:
        MienError: it does not open or gives no frame.
    """
    if not insists and is_locked(state / "lock", _LOCKS):
        return CameraSeen(name=settings.source, held_by_agent=True)
    opened = open_camera(settings.source, settings.options().impatient())
    try:
        frame = opened.read()
        if frame is None:
            return CameraSeen(name=opened.name)
        height, width = frame.image.shape[:2]
        return CameraSeen(name=opened.name, width=width, height=height, description=opened.description)
    finally:
        opened.close()


def is_locked(path: Path, locks: Path) -> bool:
    """Whether a process holds this lock, as the kernel lists it; the lock itself is not touched."""
    try:
        status, listed = path.stat(), locks.read_text()
    except OSError:
        return False
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(device in line.split() for line in listed.splitlines())
