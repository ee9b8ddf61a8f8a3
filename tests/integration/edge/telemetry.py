"""What the tests of outages and kills share: the telemetry process, and a look at what arrived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mien.messages import Window, decode, encode
from tests.integration.edge.conftest import ROOT, Listener


@dataclass
class TelemetryProcess:
    """``tests.fakes.telemetry_device`` as a child."""

    folder: Path
    settings: dict[str, Any]
    before: Sequence[str] = ()
    """A command that runs it, such as one with a mount namespace of its own."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "telemetry.log"

    @property
    def spool(self) -> Path:
        """Its spool."""
        return Path(self.settings.get("spool", self.folder / "spool.sqlite"))

    def start(self) -> None:
        """Start it."""
        settings = {"spool": str(self.spool), **self.settings}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "tests.fakes.telemetry_device", json.dumps(settings)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def kill(self) -> None:
        """End it without a word to it."""
        assert self.process is not None
        self.process.kill()
        assert self.process.wait(timeout=10) == -signal.SIGKILL
        self.process = None

    def end(self) -> dict[str, Any]:
        """End it in order; what it said of its spool. No thread of it may be left."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.log.read_text()[-3000:]
        self.process = None
        lines = self.log.read_text().splitlines()
        assert lines[-1] == "threads: MainThread"
        told: dict[str, Any] = json.loads(lines[-2])
        return told

    def wait_for(self, text: str, times: int = 1, timeout_s: float = 60.0) -> None:
        """Wait until it printed something so many times."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if self.log.exists() and self.log.read_text().count(text) >= times:
                return
            assert self.process is None or self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.02)
        pytest.fail(f"'{text}' was not printed {times} times:\n{self.log.read_text()[-3000:]}")


class Tap(Listener):
    """A listener that answers nothing (QoS 0): where a broker is killed, it still reads all that the broker wrote.

    With QoS 1 its own acknowledgement fails first, and its client drops what it had not read, which no device can mend.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._client.on_connect = lambda client, *_: client.subscribe("mien/v1/#", qos=0)
        self._client.subscribe("mien/v1/#", qos=0)
        self._client.reconnect_delay_set(1, 1)

    def is_connected(self) -> bool:
        """Whether the broker has it."""
        return bool(self._client.is_connected())


@dataclass(frozen=True)
class Arrived:
    """The windows that came, each once."""

    windows: list[Window]

    @property
    def numbers(self) -> list[int]:
        """Every number that they stand for, in order; one that came in two shapes stands there twice."""
        return sorted(
            n for window in self.windows for n in range(window.sequence - window.merged + 1, window.sequence + 1)
        )


def arrived(listener: Listener) -> Arrived:
    """What came, after a check that no window came with two contents."""
    by_id: dict[str, bytes] = {}
    windows = listener.windows()
    for window in windows:
        content = encode(window)
        assert by_id.setdefault(window.window_id, content) == content, f"{window.window_id} came with two contents"
    return Arrived([decode(Window, content, source="listener") for content in by_id.values()])


def assert_complete(listener: Listener, timeout_s: float = 60.0) -> Arrived:
    """Wait until all numbers from 1 to the highest came, and check that each came in one shape only."""
    end_s = time.monotonic() + timeout_s
    while _missing(arrived(listener).numbers) and time.monotonic() < end_s:
        time.sleep(0.1)
    assert _missing(arrived(listener).numbers) == set()
    found = arrived(listener)
    assert found.numbers == list(range(1, len(found.numbers) + 1))
    return found


def _missing(numbers: list[int]) -> set[int]:
    return set(range(1, max(numbers, default=1) + 1)) - set(numbers)
