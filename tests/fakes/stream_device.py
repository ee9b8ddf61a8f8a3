"""A device that does nothing but fetch one signed file in blocks over MQTT, as a process that can be killed.

Run with a JSON object as its argument, see :class:`Errand`. Says on stdout how many bytes of the file have arrived, and
at the end ``done`` with the file's SHA-256, or ``fault`` with the code.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.transport.interface import BrokerAddress, TlsFiles
from edge.transport.mqtt import MqttLink
from edge.transport.stream_desk import StreamDesk
from edge.transport.stream_link import StreamingLink
from edge.transport.stream_part import StreamParts
from edge.transport.stream_plan import Pacing
from edge.transport.streams import StreamFetcher
from edge.update.interface import UpdateFault
from edge.update.tuf_source import TufSource
from mien.files import sha256_of
from mien.release import ReleaseRef

METADATA_URL, TARGETS_URL = "https://fleet.invalid/tuf/metadata/", "https://fleet.invalid/tuf/targets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What to fetch, and as whom."""

    port: int
    device_id: str
    ca: str
    certificate: str
    key: str
    root: str
    """A file with the first root."""
    state: str
    release: str
    path: str
    patience_s: float = 5.0

    def command(self) -> list[str]:
        """How to run it."""
        return [sys.executable, "-m", "tests.fakes.stream_device", json.dumps(asdict(self))]


class Owner:
    """Of a link that is for streams alone."""

    def __init__(self) -> None:
        self.is_in = threading.Event()

    def connected(self) -> None:
        self.is_in.set()

    def received(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, ticket: int, *, accepted: bool) -> None: ...

    def refused(self, times: int, reason: str) -> None: ...


class StreamDevice:
    """The device, in whichever process."""

    def __init__(self, errand: Errand) -> None:
        self._errand, self._state = errand, Path(errand.state)
        tls = TlsFiles(ca=Path(errand.ca), certificate=Path(errand.certificate), key=Path(errand.key))
        address = BrokerAddress(host="127.0.0.1", port=errand.port, tls=True)
        will = f"mien/v1/{errand.device_id}/status", b"{}"
        self.desk = StreamDesk(StreamParts(self._state / "parts"))
        self.link = StreamingLink(MqttLink(errand.device_id, address, tls=tls, will=will), errand.device_id, self.desk)
        pacing = Pacing(patience_s=errand.patience_s)
        self.fetcher = StreamFetcher(self.desk, METADATA_URL, TARGETS_URL, pacing=pacing)
        self.source = TufSource(
            self._state / "tuf",
            Path(errand.root).read_bytes(),
            metadata_url=METADATA_URL,
            targets_url=TARGETS_URL,
            fetcher=self.fetcher,
        )
        self.owner = Owner()

    def start(self) -> StreamDevice:
        """Connect."""
        self.link.start(self.owner)
        assert self.owner.is_in.wait(20), "the broker did not take it"
        return self

    def fetch(self, on_bytes=lambda _: None) -> Path:
        """Bring the file."""
        release, to = ReleaseRef.parse(self._errand.release), self._state / "got"
        self.source.manifest(release)
        self.source.fetch(release, self._errand.path, to, on_bytes)
        return to

    def close(self) -> None:
        """Disconnect."""
        self.link.close()


def main() -> int:
    """Fetch, and say so."""
    device, arrived = StreamDevice(Errand(**json.loads(sys.argv[1]))).start(), 0

    def tell(count: int) -> None:
        nonlocal arrived
        arrived += count
        if count:
            _say("arrived", arrived)

    try:
        _say("done", sha256_of(device.fetch(tell)))
    except UpdateFault as fault:
        _say("fault", fault.code)
    finally:
        device.close()
    return 0


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
