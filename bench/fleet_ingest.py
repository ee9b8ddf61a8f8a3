"""Ingest of telemetry windows beside a bare paho subscriber of the same payloads, in turns, with a real Mosquitto.

    python bench/fleet_ingest.py [--windows 40000] [--turns 3] [--json]

The windows are made by the device's own code with every figure that a Jetson has, each with an id of its own, in turns
from 500 devices. They are encoded before the clock starts and published with QoS 1 by a process of its own, which does
nothing but write bytes. Ingest is the service's: it receives, validates, stores and then acknowledges, one transaction
a batch, with the default settings and a disk that is waited for; the peer is paho's client with an empty callback.
Both end when the last message was handled. Each turn measures the peer, SQLite and PostgreSQL on the same machine.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import Row, report, row
from edge.pipeline.meter import FrameTally
from edge.power.interface import PowerSample
from edge.telemetry.window import WindowContext, build_window
from fleet.broker.interface import BrokerAccess
from fleet.config import IngestSettings
from fleet.identity.ca import Issued
from fleet.ingest.interpreter import tune
from fleet.ingest.mqtt_bus import CLIENT_ID, MqttBus
from fleet.ingest.pipeline import Ingest
from fleet.store.database import Store, open_store
from mien.expressions import EXPRESSIONS
from mien.messages import encode
from mien.release import ReleaseRef
from mien.topics import WINDOW, all_devices, topic
from tests.fakes.postgres_server import PostgresServer

WINDOWS, TURNS, DEVICES = 40_000, 3, 500
_LEAST_PER_S = 6000.0
_SHARED = (
    "the database's server works on the same two cores as broker, publisher and ingest, while the bare subscriber "
    "shares them with two"
)
_LEAST_RATIO = 0.6
_KINDS = 400
"""Different windows; each is sent many times under ids of its own."""
_BEGINNING = b'{"window_id":"'
_CONTINUES = 0x80
_UNANSWERED = 1000
_MAXIMUM_ID = 65_000
_LONGEST_S = 120.0
_CONFIG = "allow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 100\n"
_CERTIFICATE = Issued(pem="-" * 900, serial="1", expires_at=4e9)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--publish", type=int, metavar="PORT", help=argparse.SUPPRESS)
    order = parser.parse_args()
    if order.publish:
        publish(order.publish, order.windows)
        return 0
    return report("fleet-ingest", "ingest", rows(order.windows, order.turns), as_json=order.json)


def rows(windows: int = WINDOWS, turns: int = TURNS) -> list[Row]:
    """The figures of ingest.

    Args:
        windows: how many are sent in each turn.
        turns: of which the median counts.
    """
    tune()
    taken: dict[str, list[tuple[float, int]]] = {"peer": [], "SQLite": [], "PostgreSQL": []}
    with ExitStack() as ending:
        port = ending.enter_context(_mosquitto())
        stores = {
            "SQLite": ending.enter_context(_sqlite()),
            "PostgreSQL": ending.enter_context(_postgresql()),
        }
        for _ in range(turns):
            taken["peer"].append((_bare(port, windows), windows))
            for name, store in stores.items():
                taken[name].append(_ingest(port, store, windows))
    return [one for name in stores for one in _rows_of(name, taken, windows)]


def _rows_of(name: str, taken: dict[str, list[tuple[float, int]]], windows: int) -> list[Row]:
    rates = {of: statistics.median(windows / seconds for seconds, _ in each) for of, each in taken.items()}
    ratios = [bare / ours for (ours, _), (bare, _) in zip(taken[name], taken["peer"], strict=True)]
    lost = sum(windows - stored for _, stored in taken[name])
    how = f"median of {len(ratios)} turns of {windows} windows from {DEVICES} devices"
    beside = f"bare paho subscriber of the same payloads: {rates['peer']:,.0f}/s; {how}"
    return [
        row(f"ingest, {name}", rates[name], "windows/s", _LEAST_PER_S, peer=beside, least=True),
        row(
            f"ingest, {name}, beside bare paho",
            statistics.median(ratios),
            "x",
            _LEAST_RATIO,
            peer=beside,
            least=True,
            reason=_SHARED,
        ),
        row(f"ingest, {name}: windows lost", lost, "windows", 0, peer="counted in the database after each turn"),
    ]


def _bare(port: int, windows: int) -> float:
    """Seconds in which a bare subscriber has them all."""
    got, done, up = 0, threading.Event(), threading.Event()

    def take(*_: object) -> None:
        nonlocal got
        got += 1
        if got == windows:
            done.set()

    client = Client(CallbackAPIVersion.VERSION2, "bare", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = take
    client.on_subscribe = lambda *_: up.set()
    client.on_connect = lambda *_: client.subscribe(all_devices(WINDOW), qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        return _timed(port, windows, up, done)
    finally:
        client.disconnect()
        client.loop_stop()


def _ingest(port: int, store: Store, windows: int) -> tuple[float, int]:
    """Seconds in which ingest has stored them all, and how many are there then."""
    _forget_session(port)
    with store.write() as work:
        work.windows.forget_before(float("inf"))
    done, up = threading.Event(), threading.Event()

    def changed() -> None:
        if ingest.counts["stored"] >= windows:
            done.set()

    ingest = Ingest(store, IngestSettings(), clock=time.time, changed=changed, connected=lambda _: up.set())
    bus = MqttBus(BrokerAccess(host="127.0.0.1", port=port))
    ingest.start(bus)
    try:
        seconds = _timed(port, windows, up, done)
    finally:
        ingest.stop()
        bus.stop()
    with store.read() as work:
        return seconds, sum(len(work.windows.latest(f"cam-{number}", windows)) for number in range(DEVICES))


def _timed(port: int, windows: int, up: threading.Event, done: threading.Event) -> float:
    """From the first byte of the publisher to the last message handled."""
    if not up.wait(_LONGEST_S):
        raise SystemExit("the broker did not answer")
    command = [sys.executable, __file__, "--publish", str(port), "--windows", str(windows)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        if publisher.stdout is None or publisher.stdin is None or not publisher.stdout.readline():
            raise SystemExit("the publisher did not start")
        started = time.perf_counter()
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        done.wait(_LONGEST_S)
        return time.perf_counter() - started


def _forget_session(port: int) -> None:
    """So that a turn begins with nothing of the one before."""
    gone = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, CLIENT_ID, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: client.disconnect()
    client.on_disconnect = lambda *_: gone.set()
    client.connect("127.0.0.1", port, clean_start=True)
    client.loop_start()
    gone.wait(_LONGEST_S)
    client.loop_stop()


def publish(port: int, windows: int) -> None:
    """Write packets that were made before, as fast as the broker takes them; begins when told to on standard input."""
    packets = list(_packets(windows))
    with socket.create_connection(("127.0.0.1", port)) as broker:
        name = b"publisher"
        body = b"\0\x04MQTT\x05\x02" + struct.pack("!HBH", 60, 0, len(name)) + name
        broker.sendall(b"\x10" + _size(len(body)) + body)
        broker.recv(1024)
        print("ready", flush=True)
        sys.stdin.readline()
        answered = sent = 0
        while answered < 4 * windows:  # a PUBACK has four bytes
            if sent < windows and sent - answered // 4 < _UNANSWERED:
                broker.sendall(b"".join(packets[sent : sent + 50]))
                sent = min(sent + 50, windows)
                with suppress(BlockingIOError):
                    answered += len(broker.recv(65536, socket.MSG_DONTWAIT))
            else:
                answered += len(broker.recv(65536))


def _packets(windows: int) -> Iterator[bytes]:
    kinds = [kind[len(_BEGINNING) + 32 :] for kind in payloads(_KINDS)]
    for number in range(windows):
        payload = _BEGINNING + uuid.uuid4().hex.encode() + kinds[number % _KINDS]
        name = topic(f"cam-{number % DEVICES}", WINDOW).encode()
        body = struct.pack("!H", len(name)) + name + struct.pack("!HB", number % _MAXIMUM_ID + 1, 0) + payload
        yield b"\x32" + _size(len(body)) + body


def _size(number: int) -> bytes:
    """MQTT's variable byte integer."""
    done = bytearray()
    while number >= _CONTINUES:
        done.append(number % _CONTINUES + _CONTINUES)
        number >>= 7
    return bytes((*done, number))


def payloads(count: int) -> list[bytes]:
    """Windows as a Jetson with two cameras sends them, made by the device's own code."""
    chance = np.random.default_rng(5)
    return [encode(build_window(_tally(chance), _readings(chance), _context(number))) for number in range(count)]


def _tally(chance: np.random.Generator) -> FrameTally:
    frames = int(chance.integers(90, 110))
    counts = np.zeros(1024, np.int64)
    counts[: len(EXPRESSIONS)] = chance.integers(0, 40, len(EXPRESSIONS))
    return FrameTally(
        started_at_s=100.0,
        ended_at_s=110.0,
        frames=frames,
        latency_ms=chance.gamma(4, 2, (frames, 5)).astype(np.float32),
        class_counts=counts,
        confidence_sum=float(counts.sum() * 0.8),
        confidence_histogram=chance.integers(0, 30, 20),
        brightness_histogram=chance.integers(0, 30, 16),
        sources={"front": frames // 2, "back": frames - frames // 2},
    )


def _readings(chance: np.random.Generator) -> list[PowerSample]:
    return [
        PowerSample(
            at_s=100.0 + second,
            total_w=float(chance.normal(9, 1)),
            rails_w={
                "VDD_IN": float(chance.normal(9, 1)),
                "VDD_CPU_GPU_CV": 4.2,
                "VDD_SOC": float(chance.normal(2, 0.1)),
            },
            limits_a={"VDD_IN": 5.0},
            temperature_c={"cpu": 55.5, "gpu": 54.2, "soc0": 53.1, "soc1": 52.0, "tj": 56.0},
            clocks_hz={"gpu": 624e6, "cpu": 1.5e9, "emc": 2.1e9},
            fan_percent=40.0,
            fan_rpm=2200.0,
            nvpmodel="15W",
            gpu_percent=70.0,
            ram_total_bytes=8 << 30,
        )
        for second in range(10)
    ]


def _context(number: int) -> WindowContext:
    return WindowContext(
        window_id=uuid.uuid4().hex,
        sequence=number,
        boot_id=uuid.uuid4().hex,
        ended_at=1.8e9 + 10 * number,
        power_source="ina3221",
        release=ReleaseRef(name="faces", version="1.1.0"),
        precision="int8",
        labels=EXPRESSIONS,
        cpu_percent=35.2,
        ram_bytes=3 << 30,
    )


@contextmanager
def _mosquitto() -> Iterator[int]:
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\n{_CONFIG}")
        with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as broker:
            try:
                _wait_for(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close())
                yield port
            finally:
                broker.terminate()


def _wait_for(try_it: Callable[[], None]) -> None:
    for _ in range(100):
        with suppress(OSError):
            return try_it()
        time.sleep(0.05)
    raise SystemExit("Mosquitto did not start")


@contextmanager
def _sqlite() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder, _filled(f"sqlite:///{folder}/fleet.db") as store:
        yield store


@contextmanager
def _postgresql() -> Iterator[Store]:
    server = PostgresServer(durable=True).start()
    try:
        with _filled(server.make("fleet")) as store:
            yield store
    finally:
        server.stop()


@contextmanager
def _filled(url: str) -> Iterator[Store]:
    store = open_store(url)
    with store.write() as work:
        for number in range(DEVICES):
            work.devices.add(f"cam-{number}", "bench", _CERTIFICATE, at=1.0)
    try:
        yield store
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
