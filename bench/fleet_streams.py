"""Files in blocks over MQTT, measured: what a cut costs, and how fast a file comes beside the broker's own way.

A real Mosquitto with TLS and the access rules that mien writes, a device as a process of its own that is killed at
90 %, and every block counted where it is sent. Part of ``make bench-fleet``; alone: ``python bench/fleet_streams.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import ROOT, Row, row, show, trimmed
from fleet.config import StreamSettings
from mien.console import print_json
from mien.errors import ExitCode
from tests.fakes.stream_device import Errand, StreamDevice
from tests.fakes.stream_site import StreamSite

BYTES, SEED = 12_000_000, 11
BLOCK = 32 * 1024
CUT_AT = 0.9
CUTS, TURNS = 5, 3
LEAST_MB_PER_S = StreamSettings().bytes_per_s / 1e6
"""What one process gives all devices together by default: so the limit bounds a transfer and not what it costs."""


def rows() -> list[Row]:
    """The figures."""
    content = random.Random(SEED).randbytes(BYTES)  # noqa: S311 - any bytes
    return [cut_row(content), speed_row(content)]


def cut_row(content: bytes) -> Row:
    """Blocks that were sent twice when a device is killed at 90 % and starts again; the worst of several kills."""
    blocks, digest = -(-len(content) // BLOCK), hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        site = StreamSite(Path(folder), content, device_bytes_per_s=8e6).start()
        try:
            twice = [_killed_and_resumed(site, f"cam-{number}", digest, blocks) for number in range(CUTS)]
        finally:
            site.close()
    peer = f"{CUTS} kills, {blocks} blocks of {BLOCK} bytes; by kill: {', '.join(map(str, twice))}; counted where sent"
    return row("resumed transfer over MQTT after a SIGKILL at 90 %", max(twice), "blocks fetched twice", 1, peer=peer)


def speed_row(content: bytes) -> Row:
    """The rate of a whole verified transfer without limits, beside bare paho over the same broker."""
    with tempfile.TemporaryDirectory() as folder:
        site = StreamSite(Path(folder), content, device_bytes_per_s=1e9)
        errands = [site.device(f"cam-{turn}") for turn in range(2 * TURNS)]
        site.start()
        try:
            ours = [_fetched(errand) for errand in errands[:TURNS]]
            bare = [_bare(errand, len(content)) for errand in errands[TURNS:]]
        finally:
            site.close()
    mine, other = (len(content) / statistics.median(took) / 1e6 for took in (ours, bare))
    peer = (
        f"bare paho, same broker, TLS and block size, nothing checked or stored: {other:.0f} MB/s; medians of {TURNS}"
    )
    what = "verified transfer over MQTT by one device, limits off"
    return row(what, mine, "MB/s", LEAST_MB_PER_S, least=True, peer=peer)


def _killed_and_resumed(site: StreamSite, name: str, digest: str, blocks: int) -> int:
    errand = site.device(name)
    process = subprocess.Popen(errand.command(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout or ():
        if int(line.split()[1]) >= CUT_AT * BYTES:
            break
    process.kill()
    process.wait()
    done = subprocess.run(errand.command(), cwd=ROOT, capture_output=True, text=True, check=True)
    if done.stdout.split()[-2:] != ["done", digest]:
        raise SystemExit(f"the resumed transfer did not end right: {done.stdout}{done.stderr}")
    return sum(site.served(name, digest).values()) - blocks


def _fetched(errand: Errand) -> float:
    device = StreamDevice(errand).start()
    begin = time.perf_counter()
    try:
        device.fetch()
        return time.perf_counter() - begin
    finally:
        device.close()


def _bare(errand: Errand, total: int) -> float:
    """Seconds in which a client gets so many bytes that another one publishes, QoS 1, without any work on them."""
    arrived, done = 0, threading.Event()
    topic, payload = f"mien/v1/{errand.device_id}/cmd/bench/1", bytes(BLOCK)

    def count(_client: Client, _data: object, message: object) -> None:
        nonlocal arrived
        arrived += len(message.payload)  # type: ignore[attr-defined]
        if arrived >= total:
            done.set()

    client = Client(CallbackAPIVersion.VERSION2, errand.device_id, protocol=MQTTProtocolVersion.MQTTv5)
    context = ssl.create_default_context(cafile=errand.ca)
    context.load_cert_chain(errand.certificate, errand.key)
    client.tls_set_context(context)
    client.on_message = count
    client.connect("127.0.0.1", errand.port)
    client.loop_start()
    client.subscribe(topic, qos=1)
    time.sleep(0.5)
    begin = time.perf_counter()
    for _ in range(-(-total // BLOCK)):
        client.publish(topic, payload, qos=1)
    if not done.wait(120):
        raise SystemExit("the bare client did not get its bytes")
    took = time.perf_counter() - begin
    client.loop_stop()
    return took


def main() -> int:
    """Measure and print; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    as_json, found = parser.parse_args().json, rows()
    if as_json:
        print_json([trimmed(one) for one in found])
    else:
        show("Streams", found)
    return int(ExitCode.OK if all(one.met for one in found) else ExitCode.GATE)


if __name__ == "__main__":
    sys.exit(main())
