"""Tells systemd how the service does: ready, alive, reloading, stopping. sd_notify(3) without its library.

Without systemd (no ``NOTIFY_SOCKET``) every call does nothing, and nothing here can make the service fail.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

LONGEST_BEAT_S = 1.0
_BEATS_A_LIMIT = 3
"""The watchdog is fed this often within its limit, so that one late beat does no harm."""
_EXTENSION_S = 30
_EXTEND_EVERY_S = 5.0


class Notifier:
    """The way to systemd.

    Args:
        address: the socket; by default what systemd put into ``NOTIFY_SOCKET``.
        environment: where systemd's variables are; the process's own by default.
    """

    def __init__(self, address: str | None = None, *, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._address = address if address is not None else variables.get("NOTIFY_SOCKET", "")
        self._limit_s = _watchdog_limit_s(variables)
        self._told = ""

    @property
    def is_heard(self) -> bool:
        """Whether systemd started us and wants to be told."""
        return bool(self._address)

    @property
    def beat_s(self) -> float:
        """How often the watchdog wants to hear from us: a third of its limit, and every second at least."""
        return LONGEST_BEAT_S if self._limit_s is None else min(LONGEST_BEAT_S, self._limit_s / _BEATS_A_LIMIT)

    def ready(self, status: str) -> None:
        """The service works, or works again after :meth:`reloading`."""
        self._told = status
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent when it changed."""
        if text != self._told:
            self._told = text
            self._send(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Keep the watchdog quiet."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The settings are read again; :meth:`ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "stopping") -> None:
        """The service ends in an orderly way."""
        self._told = status
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    @contextmanager
    def more_time(self, while_busy: Callable[[], bool], *, most_s: float) -> Iterator[None]:
        """Ask for longer than the unit allows for starting or stopping, as long as there is a reason.

        For an engine that is being built and cannot be left at once: TensorRT ends a build between two steps only.

        Args:
            while_busy: whether the reason still holds.
            most_s: no more is asked for after this time.
        """
        over = threading.Event()
        thread = threading.Thread(
            target=self._ask_for_time, args=(over, while_busy, most_s), name="more-time", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask_for_time(self, over: threading.Event, while_busy: Callable[[], bool], most_s: float) -> None:
        end_s = time.monotonic() + most_s
        while while_busy() and time.monotonic() < end_s:
            self._send(f"EXTEND_TIMEOUT_USEC={_EXTENSION_S * 1_000_000}")
            if over.wait(_EXTEND_EVERY_S):
                return

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto(message.encode(), address)
        except OSError:
            return  # systemd is gone or does not listen; the service goes on


def _watchdog_limit_s(variables: Mapping[str, str]) -> float | None:
    """The watchdog's limit, when it is meant for this process; see sd_watchdog_enabled(3)."""
    limit, process = variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", "")
    if not limit.isdigit() or int(limit) == 0 or (process and process != str(os.getpid())):
        return None
    return int(limit) / 1e6


def _line(text: str) -> str:
    return " ".join(text.split())
