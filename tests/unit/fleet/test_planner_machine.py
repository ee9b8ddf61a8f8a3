"""The planner as a machine: whatever devices, people and the clock do, in whatever order, some things never happen."""

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fleet.rollouts.admission import is_busy, site_of
from fleet.rollouts.planner import plan
from fleet.rollouts.states import OPEN, ExecutionState, RevertState, RolloutState
from mien.lifecycle import UpdateState
from tests.fakes.rollout_world import World, devices, policy

COUNT, AT_ONCE, SITES = 9, 3, 3
BUDGET = {"by": "site", "max_unavailable": {"count": 2}}
NEVER_BEGINS = {RolloutState.PAUSED, RolloutState.STOPPING, RolloutState.STOPPED, RolloutState.FINISHED}
SAID = st.sampled_from(
    [*[UpdateState.COMMITTED] * 4, UpdateState.ROLLED_BACK, UpdateState.FAILED, UpdateState.REJECTED]
)
CLOCKS = st.sampled_from([0.0, 1000.0, 4_102_444_800.0])
"""What a device's own clock may say: 1970, the fleet's time, 2100."""


class Rollout(RuleBasedStateMachine):
    """A rollout over three sites with a limit on devices at once, a budget, and retries."""

    @initialize(failing=st.sampled_from([0.0, 0.3]), revert=st.booleans())
    def begin(self, failing, revert):
        """Nine devices, three waves."""
        fleet = [replace(device, labels={"site": str(number % SITES)}) for number, device in enumerate(devices(COUNT))]
        waves = [{"name": "canary", "count": 1}, {"name": "half", "percent": 50}, {"name": "all", "percent": 100}]
        limits = {
            "error_threshold": failing,
            "success_threshold": 1 - failing,
            "concurrency": AT_ONCE,
            "budget": BUDGET,
        }
        self.world = World(
            policy(waves=waves, revert=revert, retry={"failed": 1, "pause_s": 10}, timeout_s=100, **limits), fleet
        )
        self.settle()

    def settle(self):
        """Tick until nothing is left to do; nobody new is told by a rollout that does not run."""
        began = self.world.rollout.state
        before = self._deployments()
        self.world.settle()
        if began in NEVER_BEGINS:
            assert not self._deployments() - before

    @rule(number=st.integers(0, COUNT - 1), state=SAID, at=CLOCKS)
    def report(self, number, state, at):
        """A device that was told something ends it; what its clock says does not matter."""
        device_id = f"cam-{number}"
        execution = next((e for e in self.world.rollout.executions if e.device_id == device_id), None)
        if execution is None or not is_busy(execution):
            return
        back = execution.revert_state is RevertState.IN_PROGRESS
        now, self.world.now = self.world.now, at
        self.world.report(device_id, UpdateState.COMMITTED if back else state, revert=back)
        self.world.now = now
        self.settle()

    @rule(number=st.integers(0, COUNT - 1), percent=st.floats(0, 100))
    def progress(self, number, percent):
        """A device is under way."""
        execution = next((e for e in self.world.rollout.executions if e.device_id == f"cam-{number}"), None)
        if execution is not None and execution.state in OPEN and not execution.waiting:
            self.world.report(execution.device_id, UpdateState.DOWNLOADING, percent=percent)
            self.settle()

    @rule(number=st.integers(0, COUNT - 1), online=st.booleans())
    def presence(self, number, online):
        """A device goes or returns."""
        self.world.device(f"cam-{number}", online=online, online_since=self.world.now if online else None)
        self.settle()

    @rule(seconds=st.sampled_from([1, 11, 140]))
    def time(self, seconds):
        """Time passes; silent devices are late."""
        self.world.now += seconds
        self.settle()

    @precondition(lambda self: self.world.rollout.state is RolloutState.RUNNING)
    @rule()
    def pause(self):
        """A person pauses."""
        self._state(RolloutState.PAUSED)

    @precondition(lambda self: self.world.rollout.state is RolloutState.PAUSED)
    @rule()
    def resume(self):
        """A person lets it go on."""
        self._state(RolloutState.RUNNING, forgiven_at=self.world.now)

    @precondition(lambda self: self.world.rollout.state in {RolloutState.RUNNING, RolloutState.PAUSED})
    @rule(reverts=st.booleans())
    def abort(self, reverts):
        """A person ends it."""
        self._state(RolloutState.STOPPING, reverts=reverts)

    @invariant()
    def applying_twice_changes_nothing(self):
        """A settled world asks for nothing."""
        assert plan(self.world.rollout, self.world.fleet, None, self.world.now) == ()

    @invariant()
    def each_device_has_one_part(self):
        """No device has two open executions, nor two deployments of one name."""
        ids = [e.device_id for e in self.world.rollout.executions]
        names = [e.deployment_id for e in self.world.rollout.executions]
        assert len(set(ids)) == len(ids)
        assert len(set(names)) == len(names)

    @invariant()
    def no_more_than_allowed_are_at_it(self):
        """Of all, and of each site: the limits hold for what a running rollout tells."""
        told = [e for e in self.world.rollout.executions if e.state in OPEN and not e.waiting]
        assert len(told) <= AT_ONCE
        sites = {device.id: site_of(self.world.policy.budget, device) for device in self.world.fleet}
        for site in set(sites.values()):
            assert sum(1 for e in told if sites[e.device_id] == site and self._online_when_told(e)) <= 2

    @invariant()
    def who_refused_is_never_asked_again(self):
        """Nor who took the release back itself; others at most once more."""
        for execution in self.world.rollout.executions:
            assert execution.attempts <= 2
            if execution.state is ExecutionState.REJECTED:
                assert execution.report.state is UpdateState.REJECTED

    def _online_when_told(self, execution):
        device = self.world.device(execution.device_id)
        return device.online and device.online_since is None  # it never was away

    def _deployments(self):
        return {e.deployment_id for e in self.world.rollout.executions if e.state in OPEN and not e.waiting}

    def _state(self, state, **changes):
        self.world.rollout = replace(self.world.rollout, state=state, **changes)
        self.settle()


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
