"""One simulated device: what it says, in which order, and what becomes of an update. Pure but for what it remembers.

The states and their order are those of :mod:`mien.lifecycle`, the messages those of :mod:`mien.messages`; a twin comes
before the report that ends an update, as from the real agent. Whether a release fails on this device depends on the
seed, the device and the release alone, so that a run that is disturbed ends like one that is not.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from fleet.simulator.chance import Chance
from fleet.simulator.figures import Figures
from fleet.simulator.interface import Answer, Check, Checked, Say
from fleet.simulator.profile import STEPS, FailsIn, HardwareProfile, SimulationProfile, SiteProfile
from mien import topics
from mien.errors import DataError
from mien.lifecycle import TERMINAL, UpdateEvent, UpdateState, advance
from mien.messages import Desired, Event, Message, ProbeResult, Status, Twin, UpdateReport, decode, encode
from mien.release import ReleaseRef

AGENT_VERSION = "simulated"
_S, _E = UpdateState, UpdateEvent
_NEXT = {
    _S.DOWNLOADING: _E.DOWNLOADED,
    _S.VERIFYING: _E.VERIFIED,
    _S.BUILDING: _E.BUILT,
    _S.INSTALLING: _E.SWITCHED,
    _S.PROBING: _E.PROBE_PASSED,
    _S.ROLLING_BACK: _E.RESTORED,
}
_CODES: dict[FailsIn, tuple[str, str]] = {
    "downloading": ("network", "the download did not end"),
    "verifying": ("hash_mismatch", "bytes are not those that were signed"),
    "building": ("build_failed", "the engine could not be built"),
    "installing": ("no_space", "too little room on the disk"),
    "probing": ("probe_failed", "reference agreement 0.41, at least 0.95 wanted"),
}
_RESTORE_S = 0.2
_BEFORE_SWITCH = frozenset({_S.DOWNLOADING, _S.VERIFYING, _S.BUILDING})


@dataclass(slots=True)
class _Update:
    desired: Desired
    fails_in: FailsIn | None
    state: UpdateState = UpdateState.IDLE
    code: str | None = None
    message: str | None = None
    sequence: int = 0
    waits_for_check: bool = False


@dataclass(slots=True)
class Memory:
    """What a device keeps over restarts of the simulation."""

    release: str | None = None
    fallback: str | None = None
    known_bad: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    """The last deployments, with their ends."""
    boots: int = 0


class VirtualDevice:
    """A device.

    Args:
        device_id: its name.
        profile: of the simulation.
        hardware: its board.
        site: where it is.
        seed: of the simulation.
        memory: what it kept.
        pace: a factor on the time of its steps.
        verifies: whether it has releases checked.
    """

    def __init__(
        self,
        device_id: str,
        profile: SimulationProfile,
        hardware: HardwareProfile,
        site: SiteProfile,
        *,
        seed: int,
        memory: Memory,
        pace: Callable[[], float] = lambda: 1.0,
        verifies: bool = False,
    ) -> None:
        self.id, self.site, self.hardware, self.memory, self.verifies = device_id, site, hardware, memory, verifies
        self._profile, self._pace = profile, pace
        self._chance = Chance(seed, device_id)
        self._figures = Figures(hardware, profile.releases, self._chance, noise=profile.noise)
        self._update: _Update | None = None
        self._waiting: Desired | None = None
        self._due: list[tuple[float, int, Literal["window", "step"]]] = []
        self._sequence = 0
        memory.boots += 1
        self._boot = f"{Chance(seed).share(device_id, memory.boots):.18f}"[2:]

    @property
    def due(self) -> float | None:
        """When to call :meth:`proceed`, on the loop's clock."""
        return self._due[0][0] if self._due else None

    @property
    def state(self) -> UpdateState:
        """Where its update stands."""
        return self._update.state if self._update else _S.IDLE

    @property
    def will(self) -> bytes:
        """What the broker says for it when it vanishes."""
        return encode(Status(state="offline", boot_id=self._boot, agent_version=AGENT_VERSION, at=0.0))

    def greet(self, now: float, at: float) -> Answer:
        """It is connected: say who it is.

        Args:
            now: on the loop's clock.
            at: Unix seconds.
        """
        status = Status(state="online", boot_id=self._boot, agent_version=AGENT_VERSION, at=at)
        if not any(kind == "window" for _, _, kind in self._due):
            self._plan(now + self._chance.share("phase") * self._profile.window_s, "window")
        return Answer(says=(_said(topics.STATUS, status, retain=True), self._twin(at)))

    def farewell(self, at: float) -> Answer:
        """It goes in good order."""
        status = Status(state="offline", boot_id=self._boot, agent_version=AGENT_VERSION, at=at)
        return Answer(says=(_said(topics.STATUS, status, retain=True),))

    def told(self, payload: bytes, now: float, at: float) -> Answer:
        """The retained ``desired`` arrived; empty takes the order back."""
        if not payload:
            self._waiting = None
            return self._dropped("withdrawn", "the fleet took the order back", now, at)
        try:
            desired = decode(Desired, payload, source=f"the fleet to {self.id}")
        except DataError:
            return Answer()
        current = self._update
        if current is not None and current.desired.deployment_id == desired.deployment_id:
            return Answer()
        if desired.deployment_id in self.memory.ended:
            return Answer()
        if current is None or current.state in TERMINAL:
            return self._begin(desired, now, at)
        self._waiting = desired
        return self._dropped("superseded", "the device was told to run another release", now, at)

    def proceed(self, now: float, at: float) -> Answer:
        """Do what is due."""
        says: list[Say] = []
        check: Check | None = None
        while self._due and self._due[0][0] <= now:
            _, _, kind = heapq.heappop(self._due)
            if kind == "window":
                says.append(self._window(at))
                self._plan(now + self._profile.window_s, "window")
            else:
                answer = self._step(now, at)
                says += answer.says
                check = answer.check or check
        return Answer(says=tuple(says), check=check)

    def checked(self, result: Checked, now: float, at: float) -> Answer:
        """The release was verified, or refused."""
        update = self._update
        if update is None or not update.waits_for_check:
            return Answer()
        update.waits_for_check = False
        if result.code is None:
            return self._move(_E.DOWNLOADED, now, at)
        update.code, update.message = result.code, result.message[:1000]
        return self._move(_E.ERROR if result.code == "network" else _E.REFUSED, now, at)

    def _begin(self, desired: Desired, now: float, at: float) -> Answer:
        known_bad = str(desired.release) in self.memory.known_bad
        fails = None if desired.rollback else self._fate(desired.release)
        self._update = _Update(desired=desired, fails_in=fails)
        if known_bad and not desired.rollback:
            self._update.code, self._update.message = "known_bad", "this device took the release back before"
            return self._move(_E.REFUSED, now, at)
        return self._move(_E.ACCEPTED, now, at)

    def _dropped(self, code: str, why: str, now: float, at: float) -> Answer:
        """End an update that has not switched yet; one that has goes to its end first."""
        update = self._update
        if update is None or update.state not in _BEFORE_SWITCH:
            return Answer()
        update.code, update.message, update.waits_for_check = code, why, False
        self._due = [one for one in self._due if one[2] != "step"]
        heapq.heapify(self._due)
        return self._move(_E.ERROR, now, at)

    def _fate(self, release: ReleaseRef) -> FailsIn | None:
        special = self._profile.releases.get(str(release))
        share = special.fail if special is not None and special.fail is not None else self._profile.fail
        if self._chance.share("fails", release) >= share:
            return None
        return self._chance.pick(self._profile.fails_in, "fails in", release)

    def _step(self, now: float, at: float) -> Answer:
        update = self._update
        if update is None or update.state in TERMINAL:
            return Answer()
        if update.fails_in == update.state:
            update.code, update.message = _CODES[update.fails_in]
            return self._move(_E.PROBE_FAILED if update.state is _S.PROBING else _E.ERROR, now, at)
        if self.verifies and update.state is _S.DOWNLOADING and not update.desired.rollback:
            update.waits_for_check = True
            return Answer(check=Check(release=update.desired.release, manifest_sha256=update.desired.manifest_sha256))
        return self._move(_NEXT[update.state], now, at)

    def _move(self, event: UpdateEvent, now: float, at: float) -> Answer:
        """Follow the lifecycle, say where the update stands now, and plan the next step."""
        update = self._update
        if update is None:
            return Answer()
        update.state = advance(update.state, event)
        if update.state in TERMINAL:
            return self._end(update, now, at)
        self._plan(now + self._time_of(update), "step")
        return Answer(says=(self._report(update, at),))

    def _end(self, update: _Update, now: float, at: float) -> Answer:
        memory, release = self.memory, str(update.desired.release)
        if update.state is _S.COMMITTED and memory.release != release:
            memory.fallback, memory.release = memory.release, release
        events: tuple[Say, ...] = ()
        if update.state is _S.ROLLED_BACK:
            memory.known_bad = [*(bad for bad in memory.known_bad if bad != release), release][-16:]
            events = (self._rolled_back(update, at),)
        memory.ended[update.desired.deployment_id] = str(update.state)
        for old in list(memory.ended)[:-8]:
            del memory.ended[old]
        waiting, self._waiting = self._waiting, None
        says = (self._twin(at), *events, self._report(update, at))
        if waiting is None:
            return Answer(says=says)
        return Answer(says=(*says, *self._begin(waiting, now, at).says))

    def _time_of(self, update: _Update) -> float:
        answer = self._chance.around(self.site.latency_s, self._profile.spread, "latency", update.sequence)
        if update.state is _S.ROLLING_BACK:
            return answer + _RESTORE_S * self._pace()
        if update.desired.rollback and update.state not in {_S.INSTALLING, _S.PROBING}:
            return answer  # the slot is here still: nothing is downloaded or built
        step = next((name for name in STEPS if name == update.state.value), None)
        median = self._profile.steps[step] if step else 0.0
        took = self._chance.around(median, self._profile.spread, update.state, update.desired.deployment_id)
        return answer + took * self.hardware.pace * self._pace()

    def _window(self, at: float) -> Say:
        self._sequence += 1
        release = ReleaseRef.parse(self.memory.release) if self.memory.release else None
        window = self._figures.window(
            release, boot_id=self._boot, sequence=self._sequence, start=at - self._profile.window_s, end=at
        )
        return _said(topics.WINDOW, window)

    def _twin(self, at: float) -> Say:
        memory, facts = self.memory, self.hardware.facts
        runtimes = facts.runtimes()
        twin = Twin(
            facts=facts,
            hardware_class=facts.hardware_class(),
            active=ReleaseRef.parse(memory.release) if memory.release else None,
            precision="int8" if memory.release else None,
            runtime=runtimes[0] if memory.release and runtimes else None,
            fallback=ReleaseRef.parse(memory.fallback) if memory.fallback else None,
            known_bad=tuple(ReleaseRef.parse(bad) for bad in memory.known_bad),
            power_source="simulated",
            capabilities=("update", "rollback"),
            at=at,
        )
        return _said(topics.TWIN, twin, retain=True)

    def _report(self, update: _Update, at: float) -> Say:
        update.sequence += 1
        more: dict[str, Any] = {"percent": 0.0} if update.state is _S.DOWNLOADING else {}
        if update.state is _S.COMMITTED:
            more["probe"] = ProbeResult(passed=True, reference_agreement=1.0)
        elif update.code == "probe_failed" and update.message:
            more["probe"] = ProbeResult(passed=False, reference_agreement=0.41, reasons=(update.message,))
        report = UpdateReport(
            deployment_id=update.desired.deployment_id,
            release=update.desired.release,
            sequence=update.sequence,
            state=update.state,
            error_code=update.code,
            message=update.message,
            at=at,
            **more,
        )
        return _said(topics.UPDATE, report)

    def _rolled_back(self, update: _Update, at: float) -> Say:
        event = Event(
            event_id=f"{update.desired.deployment_id}-back",
            at=at,
            kind="rolled_back",
            severity="error",
            message=f"{update.desired.release} was taken back: {update.message}"[:500],
        )
        return _said(topics.EVENT, event)

    def _plan(self, when: float, kind: Literal["window", "step"]) -> None:
        heapq.heappush(self._due, (when, len(self._due), kind))


def _said(channel: str, message: Message, *, retain: bool = False) -> Say:
    return Say(channel=channel, payload=encode(message), retain=retain)
