"""The broker and the disk failing under a real telemetry process: what waits, what is told, and what arrives."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mien import topics
from mien.messages import Event, decode
from tests.integration.conftest import Broker, free_port
from tests.integration.edge.conftest import Listener
from tests.integration.edge.telemetry import Tap, TelemetryProcess, arrived, assert_complete

pytestmark = pytest.mark.slow

AS_ROOT = "user root\n" if os.geteuid() == 0 else ""
"""As root the broker would become a user who may not read the test's folder."""


@pytest.fixture
def listen() -> Iterator[Callable[[Broker], Listener]]:
    """Makes listeners; closes them after the test."""
    made: list[Listener] = []

    def make(broker: Broker) -> Listener:
        made.append(Tap(broker.port))
        return made[-1]

    yield make
    for listener in made:
        listener.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Callable[..., TelemetryProcess]]:
    """Starts telemetry processes; ends them after the test."""
    made: list[TelemetryProcess] = []

    def start(broker: Broker, *, before: tuple[str, ...] = (), **settings: object) -> TelemetryProcess:
        made.append(TelemetryProcess(tmp_path, {"port": broker.port, **settings}, before=before))
        made[-1].start()
        made[-1].wait_for("started")
        return made[-1]

    yield start
    for process in made:
        if process.process is not None:
            process.kill()


def _events(listener: Listener, kind: str) -> list[Event]:
    found = [decode(Event, payload, source="device") for payload in listener.of(topics.EVENT)]
    return [event for event in found if event.kind == kind]


def test_a_broker_that_is_dead_at_the_start_is_found_later(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """Windows from before the first connection arrive, and a process without a broker ends in order, at once."""
    broker = start_mosquitto()
    broker.stop()
    alone = device(broker, window_s=0.05)
    alone.wait_for("started")
    told = alone.end()
    assert told["waiting"] >= 1

    process = device(broker, window_s=0.05)
    time.sleep(1.0)
    broker.start()
    heard = listen(broker)
    heard.wait(lambda: len(heard.windows()) > 20, "windows from before the connection")
    process.end()
    assert_complete(heard)


def test_a_broker_that_is_killed_in_mid_stream_loses_no_window(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """Killed without notice, five times, while windows flow: every number arrives."""
    broker = start_mosquitto()
    heard = listen(broker)
    process = device(broker, window_s=0.05)
    for _ in range(5):
        count = len(heard.windows())
        heard.wait(lambda least=count + 5: len(heard.windows()) > least, "windows between two kills")
        assert broker.process is not None
        broker.process.kill()
        broker.process.wait(10)
        broker.start()
    heard.wait(lambda least=len(heard.windows()) + 5: len(heard.windows()) > least, "windows after the last kill")
    process.end()
    assert_complete(heard)


def test_a_flapping_broker_is_borne(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """Up for a moment and gone again, eight times: windows get through, and in the end all of them have."""
    broker = start_mosquitto()
    heard = listen(broker)
    process = device(broker, window_s=0.05)
    for turn in range(8):
        time.sleep(0.4 + 0.1 * turn)
        broker.stop()
        time.sleep(0.3)
        broker.start()
    heard.wait(lambda least=len(heard.windows()) + 10: len(heard.windows()) > least, "windows after the flapping")
    process.end()
    assert_complete(heard)


def test_a_broker_that_refuses_the_device_gets_everything_later(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """A password that the broker does not know: refused, told, tried again; once it is let in, nothing is missing."""
    broker = start_mosquitto()
    passwords = broker.folder / "passwords"
    passwords.write_text("")
    open_config = (broker.folder / "mosquitto.conf").read_text()
    broker.stop()
    closed = open_config.replace("allow_anonymous true", f"allow_anonymous false\n{AS_ROOT}password_file {passwords}")
    (broker.folder / "mosquitto.conf").write_text(closed)
    broker.start()
    process = device(broker, window_s=0.05, username="lab-abc123", password="wrong")
    process.wait_for("refused 2")
    assert "connected" not in process.log.read_text()

    broker.stop()
    (broker.folder / "mosquitto.conf").write_text(open_config)
    broker.start()
    heard = listen(broker)
    heard.wait(lambda: len(heard.windows()) > 10, "windows once the device is let in")
    process.end()
    assert_complete(heard)


def test_a_topic_that_is_forbidden_waits_until_it_is_allowed(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """An access list without the windows' topic: the broker denies each, none is forgotten, and all come later."""
    broker = start_mosquitto()
    rules = broker.folder / "rules"
    rules.write_text("topic read mien/v1/#\ntopic write mien/v1/+/e\n")
    rules.chmod(0o644)
    config = (broker.folder / "mosquitto.conf").read_text()
    broker.stop()
    (broker.folder / "mosquitto.conf").write_text(f"{config}{AS_ROOT}acl_file {rules}\n")
    broker.start()
    heard = listen(broker)
    process = device(broker, window_s=0.05)
    process.wait_for("did not reach the fleet")
    assert heard.windows() == []

    broker.stop()
    (broker.folder / "mosquitto.conf").write_text(config)
    broker.start()
    heard.wait(lambda: len(heard.windows()) > 10, "windows once they are allowed")
    process.end()
    assert_complete(heard)


def test_live_windows_pass_the_backlog(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """After an outage, a window of now arrives while older ones are still coming, and those come in order."""
    broker = start_mosquitto()
    broker.stop()
    process = device(broker, window_s=0.01, catch_up_per_s=50, flush_s=20.0)
    time.sleep(3.0)
    broker.start()
    heard = listen(broker)

    def passed() -> bool:
        numbers = [window.sequence for window in heard.windows()]
        return any(later < earlier for earlier, later in pairwise(numbers))

    heard.wait(passed, "a live window among the backlog")
    assert not set(range(1, max(arrived(heard).numbers))) <= set(arrived(heard).numbers)
    process.end()
    assert_complete(heard, timeout_s=120)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting a small disk needs root")
def test_a_full_disk_stops_nothing(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
    tmp_path: Path,
) -> None:
    """A real file system without a free block, while the broker is away and then back: nothing is lost, it is told."""
    broker = start_mosquitto()
    broker.stop()
    disk = tmp_path / "disk"
    disk.mkdir()
    go, full = tmp_path / "go", tmp_path / "full"
    script = (
        f'mount -t tmpfs -o size=2m none {disk} || exit 1; "$@" & child=$!; trap "kill -TERM $child" TERM; '
        f"while [ ! -e {full} ]; do sleep 0.05; done; "
        f"dd if=/dev/zero of={disk}/ballast bs=4k 2>/dev/null; df {disk}; echo filled; "
        f"while [ ! -e {go} ]; do sleep 0.05; done; rm {disk}/ballast; echo freed; "
        "while kill -0 $child 2>/dev/null; do wait $child; status=$?; done; exit $status"
    )
    process = device(
        broker,
        before=("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"),
        spool=str(disk / "spool.sqlite"),
        window_s=0.02,
    )
    time.sleep(0.5)
    full.touch()
    process.wait_for("filled")
    process.wait_for("the disk refuses telemetry")
    broker.start()
    heard = listen(broker)
    heard.wait(lambda: _events(heard, "spool_refused"), "the event of the full disk")
    heard.wait(lambda least=len(heard.windows()) + 20: len(heard.windows()) > least, "windows past a full disk")
    go.touch()
    process.wait_for("freed")
    heard.wait(lambda least=len(heard.windows()) + 20: len(heard.windows()) > least, "windows after it")
    told = process.end()
    assert len(_events(heard, "spool_refused")) == 1
    assert told["waiting"] == 0
    assert told["lost"] == {"window": 0, "event": 0, "update": 0}
    assert_complete(heard)


def test_a_spool_damaged_between_two_runs_is_told_and_saved(
    start_mosquitto: Callable[..., Broker],
    listen: Callable[[Broker], Listener],
    device: Callable[..., TelemetryProcess],
) -> None:
    """The header is overwritten while the process is down: all windows arrive all the same, and an event says why."""
    broker = start_mosquitto()
    broker.stop()
    process = device(broker, window_s=0.02)
    time.sleep(1.0)
    process.end()
    with process.spool.open("r+b") as stream:
        stream.write(b"\xa5" * 100)

    process.start()
    process.wait_for("started", times=2)
    broker.start()
    heard = listen(broker)
    (event,) = heard.wait(lambda: _events(heard, "spool_damaged"), "the event of the damage")
    assert event.details["salvaged"] > 10
    process.end()
    assert_complete(heard)


def test_a_process_without_a_network_ends_in_order(tmp_path: Path) -> None:
    """Nobody listens at the port: the end is quick all the same and leaves no thread."""
    process = TelemetryProcess(tmp_path, {"port": free_port(), "window_s": 0.05})
    process.start()
    process.wait_for("started")
    time.sleep(0.5)
    assert process.end()["waiting"] > 0
