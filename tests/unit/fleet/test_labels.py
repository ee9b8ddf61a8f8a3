"""Labels of devices: what waves and budgets choose by. Set, taken away, refused, and kept in the audit record."""

import pytest

from fleet.identity.members import MOST_LABELS, label
from fleet.identity.membership import MemberState
from fleet.store.devices import Applicant
from mien.errors import ConfigError

NOW = 1000.0


@pytest.fixture
def devices(store):
    """A store with two accepted devices."""
    with store.write() as work:
        for name in ("cam-1", "cam-2"):
            work.devices.apply(Applicant(device_id=name, group="default"), MemberState.ACCEPTED, at=NOW)
    return store


def labelled(store, wanted, unwanted=(), names=("cam-1", "cam-2")):
    """Change labels; those of each device afterwards, as the planner sees them."""
    with store.write() as work:
        label(work, [work.devices.get(name) for name in names], wanted, unwanted, now=NOW, actor="ada")
    with store.read() as work:
        return {view.id: dict(view.labels) for view in work.devices.views()}


def test_labels_are_set_changed_and_taken_away(devices):
    """Of the named devices only; others keep theirs."""
    assert labelled(devices, {"site": "berlin", "floor": "2"})["cam-2"] == {"site": "berlin", "floor": "2"}
    found = labelled(devices, {"site": "bonn"}, ["floor", "never-there"], names=["cam-1"])
    assert found == {"cam-1": {"site": "bonn"}, "cam-2": {"site": "berlin", "floor": "2"}}


def test_who_changed_what_is_kept(devices):
    """One entry for each device."""
    labelled(devices, {"site": "berlin"}, ["floor"])
    with devices.read() as work:
        entries = [entry for entry in work.audit.latest(10) if entry.action == "device.label"]
    assert sorted(entry.subject for entry in entries) == ["cam-1", "cam-2"]
    assert {entry.actor for entry in entries} == {"ada"}
    assert dict(entries[0].details) == {"set": {"site": "berlin"}, "removed": ["floor"]}


@pytest.mark.parametrize(
    ("wanted", "unwanted", "says"),
    [
        ({"": "x"}, [], "''"),
        ({"site": "a b"}, [], "a b"),
        ({"site": "x" * 64}, [], "x" * 64),
        ({"-site": "x"}, [], "-site"),
        ({}, ["\n"], "\\n"),
        ({"site": "x"}, ["site"], "site"),
        ({}, [], "none"),
    ],
)
def test_what_is_no_label_is_refused(devices, wanted, unwanted, says):
    """With what was found, and nothing is changed."""
    with pytest.raises(ConfigError) as caught:
        labelled(devices, wanted, unwanted)
    assert says in str(caught.value.found)
    assert labelled(devices, {"after": "1"})["cam-1"] == {"after": "1"}


def test_a_device_has_so_many_labels_and_no_more(devices):
    """And none of the devices is changed when one of them would have too many."""
    many = {f"n{number}": "x" for number in range(MOST_LABELS)}
    labelled(devices, many, names=["cam-2"])
    with pytest.raises(ConfigError, match="cam-2"):
        labelled(devices, {"one": "more"})
    assert labelled(devices, {"a": "b"}, names=["cam-1"])["cam-1"] == {"a": "b"}
