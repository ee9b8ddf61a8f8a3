"""What a start finds to do, by the record that an earlier run left."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.update.journal import Journal, NextStep, UpdateRecord, next_step
from edge.update.slots import SlotRecord, SlotStore
from mien.lifecycle import UpdateState
from mien.messages import Desired
from mien.release import ReleaseRef

DESIRED = Desired(
    deployment_id="d1", release=ReleaseRef(name="faces", version="1.0.0"), manifest_sha256="a" * 64, issued_at=0
)


def _record(state: str, **more: object) -> UpdateRecord:
    return UpdateRecord.model_validate({"desired": DESIRED, "state": state, "started_at": 0, **more})


@pytest.mark.parametrize(
    ("record", "step"),
    [
        (None, NextStep.NOTHING),
        (_record("committed", reported_end=True), NextStep.NOTHING),
        (_record("committed"), NextStep.REPORT),
        (_record("failed"), NextStep.REPORT),
        (_record("idle", attempts=1), NextStep.BEGIN_AGAIN),
        (_record("downloading", attempts=1), NextStep.BEGIN_AGAIN),
        (_record("verifying", attempts=4), NextStep.BEGIN_AGAIN),
        (_record("building", attempts=5), NextStep.GIVE_UP),
        (_record("installing", target_slot="b"), NextStep.PROBE),
        (_record("probing", target_slot="b", probes=1), NextStep.PROBE),
        (_record("probing", target_slot="b", probes=2), NextStep.ROLL_BACK),
        (_record("rolling_back", target_slot="b"), NextStep.ROLL_BACK),
    ],
)
def test_every_state_has_its_next_step(record: UpdateRecord | None, step: NextStep) -> None:
    """The table of recovery."""
    assert next_step(record) is step


def test_every_state_is_covered() -> None:
    """No state leaves a start without a decision."""
    assert all(isinstance(next_step(_record(state.value)), NextStep) for state in UpdateState)


def test_a_damaged_journal_counts_as_none(memory_path: Path) -> None:
    """Then the slots alone say what runs."""
    journal = Journal(memory_path)
    journal.write(_record("probing"))
    (memory_path / "journal.json").write_text('{"state": "prob')
    assert journal.read() is None


def _filled(slots: SlotStore, name: str, version: str) -> None:
    folder = slots.empty("a" if name == "a" else "b")
    (folder / "engine").write_text(version)
    slots.fill(
        "a" if name == "a" else "b",
        SlotRecord(
            release=ReleaseRef(name="faces", version=version),
            manifest_sha256="a" * 64,
            variant="model.onnx",
            precision="fp32",
            runtime="onnxruntime",
            engine="engine",
            engine_sha256="b" * 64,
            built=True,
            hardware_class="here",
        ),
    )


@pytest.fixture
def slots(memory_path: Path) -> SlotStore:
    """Two empty slots."""
    return SlotStore(memory_path / "slots")


def test_switching_makes_the_active_slot_the_fallback(slots: SlotStore) -> None:
    """The two links change places; a slot is never both."""
    _filled(slots, "a", "1.0.0")
    _filled(slots, "b", "1.1.0")
    slots.switch("a")
    slots.switch("b")
    slots.switch("b")
    active, fallback = slots.active(), slots.fallback()
    assert active is not None
    assert fallback is not None
    assert (active.slot, fallback.slot, slots.free()) == ("b", "a", "a")


def test_a_slot_that_was_cut_off_is_empty(slots: SlotStore) -> None:
    """Without its record, which is written last, a slot holds nothing."""
    slots.empty("a")
    assert slots.read("a") is None
    slots.switch("a")
    assert slots.active() is None


def test_a_kill_between_the_two_links_is_harmless(slots: SlotStore) -> None:
    """The fallback link was moved, the active one not yet: the old release is active and there is no fallback."""
    _filled(slots, "a", "1.0.0")
    slots.switch("a")
    (slots.read("a").folder.parent / "fallback").symlink_to("a")  # type: ignore[union-attr]
    active = slots.active()
    assert active is not None
    assert active.release.version == "1.0.0"
    assert slots.fallback() is None


def test_switching_back_forgets_the_bad_slot(slots: SlotStore) -> None:
    """After a roll-back the other slot is active, and the bad one is neither fallback nor readable."""
    _filled(slots, "a", "1.0.0")
    _filled(slots, "b", "1.1.0")
    slots.switch("a")
    slots.switch("b")
    back = slots.switch_back("b")
    assert back is not None
    assert back.slot == "a"
    assert (slots.fallback(), slots.read("b")) == (None, None)
