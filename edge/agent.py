"""The agent: between the fleet's messages and what runs on the device.

Decides nothing about releases (that is the updater's) and nothing about frames (the pipeline's): it carries desired
states in, and reports, events, windows, status and twin out.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from edge.identity.renewal import renew_if_due
from edge.identity.store import Identity, IdentityStore
from edge.telemetry.publisher import Publisher
from edge.telemetry.spool import Spool
from edge.transport.fleet_http import ClockDiffersError, FleetHttp
from edge.transport.interface import MessageLink
from edge.update.interface import UpdateCancelled
from edge.update.updater import Updater
from mien import __version__, topics
from mien.errors import DataError, MienError, TrustError
from mien.messages import Command, Desired, Event, Message, Status, Twin, UpdateReport, decode, encode

_log = logging.getLogger(__name__)

_REFUSALS_BEFORE_ASKING = 3
LONGEST_GOODBYE_S = 300.0
"""An update under way is left at its next step; an engine that is being built takes its time to get there."""
_LONGEST_ANSWER_S = 30.0
_LOOK_S = 1.0
"""So often the updater looks whether a person at the device asks for the release before."""

Severity = Literal["info", "warning", "error"]


def status_message(state: Literal["online", "offline"], boot_id: str) -> Status:
    """The status; its offline form is also the last will."""
    return Status(state=state, boot_id=boot_id, agent_version=__version__, at=time.time())


class Outbox:
    """Puts what the device has to say into the spool; the way of reports and events to the fleet.

    Args:
        spool: where it waits for the broker.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.on_put: Callable[[], None] = lambda: None
        """Told that something new waits."""
        self.on_event: Callable[[Event], None] = lambda _: None
        """Told of each event."""
        self.last_report: UpdateReport | None = None
        """How the last update since the start of this agent stands."""

    def report(self, report: UpdateReport) -> None:
        """Hand over the progress of an update."""
        _log.info(
            "update %s to %s: %s%s%s",
            report.deployment_id,
            report.release,
            report.state.value,
            f" {report.percent:.0f} %" if report.percent is not None else "",
            f" ({report.error_code}: {report.message})" if report.error_code else "",
        )
        self.last_report = report
        self._put(topics.UPDATE, report)

    def event(self, kind: str, severity: str, message: str, details: Sequence[tuple[str, str]] = ()) -> None:
        """Hand over something a person may want to know."""
        level: Severity = "error" if severity == "error" else "warning" if severity == "warning" else "info"
        event = Event(
            event_id=uuid.uuid4().hex,
            at=time.time(),
            kind=kind,
            severity=level,
            message=message[:500],
            details=dict(details),
        )
        self._put(topics.EVENT, event)
        self.on_event(event)

    def _put(self, channel: str, message: Message) -> None:
        self._spool.put(channel, encode(message))
        self.on_put()


class Agent:
    """Ties a device to its fleet.

    Args:
        identities: where the identity is kept.
        link: the broker.
        publisher: empties the spool.
        updater: works off deployments.
        twin: what the device is and runs, now.
        boot_id: of this run.
        session_check_s: how often to ask whether the identity is still accepted.
        stop: set when the agent shall end, by it or by others.
        tell: takes an event: kind, severity, message, details.
    """

    def __init__(  # noqa: PLR0913 - what it ties together
        self,
        *,
        identities: IdentityStore,
        link: MessageLink,
        publisher: Publisher,
        updater: Updater,
        twin: Callable[[], Twin],
        boot_id: str,
        session_check_s: float,
        stop: threading.Event,
        tell: Callable[[str, str, str, Sequence[tuple[str, str]]], None],
    ) -> None:
        self._identities = identities
        self._identity: Identity = identities.load()
        self._link = link
        self._publisher = publisher
        self._updater = updater
        self._twin = twin
        self._boot_id = boot_id
        self._session_check_s = session_check_s
        self._stop = stop
        self._tell = tell
        self._told_of_clock = False
        self._desired: deque[Desired] = deque(maxlen=1)
        self._again = threading.Event()
        self._something_to_do = threading.Event()
        self._ask_now = threading.Event()
        self._updating = threading.Thread(target=self._update, name="updater", daemon=True)
        self._asking = threading.Thread(target=self._watch_session, name="session", daemon=True)
        self.error: MienError | None = None
        """Why the agent ended, when it had to."""
        self.is_updating = False
        """Whether the updater works on a deployment, or finishes one that an earlier run left."""

    @property
    def device_id(self) -> str:
        """Who this device is."""
        return self._identity.device_id

    @property
    def engine_is_lost(self) -> bool:
        """Whether a release is active and does not run, since its engine could not be opened: no 'waiting for one'."""
        return self._updater.engine_is_lost

    @property
    def is_waiting_for_cameras(self) -> bool:
        """Whether an update's probe waits for cameras: nothing is measured, so the limits may be kept meanwhile."""
        return self._updater.is_waiting

    def check_session(self) -> None:
        """Ask the fleet once whether this identity is accepted; renew what is due, and take a new broker address.

        Raises:
            TrustError: it is not.
            UnavailableError: the fleet does not answer, or the clocks differ; the device works on without it.
        """
        with FleetHttp(self._identity.fleet_url, ca_pem=self._identity.pinned_ca) as fleet:
            try:
                renewed = renew_if_due(fleet, self._identity, self._identities, now=time.time())
                answer = fleet.session(self._identity.key, self.device_id)
            except ClockDiffersError as error:
                self._tell_of_clock(error)
                raise
            except TrustError as error:
                raise self._not_accepted(error) from error
        self._told_of_clock = False
        if renewed is not None:
            self._identity = renewed
            self._link.readdress(renewed.mqtt.address())
        if answer.mqtt is not None and answer.mqtt != self._identity.mqtt:
            self._identity = self._identities.save_broker(answer.mqtt)
            self._link.readdress(answer.mqtt.address())
        if answer.registry is not None and self._identities.save_registry(answer.registry):
            _log.info("signed releases are at %s from the next start on", answer.registry.targets_url)

    def start(self) -> None:
        """Connect and begin; the updater first finishes what an earlier run left."""
        self._publisher.start()
        self._link.start(self)
        self._updating.start()
        self._asking.start()

    def take_up_again(self) -> bool:
        """Have the active release tried again, whose engine could not be opened; from any thread, returns at once.

        The updater's own thread does it, since an engine may have to be built. To be called with growing pauses while
        :attr:`engine_is_lost`.

        Returns:
            Whether there is nothing to do, since the engine is not lost.
        """
        if not self.engine_is_lost:
            return True
        if not self.is_updating:
            self._again.set()
            self._something_to_do.set()
        return False

    def close(self) -> None:
        """Say goodbye and end all threads. An update under way is left at its next step and goes on at the next start.

        What it works with is closed after this, so it is waited for, though no longer than five minutes.
        """
        self._stop.set()
        self._ask_now.set()
        self._something_to_do.set()
        for thread, most_s in ((self._updating, LONGEST_GOODBYE_S), (self._asking, _LONGEST_ANSWER_S)):
            if thread.is_alive():
                thread.join(timeout=most_s)
        if self._updating.is_alive():
            _log.error("the update did not come to its next step within %g s and is left behind", LONGEST_GOODBYE_S)
        self._publisher.flush(2.0)
        if self._link.is_connected:
            ticket = self._link.publish(
                self._topic(topics.STATUS), encode(status_message("offline", self._boot_id)), retain=True
            )
            _log.debug("offline status sent as %d", ticket)
        self._publisher.close()
        self._link.close()

    def connected(self) -> None:
        """The broker accepted us: say who is here, ask for what is wanted."""
        _log.info("connected to the broker as %s", self.device_id)
        self._link.publish(self._topic(topics.STATUS), encode(status_message("online", self._boot_id)), retain=True)
        self.publish_twin()
        self._link.subscribe(self._topic(topics.DESIRED))
        self._link.subscribe(self._topic(topics.COMMAND, "#"))
        self._publisher.wake()

    def publish_twin(self) -> None:
        """Tell the fleet what this device is and runs, if it can be told now; it is told at each connection anyway."""
        if self._link.is_connected:
            self._link.publish(self._topic(topics.TWIN), encode(self._twin()), retain=True)

    def received(self, topic: str, payload: bytes) -> None:
        """A message from the fleet; one that cannot be read is logged and changes nothing."""
        address = topics.parse(topic)
        if address is None or address.device_id != self.device_id:
            return
        try:
            if address.channel == topics.DESIRED:
                self._told(decode(Desired, payload, source=topic) if payload else None)
            elif not payload:
                return
            elif address.channel == topics.COMMAND:
                self._command(topic, decode(Command, payload, source=topic))
        except DataError as error:
            _log.warning("a message was not understood and is passed over: %s", error)

    def acknowledged(self, ticket: int, *, accepted: bool) -> None:
        """The broker has a publication, or refuses it."""
        self._publisher.acknowledged(ticket, accepted=accepted)

    def refused(self, times: int, reason: str) -> None:
        """The broker refuses us; after a few times, ask the fleet why."""
        _log.warning("the broker refused the connection, %d times now (%s)", times, reason)
        if times % _REFUSALS_BEFORE_ASKING == 0:
            self._ask_now.set()

    def _told(self, desired: Desired | None) -> None:
        """What the fleet wants from now on; nothing, when it takes its order back."""
        self._desired.clear()
        if desired is not None:
            self._desired.append(desired)
        self._updater.overtake(desired.deployment_id if desired is not None else None)
        self._something_to_do.set()

    def _not_accepted(self, error: TrustError) -> TrustError:
        return TrustError(
            f"the fleet does not accept this device ({self.device_id}) any more",
            found=error.found,
            wanted=error.wanted,
            remedy=f"ask the fleet's operator; to enrol anew, remove {self._identities.folder} and "
            "run 'mien edge enroll'",
        )

    def _tell_of_clock(self, error: ClockDiffersError) -> None:
        """Once, until the clocks agree again."""
        if self._told_of_clock:
            return
        self._told_of_clock = True
        by = () if error.difference_s is None else (("difference_s", f"{error.difference_s:.0f}"),)
        self._tell("clock_differs", "warning", f"{error.what}: {error.found}", by)

    def _topic(self, channel: str, *rest: str) -> str:
        return topics.topic(self.device_id, channel, *rest)

    def _command(self, topic: str, command: Command) -> None:
        if command.state != "init":
            return
        if command.op == "diagnostics":
            answer = command.model_copy(
                update={"state": "successful", "result": {"threads": str(threading.active_count())}}
            )
        else:
            answer = command.model_copy(update={"state": "failed", "reason": f"{command.op} is not offered here"})
        self._link.publish(topic, encode(answer), retain=True)

    def _update(self) -> None:
        """Supervisor of the updater: a fault of ours is logged and the device goes on with what runs."""
        with suppress(UpdateCancelled):
            self._supervised(self._updater.recover)
            while not self._stop.is_set():
                self._something_to_do.wait(_LOOK_S)
                self._something_to_do.clear()
                self._do_what_there_is()

    def _do_what_there_is(self) -> None:
        if self._again.is_set() and not self._stop.is_set():
            self._again.clear()
            self._supervised(self._updater.take_up_again)
        wanted = self._next_wish()
        if wanted is not None and not self._stop.is_set():
            self._supervised(lambda: self._updater.handle(wanted))
        if self._updater.is_asked_to_take_back and not self._stop.is_set():
            self._supervised(self._updater.take_back_if_asked)

    def _next_wish(self) -> Desired | None:
        try:
            return self._desired.popleft()
        except IndexError:
            return None

    def _supervised(self, work: Callable[[], object]) -> None:
        self.is_updating = True
        try:
            work()
        except UpdateCancelled:
            raise
        except Exception:  # noqa: BLE001 - a supervisor: whatever happens, frames keep running
            _log.exception("the updater failed; the device goes on with what runs")
        finally:
            self.is_updating = False

    def _watch_session(self) -> None:
        while not self._stop.is_set():
            self._ask_now.wait(self._session_check_s)
            self._ask_now.clear()
            if self._stop.is_set():
                return
            try:
                self.check_session()
            except TrustError as error:
                self.error = error
                self._stop.set()
            except (MienError, OSError) as error:
                _log.info("the fleet was not asked: %s", error)
