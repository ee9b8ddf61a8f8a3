"""Whether the board gives its figures, is set to the power that is wanted, and has memory and current enough."""

from __future__ import annotations

from edge.doctor.finding import Finding, ok, skipped, warning, wrong
from edge.doctor.seen import CurrentSeen, JtopSeen, MemorySeen, PowerModeSeen
from mien.devices import DeviceClass

_MIB = 1 << 20
_LEAST_AVAILABLE = 512 * _MIB
_SMALL_BOARD = 9 << 30
_NO_JETSON = "this is no Jetson"
_UPDATE_JTOP = "sudo pip3 install -U jetson-stats && sudo systemctl restart jtop"


def jtop(seen: JtopSeen, *, jetson: bool) -> Finding:
    """Whether jetson-stats is here, and its service lets the agent in."""
    if not jetson:
        return skipped("jtop", _NO_JETSON)
    if seen.client is None:
        return warning(
            "jtop",
            "jetson-stats is not installed: figures come from tegrastats or sysfs",
            remedy="/opt/mien/bin/pip install 'mien[edge,jetson]'",
        )
    if seen.in_group is None:
        return warning("jtop", f"library {seen.client}, and no service", remedy=_UPDATE_JTOP)
    if not seen.in_group:
        return wrong(
            "jtop",
            f"the user {seen.user} is not in the group jtop",
            wanted="a member",
            remedy=f"sudo usermod -aG jtop {seen.user} && sudo systemctl restart mien-edge",
        )
    return _jtop_service(seen, seen.client)


def power_source(name: str, *, jetson: bool, asked_for: str) -> Finding:
    """Where power figures would come from."""
    if name != "none":
        return ok("power", f"figures come from {name}")
    if asked_for == "none":
        return ok("power", "none, as the settings say")
    if jetson:
        return warning("power", "no source answers: telemetry has no power figures", wanted="jtop", remedy=_UPDATE_JTOP)
    return ok("power", "none: this machine measures nothing that this user may read")


def power_mode(seen: PowerModeSeen, device: DeviceClass | None, *, jetson: bool) -> Finding:
    """Whether the board is in the mode that its class is planned with; modes are told by name, since numbers differ."""
    if not jetson:
        return skipped("power mode", _NO_JETSON)
    if seen.name is None:
        return warning("power mode", "nvpmodel does not say", wanted="a named mode", remedy="sudo nvpmodel -q")
    others = ", ".join(name for name in seen.ids if name != seen.name)
    found = seen.name + (f" (others here: {others})" if others else "")
    wanted = device.defaults.power_mode if device else None
    if wanted is None or wanted == seen.name or wanted not in seen.ids:
        return ok("power mode", found)
    return warning("power mode", found, wanted=wanted, remedy=f"sudo nvpmodel -m {seen.ids[wanted]}  # {wanted}")


def over_current(seen: CurrentSeen, *, jetson: bool) -> Finding:
    """Whether the supply gave in since the machine started."""
    if not jetson and not seen.events and not seen.alarms:
        return skipped("over-current", "this machine has no alarm for it")
    if seen.alarms:
        return wrong(
            "over-current",
            f"alarm now: {', '.join(seen.alarms)}",
            wanted="no alarm",
            remedy="use the supply that the board asks for, or a lower power mode: sudo nvpmodel -m NUMBER",
        )
    risen = {name: count for name, count in seen.events.items() if count}
    if risen:
        events = ", ".join(f"{name} {count}×" for name, count in risen.items())
        return warning(
            "over-current",
            f"{events} in {seen.uptime_s / 3600:.1f} h since the start",
            wanted="none",
            remedy="use the supply that the board asks for, or a lower power mode: sudo nvpmodel -m NUMBER",
        )
    return ok("over-current", f"none in {seen.uptime_s / 3600:.1f} h since the start")


def memory(seen: MemorySeen, *, jetson: bool) -> Finding:
    """Whether there is memory for an engine, and none is spent on a desktop that nobody sees."""
    found = f"{seen.available_bytes // _MIB} of {seen.total_bytes // _MIB} MiB available"
    headless = "sudo systemctl set-default multi-user.target && sudo reboot"
    if seen.available_bytes < _LEAST_AVAILABLE:
        remedy = headless if seen.desktop else "ps -eo rss,comm --sort -rss | head"
        return wrong("memory", found, wanted=f"{_LEAST_AVAILABLE // _MIB} MiB", remedy=remedy)
    if jetson and seen.desktop and seen.total_bytes < _SMALL_BOARD:
        return warning("memory", f"{found}, and a desktop is started", wanted="no desktop", remedy=headless)
    return ok("memory", found + (", with a desktop" if seen.desktop else ", no desktop"))


def _jtop_service(seen: JtopSeen, client: str) -> Finding:
    service = seen.service.value
    if service is None:
        return warning("jtop", f"library {client}; {seen.service.error}", wanted="a service", remedy=_UPDATE_JTOP)
    if service.split(".")[:2] != client.split(".")[:2]:
        return wrong(
            "jtop",
            f"service {service}, library {client}",
            wanted="the same first two numbers",
            remedy=f"/opt/mien/bin/pip install jetson-stats=={service}",
        )
    return ok("jtop", f"library {client}, and its service lets {seen.user} in")
