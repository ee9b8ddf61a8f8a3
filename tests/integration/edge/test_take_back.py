"""``mien edge rollback`` on a real disk, with and without an agent, as owner, root and somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.process import only_agent
from edge.report import status_of
from edge.take_back import take_back
from edge.telemetry.spool import Spool
from mien import topics
from mien.errors import BundleError, UnavailableError
from mien.messages import Event, UpdateReport, decode
from tests.fakes.update_world import World
from tests.integration.edge.conftest import ROOT

NOBODY = 65534


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A device's disk: 1.1.0 is active, 1.0.0 stands in the other slot."""
    made = World(tmp_path / "state")
    made.deploy("1.0.0")
    made.deploy("1.1.0")
    return made


AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from edge.take_back import take_back
from mien.errors import TrustError
os.seteuid(65534)
try:
    take_back(Path(sys.argv[1]))
except TrustError as error:
    sys.exit(str(error))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def waiting(state: Path) -> list[tuple[str, bytes]]:
    """What the fleet will be told when it is reached."""
    spool = Spool(state / "spool.sqlite")
    found = [(item.channel, item.payload) for item in spool.waiting(most=50)]
    spool.close()
    return found


def test_without_an_agent_the_next_start_runs_the_older_release(world: World) -> None:
    """Links and journal are changed, and report and event wait for the fleet."""
    done = take_back(world.folder, reason="too dark")
    assert (done.was, done.runs, done.by_agent) == ("faces@1.1.0", "faces@1.0.0", False)
    world.device.running = None
    world.updater().recover()
    assert world.device.running == "1.0.0"
    told = waiting(world.folder)
    reports = [decode(UpdateReport, payload, source="spool") for kind, payload in told if kind == topics.UPDATE]
    events = [decode(Event, payload, source="spool") for kind, payload in told if kind == topics.EVENT]
    assert [(report.state.value, report.error_code) for report in reports][-1] == ("rolled_back", "by_hand")
    assert reports[-1].deployment_id == "d2"
    assert [event.kind for event in events] == ["rolled_back"]
    assert "too dark" in events[0].message


def test_a_running_agent_is_asked_and_waited_for(world: World) -> None:
    """It does it on its own thread, between two frames."""
    updater, done = world.updater(), threading.Event()

    def agent() -> None:
        with only_agent(world.folder):
            started.set()
            while not done.wait(0.02):
                updater.take_back_if_asked()

    started = threading.Event()
    thread = threading.Thread(target=agent)
    thread.start()
    started.wait(10)
    found = take_back(world.folder, wait_s=20)
    done.set()
    thread.join()
    assert (found.by_agent, world.device.running, world.active()) == (True, "1.0.0", "1.0.0")


def test_an_agent_that_is_busy_is_not_waited_for_for_ever(world: World) -> None:
    """The request stays, and is met when the step under way ends."""
    with only_agent(world.folder), pytest.raises(UnavailableError, match="did not come to it"):
        take_back(world.folder, wait_s=0.3)
    world.updater().take_back_if_asked()
    assert world.active() == "1.0.0"


def test_an_update_that_ended_meanwhile_is_not_called_taken_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent switched to 1.2.0 and ended while it was asked: the person hears that nothing was done."""

    @contextmanager
    def just_ended(_: Path) -> Iterator[None]:
        world.deploy("1.2.0")
        yield

    monkeypatch.setattr("edge.take_back.only_agent", just_ended)
    monkeypatch.setattr("edge.update.by_hand.Requests.waits", lambda _: False)
    with pytest.raises(UnavailableError):
        take_back(world.folder)
    assert world.active() == "1.2.0"


def test_without_a_release_to_return_to_nothing_changes(world: World) -> None:
    """Twice in a row cannot be: the older release has none behind it."""
    take_back(world.folder)
    with pytest.raises(BundleError, match="no release stands in the other slot"):
        take_back(world.folder)
    assert world.active() == "1.0.0"


@pytest.mark.parametrize(("left_in", "end"), [("build", "failed"), ("watch", "rolled_back")])
def test_an_update_that_an_agent_left_behind_is_ended_with_it(world: World, left_in: str, end: str) -> None:
    """The agent died in an update and does not run: its deployment ends too, and nothing is begun again."""
    world.device.dies_in = left_in
    before = world.active()
    third = world.desired("1.2.0", world.source.add("1.2.0"))
    with pytest.raises(BaseException, match=left_in):
        world.updater().handle(third)
    world.device.dies_in = None
    if left_in == "build":
        with pytest.raises(BundleError):
            take_back(world.folder)  # its slot was being filled: there is nothing to return to
        return
    take_back(world.folder)
    updater = world.updater()
    updater.recover()
    updater.handle(third)
    assert (world.active(), world.device.running) == (before, before)
    assert status_of(world.folder)["update"]["state"] == end


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
def test_root_writes_as_the_owner_and_nobody_else_may(world: World) -> None:
    """Another user is refused; all that root leaves behind belongs to the agent's user."""
    for path in world.folder.parents[:3]:
        path.chmod(path.stat().st_mode | 0o055)
    refused = run("-c", AS_SOMEBODY_ELSE, str(world.folder))
    assert "only the owner" in refused.stderr
    assert world.active() == "1.1.0"
    for path in (world.folder, *world.folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    done = run("-m", "mien", "edge", "rollback", "--state", str(world.folder), "--reason", "too dark", "--json")
    assert done.returncode == 0, done.stderr
    assert world.active() == "1.0.0"
    assert {path.lstat().st_uid for path in world.folder.rglob("*")} == {NOBODY}
