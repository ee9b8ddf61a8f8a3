"""The composition root of the running service: what starts in which order, and ends in the opposite one.

Database and keys, broker, ingest, loops, HTTP; the port for HTTP is taken first, so that a second service on the same
port stops before it touches anything.
"""

from __future__ import annotations

import datetime as dt
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from fleet.api.deps import Fleet
from fleet.app import create_app
from fleet.broker.embedded import EmbeddedBroker
from fleet.broker.external import ExternalBroker
from fleet.broker.interface import Broker
from fleet.broker.secret_group import secret_group
from fleet.broker.shut_out import BrokerFolder, Doorkeeper
from fleet.changes import Changes
from fleet.config import FleetSettings
from fleet.engines.desk import EngineDesk
from fleet.engines.quarantine import Quarantine
from fleet.experiments.tick import ExperimentTick
from fleet.identity.ca import Authority
from fleet.identity.server import ServerFiles, server_files
from fleet.ingest.interpreter import tune
from fleet.ingest.mqtt_bus import MqttBus
from fleet.ingest.outbox import Outbox
from fleet.ingest.pipeline import Ingest
from fleet.loops import Loop, Upkeep, in_turn
from fleet.paths import DataFolder
from fleet.people.anchor import Anchor
from fleet.registry.mirror import MirrorKeeper
from fleet.rollouts.tick import Tick
from fleet.setup import Foundation, prepare
from fleet.streams.bus import MqttStreamBus
from fleet.streams.files import RegistryFiles
from fleet.streams.party import stream_party
from fleet.streams.queue import Rates
from fleet.streams.worker import StreamWorker
from mien.errors import UnavailableError

_log = logging.getLogger(__name__)
_UPKEEP_S = 60.0
_ANCHOR_S = 5.0
_LAST_ANSWERS_S = 2


def serve(settings: FleetSettings, *, ready: Callable[[Fleet], None]) -> None:
    """Run the service until SIGINT or SIGTERM.

    Args:
        settings: all of it.
        ready: called once everything but HTTP runs, to tell people where to look.

    Raises:
        UnavailableError: a port is taken, or broker or database do not answer.
    """
    with listening(settings.http.host, settings.http.port) as listener, running(settings) as fleet:
        tls = _tls(settings, fleet.authority)
        ready(fleet)
        config = uvicorn.Config(
            create_app(fleet),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
            proxy_headers=False,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        with _signals_end_in_order():
            uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def running(settings: FleetSettings) -> Iterator[Fleet]:
    """Everything but HTTP, running while the block does."""
    clock = time.time
    foundation = prepare(settings, dt.datetime.now(dt.timezone.utc))
    with ExitStack() as ends:
        ends.callback(foundation.store.close)
        broker = _broker(settings)
        ends.callback(broker.stop)
        broker.start()
        yield _wire(settings, foundation, broker, ends=ends, clock=clock)


def _wire(
    settings: FleetSettings, foundation: Foundation, broker: Broker, *, ends: ExitStack, clock: Callable[[], float]
) -> Fleet:
    """Start ingest and loops, and note how they end."""
    changes, store = Changes(), foundation.store
    group = secret_group(DataFolder(settings.data).ingest_group)
    bus = MqttBus(broker.for_service, group=group if settings.ingest.shared else None)
    outbox = Outbox(store, bus)
    tick = Tick(store, clock=clock, changed=changes.note)
    experiments = ExperimentTick(store, clock=clock, changed=changes.note)

    rollouts = Loop("rollouts", in_turn(tick.run, experiments.run, outbox.flush), every_s=settings.rollouts.tick_s)
    upkeep = Loop("upkeep", Upkeep(foundation.repository, store, settings.retention, clock).run, every_s=_UPKEEP_S)

    desk = _engine_desk(settings, foundation, clock)
    engines = Loop("engines", desk.look, every_s=settings.engines.look_s)
    desk.nudge = engines.nudge

    anchor = Anchor(store, DataFolder(settings.data).audit_anchor, clock=clock)
    anchors = Loop("anchor", anchor.run, every_s=_ANCHOR_S)

    folder = settings.mqtt.folder
    doorkeeper = Doorkeeper(store, foundation.authority, BrokerFolder(folder) if folder else None, clock=clock)
    doors = Loop("doors", doorkeeper.run, every_s=_UPKEEP_S)

    def connected(fresh: bool) -> None:
        _log.info("connected to the broker%s", "" if fresh else ", which kept our session")
        outbox.send_all()  # even then: a broker that was killed has lost its last seconds
        rollouts.nudge()

    ingest = Ingest(store, settings.ingest, clock=clock, changed=changes.note, connected=connected)
    tune()
    ingest.start(bus)
    ends.callback(bus.stop)
    ends.callback(ingest.stop)
    if settings.streams.enabled:
        streams = _streams(settings, foundation, broker)
        streams.start()
        ends.callback(streams.stop)
    mirrors = _mirrors(settings, foundation)
    ends.callback(anchor.run)  # the last word, when all others have ended
    for loop in (rollouts, upkeep, doors, engines, anchors, *mirrors):
        loop.start()
        ends.callback(loop.stop)
    ends.callback(changes.close)
    return Fleet(
        settings=settings,
        store=store,
        authority=foundation.authority,
        repository=foundation.repository,
        ingest=ingest,
        engines=desk,
        broker=broker.for_devices,
        changes=changes,
        nudge=rollouts.nudge,
        shut_out=doorkeeper.run,
        is_connected=lambda: bus.is_connected,
        clock=clock,
        operator_token=foundation.operator_token,
    )


def _streams(settings: FleetSettings, foundation: Foundation, broker: Broker) -> StreamWorker:
    given, store, now = settings.streams, foundation.store, dt.datetime.now(dt.timezone.utc)
    folder = DataFolder(settings.data).streams
    party = stream_party(given, broker.for_service, foundation.authority, folder, now=now)

    def accepted() -> frozenset[str]:
        with store.read() as work:
            return work.devices.accepted_ids()

    return StreamWorker(
        MqttStreamBus(*party),
        RegistryFiles(foundation.repository),
        accepted=accepted,
        rates=Rates(
            bytes_per_s=given.bytes_per_s,
            device_bytes_per_s=given.device_bytes_per_s,
            queue_bytes=given.queue_bytes,
            device_queue_bytes=given.device_queue_bytes,
        ),
    )


def _mirrors(settings: FleetSettings, foundation: Foundation) -> list[Loop]:
    given = settings.registry
    if given.mirror is None:
        return []
    from fleet.registry.mirror_s3 import S3Store, bucket_of

    store = S3Store(bucket_of(given.mirror, endpoint=given.mirror_endpoint, region=given.mirror_region))
    keeper = MirrorKeeper(foundation.repository, store, given.mirror)
    return [Loop("mirror", keeper.run, every_s=given.mirror_every_s)]


def _engine_desk(settings: FleetSettings, foundation: Foundation, clock: Callable[[], float]) -> EngineDesk:
    quarantine = Quarantine(DataFolder(settings.data).engine_quarantine)
    return EngineDesk(foundation.store, foundation.repository, quarantine, settings.engines, clock=clock)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket.

    Raises:
        UnavailableError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            raise UnavailableError(
                f"could not listen on {host}:{port}",
                found=error.strerror or str(error),
                remedy="end what uses that port, or choose another with --http-port",
            ) from error
        yield listener


def _tls(settings: FleetSettings, authority: Authority) -> ServerFiles | None:
    http = settings.http
    if http.tls_cert is not None and http.tls_key is not None:
        return ServerFiles(certificate=http.tls_cert, key=http.tls_key)
    if http.tls is None:
        return None
    now = dt.datetime.now(dt.timezone.utc)
    return server_files(authority, DataFolder(settings.data).tls, http.names, now=now)


def _broker(settings: FleetSettings) -> Broker:
    if settings.mqtt.broker == "external":
        return ExternalBroker(settings.mqtt)
    return EmbeddedBroker(DataFolder(settings.data), settings.mqtt.host, settings.mqtt.port)


@contextmanager
def _signals_end_in_order() -> Iterator[None]:
    """Uvicorn raises the signal that ended it again; take it calmly, so that the rest ends in order."""
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
