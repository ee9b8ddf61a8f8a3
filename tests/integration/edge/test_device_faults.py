"""A whole device under faults: ended in the middle of a frame, killed, with an engine or a camera that gives out."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from edge.report import status_of
from mien import topics
from mien.messages import Window, decode
from tests.fakes.fake_fleet import FakeFleet
from tests.fakes.network_camera import NetworkCamera, need_server
from tests.fakes.tuf_repository import TufRepository
from tests.integration.conftest import Broker, free_port
from tests.integration.edge.conftest import Listener
from tests.integration.edge.faulty import (
    FaultyDevice,
    Systemd,
    event,
    events,
    installed,
    last_window,
    run_release,
    until,
    window_after,
)
from tests.integration.edge.telemetry import assert_complete

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MIEN_TEST_KILLS", "50"))
"""Of the whole agent; its telemetry alone is killed as often in test_kills."""
SEED = 20261125
CALM = {"enabled": False}


@pytest.fixture
def camera() -> Iterator[NetworkCamera]:
    """A network camera that is on."""
    need_server()
    made = NetworkCamera(port=free_port())
    made.switch_on()
    yield made
    made.switch_off()


def _spooled_windows(device: FaultyDevice) -> list[Window]:
    with closing(sqlite3.connect(f"file:{device.state / 'spool.sqlite'}?mode=ro", uri=True)) as spool:
        rows = spool.execute("SELECT payload FROM outbox WHERE channel = ?", (topics.WINDOW,)).fetchall()
    return [decode(Window, payload, source="spool") for (payload,) in rows]


@pytest.mark.parametrize("broker_is_there", [True, False], ids=["broker", "no broker"])
def test_an_end_in_the_middle_of_a_frame_is_in_order(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, mosquitto: Broker, broker_is_there: bool
) -> None:
    """SIGTERM while the engine works: code 0, the frame is counted in the last window, which arrives or waits."""
    run_release(faulty, listener, repository)
    before = last_window(listener)
    if not broker_is_there:
        mosquitto.stop()
    faulty.order("slow")
    until(faulty.call.exists, faulty)

    assert faulty.end(signal.SIGTERM) == 0
    assert faulty.said.splitlines()[-1] == "threads: MainThread"
    assert faulty.left() == []
    assert not faulty.call.exists()
    waiting = _spooled_windows(faulty)
    if broker_is_there:
        listener.wait(lambda: listener.status() == "offline", "the offline status")
        assert waiting == []
        last = max(listener.windows(), key=lambda window: window.sequence)
    else:
        mosquitto.start()
        last = waiting[-1]
    assert last.sequence > before
    assert last.frames > 0

    faulty.order("")
    faulty.start()
    window_after(listener, last.sequence, lambda window: window.frames > 0)
    assert faulty.end() == 0
    found = assert_complete(listener)
    assert found.numbers[-1] > last.sequence


def test_an_end_between_two_frames_of_a_slow_camera_is_no_fault(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository
) -> None:
    """One frame in two seconds: the short last window has none, and nobody is told that frames stopped."""
    run_release(faulty, listener, repository)
    assert faulty.end() == 0
    faulty.change(camera={"source": "synthetic://160x120@20", "max_fps": 0.5}, telemetry={"window_s": 3}, limits=CALM)
    before = last_window(listener)
    for _ in range(2):
        faulty.start()
        last = window_after(listener, before, lambda window: window.frames > 0)
        time.sleep(0.4)
        assert faulty.end() == 0
        listener.wait(lambda: listener.status() == "offline", "the offline status")
        before = last_window(listener)
        assert before > last.sequence
    assert events(listener, "frames_stopped") == []


@pytest.mark.timeout(420)
def test_a_device_that_is_killed_comes_back_as_itself(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, fleet: FakeFleet
) -> None:
    """Ten times, in its start or in its work: same identity and slot, no download, every window once and unchanged."""
    chance = random.Random(SEED)
    run_release(faulty, listener, repository)
    who = installed(faulty)
    fleet.requests.clear()
    for kill in range(KILLS):
        time.sleep(chance.uniform(0.0, 2.5 if kill % 2 else 0.6))
        assert faulty.runs()
        faulty.end(signal.SIGKILL)
        assert installed(faulty) == who
        before = {window.boot_id for window in listener.windows()}
        faulty.start()
        if kill % 2:
            window_after(listener, 0, lambda window, known=before: window.boot_id not in known and window.frames > 0)
    listener.wait(lambda: listener.status() == "online", "the device")
    window_after(listener, last_window(listener), lambda window: window.frames > 0)

    twin = listener.twin()
    assert twin is not None
    assert str(twin.active) == "faces@1.0.0"
    assert installed(faulty) == who
    assert not [path for path, _ in fleet.requests if "/targets/" in path]
    assert [report.state.value for report in listener.reports("d-1.0.0")].count("committed") == 1
    assert faulty.end() == 0
    assert _spooled_windows(faulty) == []
    assert_complete(listener)


@pytest.mark.parametrize(
    ("how", "because"), [("raise", "an illegal memory access"), ("nan", "NaN or infinity")], ids=["raises", "NaN"]
)
def test_an_engine_that_fails_is_told_and_opened_anew(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, how: str, because: str
) -> None:
    """Nothing is reported of frames that failed; what the engine said is told once; it answers again, and frames flow."""
    faulty.change(engine={"reopen_after_errors": 3}, limits=CALM)
    run_release(faulty, listener, repository)

    faulty.order(how)
    told = event(listener, "engine_failing")
    until(lambda: "the engine was opened anew" in faulty.said, faulty)
    silent = window_after(listener, last_window(listener) + 1, lambda _: True)
    faulty.order("")
    event(listener, "engine_back")
    window_after(listener, silent.sequence, lambda window: window.frames > 0 and window.detections > 0)

    assert told.severity == "error"
    assert because in told.message
    assert (silent.frames, silent.detections, silent.confidence_mean) == (0, 0, None)
    assert [told.kind for told in events(listener, "engine_failing", "engine_back")] == [
        "engine_failing",
        "engine_back",
    ]
    assert faulty.end() == 0
    assert faulty.said.splitlines()[-1] == "threads: MainThread"


def test_an_engine_that_cannot_be_opened_anew_is_tried_until_it_can(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository
) -> None:
    """Failing on frames and then not to be opened either: the agent stays, tries again, and in the end frames flow."""
    faulty.change(engine={"reopen_after_errors": 3}, limits=CALM)
    run_release(faulty, listener, repository)

    faulty.order("shut")
    event(listener, "engine_failing")
    until(lambda: "the engine could not be opened anew" in faulty.said, faulty)
    faulty.order("")
    event(listener, "engine_back")
    window_after(listener, last_window(listener), lambda window: window.frames > 0)

    assert len(events(listener, "engine_failing")) == 1
    assert faulty.end() == 0


def test_an_engine_that_cannot_be_opened_at_the_start_costs_no_release(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository
) -> None:
    """A GPU that is not ready at boot: told once, tried again, and then the same release runs; nothing is condemned."""
    faulty.change(limits=CALM)
    run_release(faulty, listener, repository)
    assert faulty.end() == 0

    faulty.order("shut")
    before = last_window(listener)
    faulty.start()
    event(listener, "engine_unusable")
    event(listener, "engine_failing")
    assert faulty.runs()
    faulty.order("")
    window_after(listener, before, lambda window: window.frames > 0)

    event(listener, "engine_back")
    found = status_of(faulty.state)
    assert found["active"]["release"] == "faces@1.0.0"
    assert found["known_bad"] == []
    assert len(events(listener, "engine_unusable")) == 1
    assert faulty.end() == 0


def test_an_engine_that_hangs_starves_the_watchdog_until_it_answers(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, notified: Systemd
) -> None:
    """A call that does not return is told, and beyond patience systemd hears nothing; then all goes on by itself."""
    faulty.change(engine={"stalled_after_s": 1.0}, limits=CALM)
    run_release(faulty, listener, repository)
    until(lambda: notified.after("WATCHDOG=1"), faulty)

    faulty.order("hang")
    event(listener, "engine_stalled")
    until(lambda: notified.after("the engine has not answered"), faulty)
    count = len(notified.messages)
    until(lambda: len(notified.messages) >= count + 3, faulty)
    starved = notified.after("the engine has not answered")
    assert not [message for message in starved if "WATCHDOG=1" in message]
    faulty.order("")
    event(listener, "engine_back")
    window_after(listener, last_window(listener), lambda window: window.frames > 0)
    until(lambda: "WATCHDOG=1" in notified.after("the engine has not answered"), faulty)

    assert [told.kind for told in events(listener, "engine_stalled", "engine_back", "engine_failing")] == [
        "engine_stalled",
        "engine_back",
    ]
    assert "the engine was opened anew" not in faulty.said
    assert faulty.end() == 0
    assert faulty.said.splitlines()[-1] == "threads: MainThread"


def test_a_device_whose_engine_hangs_can_be_ended(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository
) -> None:
    """SIGTERM during a call that never returns: it is given up after a while, code 0, and all windows and offline come."""
    faulty.change(limits=CALM)
    run_release(faulty, listener, repository)
    faulty.order("hang")
    window_after(listener, last_window(listener), lambda window: window.frames == 0)

    assert faulty.process is not None
    faulty.process.send_signal(signal.SIGTERM)
    assert faulty.process.wait(timeout=120) == 0
    listener.wait(lambda: listener.status() == "offline", "the offline status")
    assert _spooled_windows(faulty) == []
    assert_complete(listener)
    assert faulty.left() == []


def test_a_camera_that_goes_and_returns_is_told_and_costs_its_neighbour_nothing(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, camera: NetworkCamera
) -> None:
    """Two cameras, one killed: the other's frames go on all the time, and loss and return reach the fleet by name."""
    door = {"name": "door", "source": camera.url, "read_timeout_s": 1.0}
    yard = {"name": "yard", "source": "synthetic://160x120@20"}
    faulty.change(camera=None, cameras=[door, yard], limits=CALM)
    run_release(faulty, listener, repository)
    window_after(listener, 0, lambda window: window.cameras.get("door", 0) > 0 and window.cameras.get("yard", 0) > 0)

    camera.switch_off()
    lost = event(listener, "camera_lost")
    alone = window_after(listener, last_window(listener) + 1, lambda window: window.cameras.get("yard", 0) > 0)
    camera.switch_on()
    back = event(listener, "camera_back")
    both = window_after(listener, alone.sequence, lambda window: window.cameras.get("door", 0) > 0)

    assert "door" in lost.message
    assert "door" in back.message
    assert alone.cameras.get("door", 0) == 0
    between = [w for w in listener.windows() if alone.sequence <= w.sequence <= both.sequence]
    assert all(window.cameras.get("yard", 0) > 0 for window in between)
    assert len({window.boot_id for window in listener.windows()}) == 1
    assert [told.kind for told in events(listener) if told.kind.startswith("camera")] == ["camera_lost", "camera_back"]
    assert faulty.end() == 0


def test_a_device_whose_only_camera_is_away_stays_up_and_says_so(
    faulty: FaultyDevice, listener: Listener, repository: TufRepository, camera: NetworkCamera, notified: Systemd
) -> None:
    """Killed and back under the agent: events, watchdog fed all along, and frames again from the same process."""
    faulty.change(camera={"source": camera.url, "read_timeout_s": 1.0}, limits=CALM)
    run_release(faulty, listener, repository)

    camera.switch_off()
    event(listener, "camera_lost")
    until(lambda: "WATCHDOG=1" in notified.after("the camera is away"), faulty)
    camera.switch_on()
    event(listener, "camera_back")
    window_after(listener, last_window(listener), lambda window: window.frames > 0)

    assert len({window.boot_id for window in listener.windows()}) == 1
    assert faulty.end() == 0
