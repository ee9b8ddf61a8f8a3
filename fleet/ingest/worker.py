"""The composition root of ``mien fleet ingest``: a process that stores telemetry and events beside the service.

It holds a session of its own at the broker. What it had not stored when it was killed is sent to it again when it is
back; until then the broker keeps its share. Whoever takes a worker away for good therefore lets it leave: it stores
what is there, and its session ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from fleet.broker.external import ExternalBroker
from fleet.broker.mosquitto import MOST_WORKERS, worker_file
from fleet.broker.secret_group import secret_group
from fleet.config import FleetSettings
from fleet.ingest.interpreter import tune
from fleet.ingest.mqtt_bus import MqttBus
from fleet.ingest.pipeline import Ingest
from fleet.paths import DataFolder
from fleet.store.database import open_store
from mien.errors import ConfigError

_log = logging.getLogger(__name__)
_LOOK_S = 0.5
_QUIET_LOOKS = 4
"""So many looks without anything new, and a worker that leaves has stored all that the broker had for it."""
_SERVICE = 1


def run_worker(
    settings: FleetSettings, number: int, *, leave: bool, stopping: threading.Event, ready: Callable[[], None]
) -> dict[str, int]:
    """Store what comes until it is told to stop, or, to leave, until nothing more comes.

    Args:
        settings: the service's own.
        number: of this worker, from 2 on; the service itself is the first.
        leave: end the session at the broker once nothing is left in it.
        stopping: set when it is to end.
        ready: called once it is connected.

    Returns:
        What was counted: stored, duplicate, bad and so on.

    Raises:
        ConfigError: the settings do not allow workers, or this number is not one.
        UnavailableError: broker or database do not answer.
    """
    check(settings, number)
    broker = ExternalBroker(worker_settings(settings, number).mqtt)
    broker.start()
    store = open_store(settings.database, password_file=settings.database_password_file)
    connected = threading.Event()
    try:
        ingest = Ingest(
            store, settings.ingest, clock=time.time, changed=lambda: None, connected=lambda _: connected.set()
        )
        bus = MqttBus(broker.for_service, worker=number, group=secret_group(DataFolder(settings.data).ingest_group))
        tune()
        ingest.start(bus)
        while not connected.wait(_LOOK_S) and not stopping.is_set():
            pass
        if connected.is_set():
            ready()
        if leave and not stopping.is_set():
            bus.leave()
            _wait_until_quiet(ingest, stopping)
        else:
            stopping.wait()
        ingest.stop()
        bus.stop(forget=leave)
    finally:
        store.close()
    return dict(ingest.counts)


def check(settings: FleetSettings, number: int) -> None:
    """Refuse settings under which a worker would take nothing, or take what is not its own.

    Raises:
        ConfigError: with what would be right.
    """
    if not settings.ingest.shared:
        raise ConfigError(
            "the service takes everything itself, so a worker would get nothing",
            wanted="ingest: {shared: true} in the settings, and the service started with them",
        )
    if settings.mqtt.broker != "external":
        raise ConfigError("the embedded broker is for one process", wanted="mqtt: {broker: external}")
    if not _SERVICE < number <= MOST_WORKERS:
        raise ConfigError(f"there is no worker {number}", wanted=f"from 2 to {MOST_WORKERS}; the service is the first")


def worker_settings(settings: FleetSettings, number: int) -> FleetSettings:
    """The settings with this worker's own certificate, as ``mien fleet broker config --workers`` wrote it."""
    mqtt = settings.mqtt
    if mqtt.client_cert is None or mqtt.client_key is None:
        return settings
    name = worker_file(number)
    own = {
        "client_cert": mqtt.client_cert.with_name(f"{name}.pem"),
        "client_key": mqtt.client_key.with_name(f"{name}.key"),
    }
    missing = [str(path) for path in own.values() if not path.is_file()]
    if missing:
        raise ConfigError(
            f"worker {number} has no certificate",
            found=f"no {' and no '.join(missing)}",
            remedy="mien fleet broker config … --workers N writes one for each, beside the service's",
        )
    return settings.model_copy(update={"mqtt": mqtt.model_copy(update=own)})


def _wait_until_quiet(ingest: Ingest, stopping: threading.Event) -> None:
    seen, quiet = -1, 0
    while quiet < _QUIET_LOOKS and not stopping.wait(_LOOK_S):
        now = ingest.taken
        quiet = quiet + 1 if now == seen and ingest.is_idle else 0
        seen = now
    _log.info("nothing more came: this worker leaves")
