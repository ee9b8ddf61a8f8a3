"""Real programs for the tests: a Mosquitto on a free port of the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Broker:
    """A running Mosquitto."""

    port: int
    folder: Path
    host: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it listens."""
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=subprocess.STDOUT
            )
        for _ in range(200):
            with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"mosquitto did not start:\n{(self.folder / 'log.txt').read_text()}")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts a Mosquitto with further lines of configuration; ends it after the test."""
    if not os.access(MOSQUITTO, os.X_OK):
        pytest.skip("mosquitto is not installed: make test installs it")
    with ExitStack() as running:

        def start(*lines: str, port: int | None = None) -> Broker:
            broker = Broker(port=port or free_port(), folder=tmp_path / f"mosquitto-{free_port()}")
            broker.folder.mkdir()
            listener = (
                () if any(line.startswith("listener") for line in lines) else (f"listener {broker.port} 127.0.0.1",)
            )
            text = "\n".join((*listener, *(lines or ("allow_anonymous true",)), "persistence false", ""))
            (broker.folder / "mosquitto.conf").write_text(text)
            running.callback(broker.stop)
            broker.start()
            return broker

        yield start


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Broker]) -> Broker:
    """A Mosquitto that lets anyone in, on the loopback interface."""
    return start_mosquitto()
