"""What systemd is told, over a real socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from edge.systemd import LONGEST_BEAT_S, Notifier


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    """The other end, at an address in the abstract name space, as systemd's own may be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0mien-test-{os.getpid()}-{threading.get_ident()}")
        end.settimeout(10)
        yield end


@pytest.fixture
def notifier(systemd: socket.socket) -> Notifier:
    """A notifier that systemd listens to."""
    return Notifier("@" + systemd.getsockname().decode()[1:])


def test_each_message_is_one_of_sd_notify(systemd: socket.socket, notifier: Notifier) -> None:
    """Variables and their order; a line break inside a status does not become a variable of its own."""
    notifier.ready("lab-1")
    notifier.alive()
    notifier.status("12 fps\nWATCHDOG=1")
    notifier.stopping()
    heard = [systemd.recv(200).decode() for _ in range(4)]
    assert heard == ["READY=1\nSTATUS=lab-1", "WATCHDOG=1", "STATUS=12 fps WATCHDOG=1", "STOPPING=1\nSTATUS=stopping"]


def test_a_status_that_did_not_change_is_not_sent(systemd: socket.socket, notifier: Notifier) -> None:
    """The journal of a quiet device stays quiet."""
    for text in ("a", "a", "b"):
        notifier.status(text)
    notifier.alive()
    assert [systemd.recv(100) for _ in range(3)] == [b"STATUS=a", b"STATUS=b", b"WATCHDOG=1"]


def test_a_reload_carries_its_time(systemd: socket.socket, notifier: Notifier) -> None:
    """By it an old answer is told from a new one."""
    notifier.reloading()
    first, second = systemd.recv(200).decode().splitlines()
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_more_time_is_asked_for_while_there_is_a_reason(systemd: socket.socket, notifier: Notifier) -> None:
    """At once, and no more once it is over."""
    with notifier.more_time(lambda: True, most_s=60):
        assert systemd.recv(100) == b"EXTEND_TIMEOUT_USEC=30000000"
    with notifier.more_time(lambda: False, most_s=60):
        pass
    notifier.alive()
    assert systemd.recv(100) == b"WATCHDOG=1"
    assert "more-time" not in {thread.name for thread in threading.enumerate()}


def test_more_time_has_an_end(systemd: socket.socket, notifier: Notifier) -> None:
    """A build that hangs is not waited for without limit."""
    with notifier.more_time(lambda: True, most_s=0):
        pass
    notifier.alive()
    assert systemd.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("variables", "beat_s"),
    [
        ({}, LONGEST_BEAT_S),
        ({"WATCHDOG_USEC": "30000000"}, LONGEST_BEAT_S),
        ({"WATCHDOG_USEC": "1500000"}, 0.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, LONGEST_BEAT_S),
        ({"WATCHDOG_USEC": "0"}, LONGEST_BEAT_S),
        ({"WATCHDOG_USEC": "soon"}, LONGEST_BEAT_S),
    ],
)
def test_the_beat_fits_the_watchdog(variables: dict[str, str], beat_s: float) -> None:
    """Three beats within its limit; a limit that is meant for another process does not count."""
    assert Notifier("", environment=variables).beat_s == beat_s


def test_without_systemd_nothing_happens() -> None:
    """No socket, or one that nobody listens to: no error."""
    Notifier("", environment={}).ready("nobody listens")
    Notifier("/nonexistent/socket").alive()
