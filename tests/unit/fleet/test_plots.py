"""Plots as coordinates, and what the command line draws of a posterior."""

import pytest

from fleet.cli_experiment_views import experiment_view, spark
from fleet.dashboard.plots import HIGH, WIDE, band, over_rounds, posteriors
from fleet.dashboard.views import commands
from fleet.experiments.bandit import Belief, chance_better, curve, next_share, reward_of
from fleet.experiments.policy import BanditPolicy, Reward
from fleet.rollouts.states import RolloutState

ENERGY = Reward(metric="energy_per_inference_j", worst=1.0, best=0.2)


def points(text):
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def arm(name, belief):
    return {
        "arm": name,
        "release": "r",
        "posterior": {"mean": belief.mean, "spread": belief.spread, "curve": curve(belief)},
    }


def test_quartiles_lie_on_one_scale():
    """The larger median lies further right, everything within the picture; without quartiles there is none."""
    drawn = band({"new": [10.0, 12.0, 14.0], "expected": [20.0, 24.0, 30.0]})
    assert 0 < drawn["new"]["mid"] < drawn["expected"]["mid"] < 100
    assert drawn["new"]["mid"] / drawn["expected"]["mid"] == pytest.approx(0.5, abs=0.01)
    assert band({"new": None, "expected": None}) is None
    assert band({"new": [0.0, 0.0, 0.0], "expected": [0.0, 0.0, 0.0]}) is None


def test_the_surer_posterior_stands_higher():
    """Both lines span the rewards; the top of the picture is not left."""
    unsure, sure = Belief(kind="beta"), Belief(kind="beta").after([0.8] * 50)
    low, high = (points(line["points"]) for line in posteriors([arm("control", unsure), arm("candidate", sure)]))
    assert min(y for _, y in high) < min(y for _, y in low)
    assert all(0 <= x <= WIDE and 0 <= y <= HIGH + 0.01 for x, y in [*low, *high])
    best = min(high, key=lambda point: point[1])
    assert best[0] / WIDE == pytest.approx(0.8, abs=0.03)


def test_shares_over_rounds_begin_with_the_policys():
    """One round gives a line of two ends, none gives none."""
    one = {"policy": {"share": 0.5}, "rounds": [{"share": 0.6, "chance": 0.9}]}
    assert points(over_rounds(one, "share")) == [(0.0, HIGH * 0.5), (WIDE, pytest.approx(HIGH * 0.4))]
    assert over_rounds(one | {"rounds": []}, "share") == ""


def test_a_posterior_in_blocks_peaks_where_it_should():
    """Forty letters, the full block at the mean."""
    line = spark(curve(Belief(kind="normal").after([0.25] * 40)))
    assert len(line) == 40
    assert 8 <= line.index("█") <= 11


def test_rewards_are_cut_to_0_and_1():
    """Less is better where best is below worst."""
    assert [reward_of(value, ENERGY) for value in (2.0, 1.0, 0.6, 0.2, 0.1)] == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("kind", ["beta", "normal"])
def test_the_chance_is_symmetric_and_grows_with_evidence(kind):
    """Alike is a half; the two chances add up to one; more of the same makes it surer."""
    prior = Belief(kind=kind)
    assert chance_better(prior, prior) == pytest.approx(0.5, abs=1e-6)
    good, bad = prior.after([0.7, 0.6, 0.8]), prior.after([0.4, 0.5, 0.3])
    assert chance_better(good, bad) + chance_better(bad, good) == pytest.approx(1.0, abs=1e-3)
    assert chance_better(good.after([0.7] * 20), bad.after([0.4] * 20)) > chance_better(good, bad) > 0.5


@pytest.mark.parametrize(("good", "bad"), [([0.9, 0.8], [0.2]), ([0.5] * 9, [0.45] * 30), ([0.99] * 200, [0.97] * 200)])
def test_the_chance_is_what_draws_would_show(good, bad):
    """The integral against many seeded draws of both posteriors."""
    stats = pytest.importorskip("scipy.stats")
    for kind in ("beta", "normal"):
        a, b = (Belief(kind=kind).after(rewards) for rewards in (good, bad))
        draw = (
            (lambda one, seed: stats.beta(*one.beta).rvs(40_000, random_state=seed))
            if kind == "beta"
            else (
                lambda one, seed: stats.t(one.student[0], one.student[1], one.student[2]).rvs(40_000, random_state=seed)
            )
        )
        assert chance_better(a, b) == pytest.approx(float((draw(a, 1) > draw(b, 2)).mean()), abs=0.02)


def test_a_share_moves_by_one_step_and_keeps_the_least():
    """Towards the chance, and never out of what the policy allows."""
    policy = BanditPolicy(reward=ENERGY, max_step=0.1, min_share=0.2)
    assert next_share(0.5, 1.0, policy) == pytest.approx(0.6)
    assert next_share(0.75, 1.0, policy) == pytest.approx(0.8)
    assert next_share(0.5, 0.45, policy) == pytest.approx(0.45)
    assert next_share(0.25, 0.0, policy) == pytest.approx(0.2)


def test_buttons_are_those_that_the_state_knows():
    """A finished rollout has none."""
    assert [name for name, _ in commands(RolloutState.RUNNING)] == ["pause", "force-next", "stop"]
    assert commands(RolloutState.FINISHED) == []


def test_an_experiment_without_rounds_is_shown():
    """A plain comparison has no posterior; its devices are listed all the same."""
    shown = {
        "sentences": ["Experiment 1 is running."],
        "chance": None,
        "arms": [{"posterior": None}, {"posterior": None}],
        "verdict": None,
        "rounds": [],
        "members": [{"device": "cam-1", "arm": "control", "state": "SUCCEEDED", "switches": 0, "detail": "committed"}],
    }
    assert len(experiment_view(shown).renderables) == 2
