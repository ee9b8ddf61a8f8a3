"""What the disk of a device knows, as a person reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from edge.report import run_tables, status_of, status_table
from edge.telemetry.spool import Spool, SpoolLimits
from edge.update.journal import Journal, UpdateRecord
from mien import topics
from mien.messages import Event, encode
from tests.fakes.served_api import window


def _read(state: Path) -> str:
    console = Console(width=100, record=True)
    console.print(status_table(status_of(state)))
    return console.export_text()


@pytest.mark.parametrize("skipped", [0, 3])
def test_pictures_that_were_skipped_are_told(skipped: int) -> None:
    """In a row of their own, and only when there are any."""
    summary = {
        "release": "faces@1.0.0",
        "precision": "fp32",
        "runtime": "onnxruntime 1",
        "camera": "folder",
        "frames": 5,
        "dropped": 0,
        "skipped": skipped,
        "seconds": 1.0,
        "fps": 5.0,
        "power": {"source": "none"},
        "latency_ms": {},
        "detections": {},
    }
    console = Console(width=100, record=True)
    console.print(run_tables(summary)[0])
    assert ("3 that are no picture" in console.export_text()) is bool(skipped)


def test_frames_of_each_camera_and_what_was_given_up_are_told(tmp_path: Path) -> None:
    """The last window's cameras, and by kind what found no room in the spool."""
    spool = Spool(tmp_path / "spool.sqlite", limits=SpoolLimits(most_bytes=64 * 1024))
    for number in range(200):
        event = Event(event_id=f"e{number}", at=1, kind="k", severity="info", message="m" * 500)
        spool.put(topics.EVENT, encode(event))
    spool.put_window(window(cameras={"door": 90, "yard": 5}))
    lost = spool.lost["event"]
    spool.close()
    assert lost > 0
    found = status_of(tmp_path)
    assert found["lost"] == {"event": lost}
    text = _read(tmp_path)
    assert f"{lost} events" in text
    assert "door: 90 frames, yard: 5 frames" in text


def test_a_device_that_lost_nothing_says_so(tmp_path: Path) -> None:
    """Before its first message and afterwards; one whose spool cannot be read says nothing of it."""
    assert "nothing" in _read(tmp_path)
    Spool(tmp_path / "spool.sqlite").close()
    assert status_of(tmp_path)["lost"] == {}
    (tmp_path / "spool.sqlite").write_bytes(b"no database" * 100)
    assert status_of(tmp_path)["lost"] is None


def test_what_an_update_waits_for_is_told(tmp_path: Path) -> None:
    """Until when, and not once it goes on."""
    journal = Journal(tmp_path / "update")
    desired = {
        "deployment_id": "d1",
        "release": {"name": "faces", "version": "1.1.0"},
        "manifest_sha256": "a" * 64,
        "issued_at": 0,
    }
    record = UpdateRecord.model_validate({"desired": desired, "state": "building", "started_at": 0})
    journal.write(record.model_copy(update={"waits_for": "install_window", "waits_until": 1_764_122_400.0}))
    assert "faces@1.1.0: building, waits for install window until" in _read(tmp_path)
    journal.write(record)
    assert "waits for" not in _read(tmp_path)
