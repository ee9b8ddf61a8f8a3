"""Whether disk, clock, certificate, service and spool are as a device that runs for years needs them."""

from __future__ import annotations

from datetime import datetime, timezone

from edge.doctor.finding import Finding, ok, skipped, warning, wrong
from edge.doctor.seen import CertificateSeen, ClockSeen, DiskSeen, ServiceSeen, SpoolSeen

_MIB = 1 << 20
LEAST_FREE = 512 * _MIB
ENOUGH_FREE = 2048 * _MIB
"""Two releases with their engines, and the spool."""
_LEAST_FILES = 10_000
_DAY_S = 86_400.0
_OVERDUE = 0.8
"""Of a certificate's life; it is renewed at two thirds."""
_SLACK_S = _DAY_S
_AS_AGENT = "ask as the agent: sudo -u mien /opt/mien/bin/mien edge doctor"
_ENROL = "mien edge enroll TOKEN@URL"


def disk(seen: DiskSeen) -> Finding:
    """Whether the state folder can be written to and has room."""
    found = f"{seen.free_bytes // _MIB} MiB free in {seen.folder}"
    if (fault := _unwritable(seen)) is not None:
        return fault
    if seen.free_bytes < LEAST_FREE:
        return wrong("disk", found, wanted=f"{LEAST_FREE // _MIB} MiB", remedy="sudo du -xh / | sort -h | tail -20")
    if seen.free_files is not None and seen.free_files < _LEAST_FILES:
        return wrong("disk", f"{seen.free_files} files left on {seen.folder}", remedy="sudo du -x --inodes / | sort -n")
    if seen.remounted:
        return warning(
            "disk",
            f"read-only after errors: {', '.join(seen.remounted)}",
            wanted="writable",
            remedy="sudo dmesg | grep -iE 'ext4|i/o error'; then save what counts and replace the disk",
        )
    if seen.free_bytes < ENOUGH_FREE:
        remedy = "sudo apt clean; sudo journalctl --vacuum-size=100M"
        return warning("disk", found, wanted=f"{ENOUGH_FREE // _MIB} MiB", remedy=remedy)
    return ok("disk", found)


def _unwritable(seen: DiskSeen) -> Finding | None:
    if seen.read_only:
        remedy = "sudo dmesg | grep -i ext4"
        return wrong("disk", f"{seen.folder} is mounted read-only", wanted="writable", remedy=remedy)
    if not seen.writable:
        return wrong(
            "disk",
            f"this user may not write to {seen.folder}",
            wanted="a folder of the agent's own",
            remedy=_AS_AGENT,
        )
    return None


def no_rights(what: str, path: str, user: str) -> Finding:
    """What this user may not look at: who should ask, and how the agent gets the right where it lacks it."""
    if not path:
        return wrong(what, f"the user {user} may not look at it", wanted="the right to", remedy=_AS_AGENT)
    if path.startswith("/dev/"):
        remedy = f"stat -c %G {path}  # the group that may; then: sudo usermod -aG GROUP {user}, and log in again"
    else:
        remedy = f"{_AS_AGENT}; where it is the agent's own: sudo chown -R mien: {path} && sudo chmod -R u+rwX {path}"
    return wrong(what, f"the user {user} may not read {path}", wanted="the right to", remedy=remedy)


def clock(seen: ClockSeen) -> Finding:
    """Whether the clock can be right: certificates and telemetry live by it."""
    now = _day(seen.now_s)
    if seen.now_s < seen.installed_s - _SLACK_S:
        return wrong(
            "clock",
            f"{now}, before this version was installed ({_day(seen.installed_s)})",
            wanted="the time of day",
            remedy="sudo timedatectl set-ntp true; a board without a battery needs a time server in reach",
        )
    if seen.synchronised is None:
        return warning("clock", f"{now}; the kernel does not say whether it is kept right", remedy="timedatectl")
    if not seen.synchronised:
        return warning(
            "clock", f"{now}, kept right by nobody", wanted="synchronised", remedy="sudo timedatectl set-ntp true"
        )
    return ok("clock", f"{now}, synchronised")


def certificate(seen: CertificateSeen, now_s: float) -> Finding:
    """Whether the device's certificate counts now, and for how long."""
    ends = f"{seen.name}, valid to {_day(seen.ends_s)}"
    if now_s < seen.starts_s:
        return wrong(
            "certificate",
            f"valid from {_day(seen.starts_s)}, and it is {_day(now_s)} here",
            wanted="a clock that is right",
            remedy="sudo timedatectl set-ntp true",
        )
    if now_s >= seen.ends_s:
        return wrong(
            "certificate",
            f"{seen.name}, expired {(now_s - seen.ends_s) / _DAY_S:.0f} days ago",
            wanted="a valid one",
            remedy=f"the agent renews it while the fleet's grace time lasts; after that: {_ENROL}",
        )
    days = (seen.ends_s - now_s) / _DAY_S
    if now_s > seen.starts_s + _OVERDUE * (seen.ends_s - seen.starts_s):
        return warning(
            "certificate",
            f"{ends}: {days:.0f} days",
            wanted="one that was renewed at two thirds of its life",
            remedy="the agent renews it while it reaches the fleet: journalctl -u mien-edge",
        )
    return ok("certificate", f"{ends}: {days:.0f} days")


def service(seen: ServiceSeen) -> Finding:
    """Whether systemd starts the agent, with the service file of this version."""
    if not seen.systemd:
        return skipped("service", "systemd does not run this machine")
    put = f"sudo cp {seen.shipped or 'mien-edge.service'} /etc/systemd/system/ && sudo systemctl daemon-reload"
    if seen.path is None:
        remedy = f"{put} && sudo systemctl enable --now mien-edge"
        return warning("service", "mien-edge is not installed", wanted="the service", remedy=remedy)
    found = f"{seen.active}, {seen.enabled}, restarted {seen.restarts}×"
    if seen.active == "failed":
        return wrong("service", found, wanted="active", remedy="sudo journalctl -u mien-edge -n 50")
    if not seen.same:
        other = f"{seen.path} is not this version's; {found}"
        return warning("service", other, wanted="changes in a drop-in only", remedy=put)
    return _as_started(seen, found)


def _as_started(seen: ServiceSeen, found: str) -> Finding:
    if seen.reload_needed:
        return warning("service", f"changed on disk; {found}", remedy="sudo systemctl daemon-reload")
    if seen.enabled not in {"enabled", "enabled-runtime"} or seen.active != "active":
        return warning("service", found, wanted="active, enabled", remedy="sudo systemctl enable --now mien-edge")
    return ok("service", found)


def spool(seen: SpoolSeen) -> Finding:
    """Whether the spool can be read, and what waits in it."""
    if not seen.exists:
        return skipped("spool", "nothing was recorded yet")
    if seen.check != "ok":
        return wrong(
            "spool",
            f"damaged: {seen.check}",
            wanted="a whole file",
            remedy="sudo systemctl restart mien-edge  # saves what can be read and begins a new one",
        )
    found = f"{seen.bytes // 1024} KiB" + (f", {seen.waiting} messages wait" if seen.waiting is not None else "")
    if seen.damaged:
        return warning(
            "spool",
            f"{found}; set aside as damaged: {', '.join(seen.damaged)}",
            remedy="sudo dmesg | grep -i 'i/o error'",
        )
    return ok("spool", found)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
