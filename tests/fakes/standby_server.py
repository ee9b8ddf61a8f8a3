"""``mien fleet serve`` that has loaded its code and waits for a line on its input before it begins.

The line is the number of the step at which it kills itself, or 0: a step is the moment before or after a transaction
is committed, a message is published, or messages are acknowledged. Loading beforehand lets a test restart the service a
hundred times; what runs after the line is the command itself.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from paho.mqtt.client import Client

import fleet.cli
import fleet.service
import mien.cli
from fleet.ingest.mqtt_bus import MqttBus
from fleet.store.database import Store


class _Fuse:
    """Ends the process at its n-th step."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _lay(steps: int) -> None:
    fuse = _Fuse(steps)
    write = Store.write

    @contextmanager
    def watched_write(self: Store) -> Iterator[Any]:
        with write(self) as work:
            yield work
            fuse.burn()  # all is said, nothing is committed
        fuse.burn()

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            fuse.burn()
            answer = method(*given, **named)
            fuse.burn()
            return answer

        return call

    Store.write = watched_write  # type: ignore[method-assign]
    MqttBus.acknowledge = watched(MqttBus.acknowledge)  # type: ignore[method-assign]
    Client.publish = watched(Client.publish)  # type: ignore[method-assign]


def main() -> None:
    """Wait for the word, then serve."""
    assert fleet.service.serve is not None
    word = sys.stdin.readline().strip()
    if not word:
        return
    if int(word):
        _lay(int(word))
    sys.argv[0] = "mien"
    mien.cli.main()


if __name__ == "__main__":
    main()
