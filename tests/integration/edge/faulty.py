"""What the tests of a whole device's faults share: the device, systemd's end of its socket, and what it told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.report import status_of
from mien import topics
from mien.files import write_text
from mien.messages import Event, Window, decode
from tests.fakes.tiny_bundle import make_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.integration.edge.conftest import ROOT, DeviceProcess, Listener

PROGRAM = "tests.fakes.faulty_device"


@dataclass
class FaultyDevice(DeviceProcess):
    """``mien edge run`` as its own process, with an engine and a board that a test rules over."""

    last_session: int = 0

    @property
    def sys(self) -> Path:
        """Where its board's sensors are."""
        return self.state.with_suffix(".sys")

    @property
    def call(self) -> Path:
        """There while a slow call of the engine is under way."""
        return self.state.with_suffix(".call")

    @property
    def said(self) -> str:
        """What it logged so far."""
        return self.log.read_text()

    def change(self, **settings: Any) -> None:
        """Exchange sections of its settings; ``None`` takes one away."""
        values = {**json.loads(self.config.read_text()), **settings}
        self.config.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))

    def order(self, how: str) -> None:
        """Let the engine err from now on; see the program. Empty ends it."""
        write_text(self.state.with_suffix(".order"), how)

    def start(self) -> None:
        """Start it, as the head of a session of its own."""
        variables = {"MIEN_ORDER": str(self.state.with_suffix(".order")), "MIEN_SYS": str(self.sys)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, "edge", "run", "--config", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            )
        self.last_session = self.process.pid

    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def left(self) -> list[str]:
        """Processes that are left of its last session."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                name, _, rest = (folder / "stat").read_text().rpartition(")")
                if int(rest.split()[3]) == self.last_session:
                    found.append(name)
        return found


def run_release(
    device: FaultyDevice, listener: Listener, repository: TufRepository, *, version: str = "1.0.0", **bundle: Any
) -> None:
    """Start the device and wait until it runs a release and has told a window with frames of it."""
    folder = device.state.parent / f"bundle-{version}"
    make_bundle(folder, version, **bundle)
    sha256 = repository.add_bundle(folder, "faces", version)
    device.start()
    listener.desire(f"faces@{version}", sha256, f"d-{version}")
    listener.ended(f"d-{version}", "committed")
    window_after(listener, 0, lambda window: window.frames > 0)


def events(listener: Listener, *kinds: str) -> list[Event]:
    """What the device told so far, of these kinds."""
    found = [decode(Event, payload, source="device") for payload in listener.of(topics.EVENT)]
    return [event for event in found if not kinds or event.kind in kinds]


def event(listener: Listener, kind: str, least: int = 1) -> Event:
    """Wait for an event; the newest of its kind."""
    told: list[Event] = listener.wait(
        lambda: (found := events(listener, kind)) and len(found) >= least and found, f"event {kind}"
    )
    return told[-1]


def last_window(listener: Listener) -> int:
    """The number of the newest window so far."""
    return max((window.sequence for window in listener.windows()), default=0)


def window_after(listener: Listener, number: int, holds: Callable[[Window], bool]) -> Window:
    """Wait for a window with a higher number of which something holds."""
    fitting: Window = listener.wait(
        lambda: next((w for w in listener.windows() if w.sequence > number and w.release and holds(w)), None),
        f"such a window after number {number}",
    )
    return fitting


def until(holds: Callable[[], Any], device: FaultyDevice, timeout_s: float = 60.0) -> None:
    """Wait until something holds of a device that goes on running."""
    end_s = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end_s or not device.runs():
            pytest.fail(f"it did not come; said: {device.said[-3000:]}")
        time.sleep(0.02)


def installed(device: FaultyDevice) -> tuple[str, str, str]:
    """Who the device is, what it runs and where that stands."""
    found = status_of(device.state)
    return found["device_id"], found["active"]["release"], found["active"]["slot"]


class Systemd:
    """Systemd's end of the socket that a service tells its state to.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path) -> None:
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def after(self, text: str) -> list[str]:
        """What came from the first message on that holds this text; nothing before it came."""
        heard = list(self.messages)
        return next((heard[index:] for index, message in enumerate(heard) if text in message), [])

    def close(self) -> None:
        """Hear no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _hear(self) -> None:
        with suppress(OSError):
            while message := self._socket.recv(4096):
                self.messages.append(message.decode())
