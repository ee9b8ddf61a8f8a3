"""Room for many connections in one process: file descriptors, and ports of this machine."""

from __future__ import annotations

import resource
from pathlib import Path

from mien.errors import UnsupportedError

_OWN_FILES = 200
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def make_room(connections: int) -> None:
    """Raise this process's limit of open files as far as so many connections need.

    Raises:
        UnsupportedError: the limit cannot be raised so far, or the machine has too few ports; says what to do.
    """
    needed = connections + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        _raise_limit(needed, hard)
    ports = _ports()
    if ports is not None and connections > ports:
        raise UnsupportedError(
            f"{connections} connections to one broker need as many ports of this machine",
            found=f"{ports} by {_PORTS}",
            wanted=f"at least {connections}",
            remedy='widen the range (sysctl -w net.ipv4.ip_local_port_range="1024 65535"), or simulate fewer devices',
        )


def _raise_limit(needed: int, hard: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
    except (ValueError, OSError) as error:
        raise UnsupportedError(
            "this process may not open so many connections",
            found=f"at most {hard} open files (ulimit -Hn)",
            wanted=f"at least {needed}",
            remedy=f"run it as root, or raise the limit first: ulimit -n {needed} (LimitNOFILE in a unit file), "
            "or simulate fewer devices",
        ) from error


def _ports() -> int | None:
    try:
        low, high = _PORTS.read_text().split()
    except (OSError, ValueError):
        return None
    return int(high) - int(low) + 1
