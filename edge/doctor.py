"""Examines a device: each thing it needs, what was found, and what to do about it. Changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass

from edge.camera.chooser import open_camera
from edge.config import EdgeSettings
from edge.facts import read_facts
from edge.identity.store import IdentityStore
from edge.power.chooser import open_power
from edge.transport.fleet_http import FleetHttp
from mien.errors import MienError, UnavailableError, UnsupportedError

_LEAST_FREE_BYTES = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def examine(settings: EdgeSettings) -> list[Finding]:
    """Look at everything a device needs; a fault in one does not hide the others."""
    looks: tuple[tuple[str, Callable[[EdgeSettings], str]], ...] = (
        ("runtime", _runtime),
        ("camera", _camera),
        ("power", _power),
        ("disk", _disk),
        ("identity", _identity),
        ("fleet", _fleet),
    )
    return [_look(what, look, settings) for what, look in looks]


def _look(what: str, look: Callable[[EdgeSettings], str], settings: EdgeSettings) -> Finding:
    try:
        return Finding(what=what, ok=True, found=look(settings))
    except MienError as error:
        found = "; ".join(part for part in (error.what, error.found) if part)
        return Finding(what=what, ok=False, found=found, remedy=error.remedy)


def _runtime(_: EdgeSettings) -> str:
    facts = read_facts()
    if not facts.runtimes():
        raise UnsupportedError("neither TensorRT with a GPU nor onnxruntime is here", remedy="pip install 'mien[edge]'")
    return ", ".join(f"{name} {getattr(facts, name)}" for name in facts.runtimes())


def _camera(settings: EdgeSettings) -> str:
    camera = open_camera(settings.camera.source, settings.camera.options().impatient())
    try:
        frame = camera.read()
    finally:
        camera.close()
    if frame is None:
        raise UnavailableError(f"{camera.name} gives no frame", remedy="check the source")
    height, width = frame.image.shape[:2]
    return f"{camera.name}, {width}×{height}; {camera.description}"


def _power(settings: EdgeSettings) -> str:
    source = open_power(settings.power.source, interval_s=settings.power.interval_s, replay=settings.power.replay)
    source.close()
    return source.name


def _disk(settings: EdgeSettings) -> str:
    folder = next(path for path in (settings.state, *settings.state.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise UnavailableError(
            f"little room for releases in {settings.state}", found=f"{free >> 20} MiB free", remedy="free some space"
        )
    return f"{free >> 20} MiB free"


def _identity(settings: EdgeSettings) -> str:
    return IdentityStore(settings.state, fleet_url=settings.fleet.url).load().device_id


def _fleet(settings: EdgeSettings) -> str:
    identity = IdentityStore(settings.state, fleet_url=settings.fleet.url).load()
    with FleetHttp(identity.fleet_url, ca_pem=identity.pinned_ca) as fleet:
        return f"{identity.fleet_url}: {fleet.session(identity.key, identity.device_id).state}"
