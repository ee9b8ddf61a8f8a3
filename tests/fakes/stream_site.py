"""A site in small for streams: a real Mosquitto with TLS and access rules, a registry, and a worker that is counted."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fleet.broker.interface import BrokerAccess
from fleet.broker.mosquitto import SiteBroker, write_configuration
from fleet.config import StreamSettings
from fleet.identity.ca import open_authority, read_request
from fleet.paths import DataFolder
from fleet.registry.repository import Repository
from fleet.streams.bus import MqttStreamBus
from fleet.streams.files import RegistryFiles
from fleet.streams.party import stream_party
from fleet.streams.queue import Rates
from fleet.streams.worker import StreamWorker
from mien.release import MANIFEST
from mien.streams import Block, decode_answer, encode_block
from tests.fakes.fake_device import request_for
from tests.fakes.stream_device import Errand

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
RELEASE, MODEL = "faces@1.0.0", "model.onnx"


class CountingBus(MqttStreamBus):
    """Counts every block that goes out, and may lie."""

    def __init__(self, access: BrokerAccess, client_id: str, group: str) -> None:
        super().__init__(access, client_id, group)
        self.served: Counter[tuple[str, str, int]] = Counter()
        """By device, content and number."""
        self.lies: Callable[[Block], bytes] = encode_block

    def send(self, topic: str, payload: bytes) -> bool:
        block = decode_answer(payload)
        assert isinstance(block, Block)
        self.served[topic.split("/")[2], block.version, block.index] += 1
        return super().send(topic, self.lies(block))


class StreamSite:
    """Runs until it is closed.

    Args:
        folder: for everything.
        content: of the one large file of the release.
        device_bytes_per_s: what one device gets.
    """

    def __init__(self, folder: Path, content: bytes, *, device_bytes_per_s: float = 4e6) -> None:
        self.folder, self.port = folder, _free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.now = dt.datetime.now(dt.timezone.utc)
        self.authority = open_authority(folder / "ca")
        empty = self.authority.revocation_list((), at=self.now)
        site = SiteBroker(hosts=("127.0.0.1",), port=self.port, bind="127.0.0.1", workers=2)
        write_configuration(folder / "broker", self.authority, site, empty_list=empty)
        if os.geteuid() == 0:  # as root the broker would become a user who may not read this folder
            with (folder / "broker" / "mosquitto.conf").open("a") as config:
                config.write("user root\n")
        self.repository = self._published(content)
        self.accepted: set[str] = set()
        self._rates = Rates(
            bytes_per_s=64e6, device_bytes_per_s=device_bytes_per_s, queue_bytes=16 << 20, device_queue_bytes=1 << 20
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.workers: list[StreamWorker] = []

    def start(self, workers: int = 1) -> StreamSite:
        """Start the broker, and so many processes' worth of service."""
        self.start_broker()
        self.buses = [self._bus(number) for number in range(1, workers + 1)]
        for bus in self.buses:
            worker = StreamWorker(
                bus, RegistryFiles(self.repository), accepted=lambda: frozenset(self.accepted), rates=self._rates
            )
            worker.start()
            self.workers.append(worker)
        _wait(lambda: all(bus.is_connected for bus in self.buses), "the workers are in")
        return self

    def start_broker(self) -> None:
        """Start it and wait until it listens."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [MOSQUITTO, "-c", str(self.folder / "broker" / "mosquitto.conf")]
            self.process = subprocess.Popen(command, stderr=log)
        _wait(self._listens, "the broker listens")

    def kill_broker(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.stop()
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def device(self, name: str, *, patience_s: float = 5.0) -> Errand:
        """An accepted device with a certificate, and its errand: the large file."""
        place = self.folder / "devices" / name
        place.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self.authority.issue_device(read_request(request_for(key)), name)
        (place / "cert.pem").write_text(issued.pem)
        (place / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (place / "root.json").write_bytes(self.repository.first_root())
        self.accepted.add(name)
        return Errand(
            port=self.port,
            device_id=name,
            ca=str(self.folder / "broker" / "ca.pem"),
            certificate=str(place / "cert.pem"),
            key=str(place / "key.pem"),
            root=str(place / "root.json"),
            state=str(place),
            release=RELEASE,
            path=MODEL,
            patience_s=patience_s,
        )

    def served(self, device: str, version: str) -> Counter[int]:
        """How often each block of a content was sent to a device."""
        found: Counter[int] = Counter()
        for bus in self.buses:
            found.update({i: n for (who, what, i), n in bus.served.items() if (who, what) == (device, version)})
        return found

    def _bus(self, number: int) -> CountingBus:
        name = "fleet" if number == 1 else f"fleet-{number}"
        broker = self.folder / "broker"
        access = BrokerAccess(
            host="127.0.0.1",
            port=self.port,
            tls=True,
            ca=broker / "ca.pem",
            client_cert=broker / f"{name}.pem",
            client_key=broker / f"{name}.key",
        )
        folder = self.folder / "streams"
        return CountingBus(*stream_party(StreamSettings(), access, self.authority, folder, now=self.now))

    def _published(self, content: bytes) -> Repository:
        repository = Repository(DataFolder(self.folder / "data"))
        repository.create(self.now)
        model, manifest = self.folder / MODEL, self.folder / MANIFEST
        model.write_bytes(content)
        manifest.write_text("{}")
        prefix = RELEASE.replace("@", "/")
        with repository.locked():
            repository.add({f"{prefix}/{MODEL}": model, f"{prefix}/{MANIFEST}": manifest}, {}, self.now)
        return repository

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def _wait(until: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end, f"it did not come about that {what}"
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
