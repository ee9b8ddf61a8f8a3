"""The agent between the fleet and the updater: how it ends, what it tries again, and whose clock is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.agent import Agent
from edge.identity.enrol import certificate_request
from edge.identity.store import IdentityStore
from edge.transport.fleet_http import ClockDiffersError, EnrolmentAnswer
from edge.update.interface import UpdateCancelled
from mien import topics
from mien.errors import TrustError
from mien.messages import Desired, encode
from mien.release import ReleaseRef
from tests.fakes.fake_device import wait_until
from tests.fakes.fake_fleet import FakeFleet

DAY_S = 86_400


class Quiet:
    """A broker that is away, and a publisher without messages."""

    is_connected = False

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Work:
    """An updater that does what the test says."""

    def __init__(self, cancel: threading.Event) -> None:
        self.engine_is_lost = False
        self.holds: threading.Event | None = None
        self.done: list[str] = []
        self.overtaken: list[str | None] = []
        self.is_asked_to_take_back = False
        self._cancel = cancel

    def recover(self) -> None:
        self.done.append("recover")

    def take_up_again(self) -> bool:
        self.done.append("take_up_again")
        self.engine_is_lost = False
        return True

    def overtake(self, deployment_id: str | None) -> None:
        self.overtaken.append(deployment_id)

    def take_back_if_asked(self) -> None:
        self.is_asked_to_take_back = False
        self.done.append("taken back")

    def handle(self, desired: Desired) -> None:
        self.done.append(str(desired.release))
        if self.holds is not None:
            self._cancel.wait(30)
            self.holds.wait(30)
            self.done.append("left at a step")
            raise UpdateCancelled


class Site:
    """An enrolled device and its fleet; ``answer`` is what the fleet says to a signed question, if not the usual."""

    def __init__(self, folder: Path) -> None:
        self.fleet = FakeFleet(folder, b"{}")
        store = IdentityStore(folder)
        body = {"token": self.fleet.token(), "csr_pem": certificate_request(store.key(), "cam-1"), "device_id": "cam-1"}
        store.save(EnrolmentAnswer.model_validate(self.fleet.enroll(body)[1]), self.fleet.url)
        self.stop = threading.Event()
        self.updater = Work(self.stop)
        self.events: list[tuple[str, dict[str, str]]] = []
        self.agent = Agent(
            identities=store,
            link=Quiet(),  # type: ignore[arg-type]
            publisher=Quiet(),  # type: ignore[arg-type]
            updater=self.updater,  # type: ignore[arg-type]
            twin=lambda: pytest.fail("nobody is connected"),
            boot_id="b",
            session_check_s=3600,
            stop=self.stop,
            tell=lambda kind, _severity, _message, details: self.events.append((kind, dict(details))),
        )

    def want(self, version: str) -> None:
        """Let the fleet want a release."""
        desired = Desired(
            deployment_id=version,
            release=ReleaseRef(name="faces", version=version),
            manifest_sha256="a" * 64,
            issued_at=0,
        )
        self.agent.received(topics.topic("cam-1", topics.DESIRED), encode(desired))


@pytest.fixture
def site(memory_path: Path) -> Iterator[Site]:
    """A device in a fleet."""
    made = Site(memory_path)
    yield made
    made.stop.set()
    made.agent.close()
    made.fleet.close()


def test_the_end_waits_for_an_update_that_is_left_at_its_next_step(site: Site) -> None:
    """Nothing is closed under an engine that is being built: close returns after the step, not before."""
    site.updater.holds = threading.Event()
    site.agent.start()
    site.want("1.0.0")
    wait_until(lambda: "faces@1.0.0" in site.updater.done, what="the update")
    closing = threading.Thread(target=site.agent.close)
    closing.start()
    wait_until(site.stop.is_set, what="the order to stop")
    assert (closing.is_alive(), site.agent.is_updating) == (True, True)
    site.updater.holds.set()
    closing.join(30)
    assert (site.updater.done[-1], site.agent.is_updating) == ("left at a step", False)


def test_the_newest_wish_of_the_fleet_is_carried_out(site: Site) -> None:
    """Of two that came while nothing was done, the older one is passed over."""
    site.want("1.0.0")
    site.want("1.1.0")
    site.agent.start()
    wait_until(lambda: len(site.updater.done) == 2, what="the update")
    assert site.updater.done == ["recover", "faces@1.1.0"]


def test_an_order_that_is_taken_back_is_not_carried_out(site: Site) -> None:
    """The retained order is cleared before it was begun: the updater is told, and does nothing."""
    site.want("1.0.0")
    site.agent.received("mien/v1/cam-1/desired", b"")
    site.agent.start()
    wait_until(lambda: site.updater.done == ["recover"] and not site.agent.is_updating, what="the start")
    assert site.updater.overtaken[-1] is None
    site.updater.is_asked_to_take_back = True
    wait_until(lambda: site.updater.done == ["recover", "taken back"], what="a look at what a person asks")


def test_a_lost_engine_is_tried_again_on_the_updaters_thread(site: Site) -> None:
    """Asked for, it is done once and says nothing to do afterwards; wishes of the fleet are heard besides."""
    site.agent.start()
    wait_until(lambda: site.updater.done == ["recover"] and not site.agent.is_updating, what="the start")
    site.updater.engine_is_lost = True
    assert site.agent.engine_is_lost
    assert not site.agent.take_up_again()
    wait_until(lambda: site.updater.done == ["recover", "take_up_again"], what="the next try")
    assert site.agent.take_up_again()
    site.want("1.0.0")
    wait_until(lambda: site.updater.done[-1] == "faces@1.0.0", what="the update")


def test_clocks_that_differ_end_nothing_and_are_told_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device goes on, says by how much its clock is off, and again only after the clocks agreed meanwhile."""
    with monkeypatch.context() as stepped:
        stepped.setattr("edge.transport.fleet_http.time", SimpleNamespace(time=lambda: time.time() + DAY_S))
        for _ in range(2):
            with pytest.raises(ClockDiffersError):
                site.agent.check_session()
    assert [kind for kind, _ in site.events] == ["clock_differs"]
    assert float(site.events[0][1]["difference_s"]) == pytest.approx(DAY_S, abs=60)
    site.agent.check_session()
    assert (site.agent.error, len(site.events)) == (None, 1)


def test_a_refused_identity_ends_the_agent(site: Site) -> None:
    """A real refusal still is one, with what to do."""
    site.fleet.revoked.add("cam-1")
    with pytest.raises(TrustError, match="does not accept this device") as caught:
        site.agent.check_session()
    assert "mien edge enroll" in caught.value.remedy
    assert site.events == []
