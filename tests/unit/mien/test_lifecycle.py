"""The update lifecycle is exactly its table."""

from itertools import product

import pytest

from mien.errors import InternalError
from mien.lifecycle import TERMINAL, TRANSITIONS, UpdateEvent, UpdateState, advance, diagram


@pytest.mark.parametrize(("state", "event"), list(product(UpdateState, UpdateEvent)))
def test_every_pair_either_moves_or_refuses(state, event):
    """A pair in the table gives its target; any other pair raises and names what the state knows."""
    if event in TRANSITIONS[state]:
        assert advance(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(InternalError) as refusal:
            advance(state, event)
        assert all(known in refusal.value.wanted for known in TRANSITIONS[state])


def test_every_state_can_reach_an_end():
    """From every state some sequence of events leads to a terminal state."""
    for start in UpdateState:
        seen, edge = {start}, {start}
        while edge:
            edge = {target for state in edge for target in TRANSITIONS[state].values()} - seen
            seen |= edge
        assert seen & TERMINAL


def test_the_active_slot_changes_only_while_installing():
    """Failing before the switch never goes through a roll-back, failing after it always does."""
    before = (UpdateState.DOWNLOADING, UpdateState.VERIFYING, UpdateState.BUILDING)
    after = (UpdateState.INSTALLING, UpdateState.PROBING)
    assert {advance(state, UpdateEvent.ERROR) for state in before} == {UpdateState.FAILED}
    assert {advance(state, UpdateEvent.ERROR) for state in after} == {UpdateState.ROLLING_BACK}


def test_the_diagram_shows_every_transition():
    """The generated diagram has one arrow for each entry of the table."""
    arrows = [line for line in diagram().splitlines() if "-->" in line and "[*]" not in line]
    assert len(arrows) == sum(len(events) for events in TRANSITIONS.values())
