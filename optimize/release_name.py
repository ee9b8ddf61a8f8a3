"""Reads the name and version that a release is to have, before any work is done under them."""

from __future__ import annotations

from mien.errors import BundleError, ConfigError
from mien.release import ReleaseRef


def check_release(name: str, version: str) -> ReleaseRef:
    """A release by the name and version of the command line.

    Raises:
        ConfigError: one or both have another form; each is named.
    """
    faults = []
    if not _reads(name, "0.0.0"):
        faults.append(f"--name {name}: lower-case letters, digits, dots, hyphens and underscores, such as faces")
    if not _reads("name", version):
        faults.append(f"--version {version}: major.minor.patch, such as 1.2.0")
    if faults:
        raise ConfigError("no release can be called that", remedy="mend what is listed", faults=tuple(faults))
    return ReleaseRef.parse(f"{name}@{version}")


def _reads(name: str, version: str) -> bool:
    try:
        ReleaseRef.parse(f"{name}@{version}")
    except BundleError:
        return False
    return True
