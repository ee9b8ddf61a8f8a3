"""A device that is killed anywhere in an update; ``bench/kill_matrix.py`` tries every step, this some."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.kill_matrix import STORIES, Case, each_kind_once, matrix
from mien.lifecycle import UpdateState


def some(cases: list[Case]) -> list[Case]:
    """All places; every second kind of step of a good release, and some of the other stories."""
    kinds, good = each_kind_once(cases), cases[0].story is STORIES[0]
    steps = [case for case in kinds if "step" in case.kill]
    places = [case for case in kinds if "place" in case.kill and (good or not case.twice)]
    return places + steps[:: 2 if good else 9]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_device_that_is_killed_anywhere_comes_back_whole_and_agrees_with_its_fleet(tmp_path: Path) -> None:
    """One valid engine runs, none that is cut short was opened, the fleet's planner says what the disk says."""
    outcomes = matrix(tmp_path, chosen=some)
    wrong = [f"{o.case.story.name}, {o.case.at}, {o.case.way}: {fault}" for o in outcomes for fault in o.faults]
    assert wrong == []
    ways = Counter(outcome.case.way for outcome in outcomes)
    assert len(outcomes) >= 120
    assert min(ways[way] for way in ("entry", "middle", "exit", "kill", "power cut", "twice")) >= 15
    entered = {outcome.case.group for outcome in outcomes if "place" in outcome.case.kill}
    assert entered == {state.value for state in UpdateState}
    assert {outcome.case.story.name for outcome in outcomes} == {story.name for story in STORIES}
