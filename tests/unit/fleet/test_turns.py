"""Telling the next devices from sums: the same devices, at the same tick, as by looking at every one of them."""

import random

import pytest

from fleet.identity.members import label
from fleet.identity.membership import MemberState
from fleet.rollouts.limits import Budget
from fleet.rollouts.policy import RolloutPolicy
from fleet.rollouts.states import ExecutionState, RolloutState, WaveState
from fleet.rollouts.tick import Tick
from fleet.rollouts.turns import Candidate, Turn, admitted, free_places, needs_thought
from fleet.store.database import open_store
from fleet.store.devices import Applicant
from fleet.store.releases import Release
from mien.lifecycle import UpdateState
from mien.messages import Status, UpdateReport
from mien.release import ReleaseRef
from tests.fakes.paper_bundle import write_bundle

X = ExecutionState
NOW = 1000.0
NEW = "faces@1.1.0"


def policy(**given):
    """One wave of everybody, a few at a time, whose failures stop nothing."""
    waves = [{"name": "all", "percent": 100}]
    rules = {"success_threshold": 0.2, "error_threshold": 0.8, "analysis": None, "concurrency": 5}
    return RolloutPolicy.model_validate({"waves": waves} | rules | given)


WAVES = [{"name": "first", "count": 8}, {"name": "all", "percent": 100}]
TWO = policy(waves=WAVES, success_threshold=0.5, error_threshold=0.3)
"""Of a first wave of eight, four must succeed and two may fail."""


def turn(**given):
    """A wave of ten under way."""
    known = {"policy": policy(success_threshold=1.0, error_threshold=0.0), "wave": 0, "wave_state": WaveState.RUNNING}
    return Turn(**({**known, "counts": {X.QUEUED: 8, X.SUCCEEDED: 2}, "before": {}, "busy": 2, "waiting": 6} | given))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"counts": {X.SUCCEEDED: 10}}, True),
        ({"counts": {X.QUEUED: 9, X.FAILED: 1}}, True),
        ({"counts": {}}, True),
        ({"wave_state": WaveState.FINISHED}, True),
        ({"wave_state": WaveState.SOAKING, "counts": {X.SUCCEEDED: 10}}, False),
        ({"wave_state": WaveState.SOAKING, "counts": {X.SUCCEEDED: 9, X.FAILED: 1}}, True),
        ({"policy": policy(ends_at="1970-01-01T00:10:00Z")}, True),
        ({"wave": 1, "policy": TWO, "before": {0: {X.SUCCEEDED: 5, X.FAILED: 2}}}, False),
        ({"wave": 1, "policy": TWO, "before": {0: {X.SUCCEEDED: 5, X.FAILED: 3}}}, True),
        ({"wave": 1, "policy": TWO, "before": {0: {X.SUCCEEDED: 3, X.FAILED: 5}}}, False),
    ],
)
def test_the_planner_looks_where_something_is_to_be_decided(given, wanted):
    """A wave that is done, in trouble or out of time; not one that is merely under way."""
    assert needs_thought(turn(**given), NOW) is wanted


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({}, 3),
        ({"busy": 5}, 0),
        ({"busy": 9}, 0),
        ({"waiting": 1}, 1),
        ({"policy": policy(concurrency=None)}, 6),
        ({"policy": policy(starts_at="1970-01-01T01:00:00Z")}, 0),
        ({"wave_state": WaveState.SOAKING}, 0),
    ],
)
def test_as_many_are_told_as_places_are_free(given, places):
    """Neither more than may work at once nor more than wait, and nobody outside the rollout's time."""
    assert free_places(turn(**given), NOW) == places


def test_a_site_without_room_lets_others_pass():
    """In order; one that is offline takes no room, for it is away already."""
    line = [
        Candidate(device_id=name, deployment_id=name, online=name != "c", site=site)
        for name, site in (("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", "y"))
    ]
    assert [one.device_id for one in admitted(line, 3, {"x": 1, "y": 1})] == ["a", "c", "d"]
    assert [one.device_id for one in admitted(line, 2, None)] == ["a", "b"]


def filled(store, tmp_path, chance, rules):
    """A fleet with sites, some of it offline, and its rollout, running."""
    manifest = write_bundle(tmp_path / f"bundle-{id(store)}", "1.1.0")
    with store.write() as work:
        if work.devices.find("cam-1"):
            work.devices.revoke("cam-1", at=NOW)
        work.releases.put(Release(ref=NEW, manifest_sha256="a" * 64, manifest=manifest, published_at=NOW))
        for number in range(30):
            name = f"cam-{number:02}"
            work.devices.apply(Applicant(device_id=name, group="g"), MemberState.ACCEPTED, at=NOW)
            if chance.random() < 0.8:
                work.devices.set_status(name, Status(state="online", boot_id="b", agent_version="1", at=NOW), at=NOW)
            if chance.random() < 0.9:
                label(work, [work.devices.get(name)], {"site": f"s{chance.randrange(4)}"}, (), now=NOW, actor="ada")
        number = work.rollouts.add(NEW, "a" * 64, policy(**rules), seed="seed", at=NOW)
        work.rollouts.move(number, RolloutState.RUNNING, started_at=NOW)
    return number


def end_some(store, number, chance):
    """Some of those that were told end well, others not."""
    with store.write() as work:
        told = sorted(e.device_id for e in parts(work, number) if not e.waiting and e.state is X.QUEUED)
        for name in chance.sample(told, len(told) // 2):
            execution = next(e for e in parts(work, number) if e.device_id == name)
            state = chance.choice([UpdateState.COMMITTED, UpdateState.FAILED])
            said = {"release": ReleaseRef.parse(NEW), "sequence": 9, "state": state, "at": NOW}
            work.rollouts.report(name, UpdateReport(deployment_id=execution.deployment_id, **said))


def parts(work, number):
    """All parts."""
    return work.rollouts.planned(number).view.executions


def standing(store, number):
    """What a tick may change, in order."""
    with store.read() as work:
        return sorted((e.device_id, str(e.state), e.waiting, e.deployment_id) for e in parts(work, number))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"concurrency": None, "budget": Budget.model_validate({"by": "site", "max_unavailable": {"count": 3}})},
        {"concurrency": 4, "budget": Budget.model_validate({"by": "site", "max_unavailable": {"percent": 50}})},
        {"retry": {"failed": 1, "pause_s": 5}},
    ],
    ids=["concurrency", "budget", "both", "retry"],
)
def test_sums_tell_whom_the_planner_would_tell(store, tmp_path, seed, rules):
    """Tick by tick, in a fleet with full sites and devices that are away."""
    given = {name: rule.model_dump() if isinstance(rule, Budget) else rule for name, rule in rules.items()}
    plain, now = open_store(f"sqlite:///{tmp_path / 'plain.db'}"), [NOW]
    numbers = [filled(one, tmp_path, random.Random(seed), given) for one in (store, plain)]
    always = Tick(plain, clock=lambda: now[0], changed=lambda: None, patience_s=float("inf"))
    rarely = Tick(store, clock=lambda: now[0], changed=lambda: None, patience_s=0.0, rest=1e9)
    for step in range(8):
        always.run()
        rarely.run()
        assert standing(store, numbers[0]) == standing(plain, numbers[1])
        for one, number in zip((store, plain), numbers, strict=True):
            end_some(one, number, random.Random(100 * seed + step))
        now[0] += 3.0
    plain.close()
