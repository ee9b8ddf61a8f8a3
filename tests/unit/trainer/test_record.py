"""The training record."""

import hashlib

from trainer.record import Metrics, TrainingRun, git_commit, tool_versions, weights_of

METRICS = Metrics(epoch=3, map50=0.9, map50_95=0.7, precision=0.8, recall=0.85, per_class={"a": 0.7})


def test_weights_are_described_by_their_bytes(tmp_path):
    """Hash and size are those of the file, its path is relative to the record."""
    file = tmp_path / "final.pt"
    file.write_bytes(b"weights")
    described = weights_of(file, METRICS)
    assert described.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (described.size_bytes, described.path) == (7, "weights/final.pt")


def test_a_record_survives_its_file(tmp_path):
    """What is written as JSON is read back as the same record."""
    (tmp_path / "w.pt").write_bytes(b"w")
    weights = weights_of(tmp_path / "w.pt", METRICS)
    record = TrainingRun(
        run_id="r", started_at="2026-01-01T00:00:00+00:00", seconds=1.5, model="yolov8n.yaml", labels=("a",),
        data="d/data.yaml", data_sha256="0" * 64, seed=1, recipe={"epochs": 2}, epochs_done=2, early=weights,
        final=weights, device="cpu", threads=2, tools={"torch": "2"}, python="3.11",
    )  # fmt: skip
    assert TrainingRun.model_validate_json(record.model_dump_json()) == record


def test_tool_versions_name_what_decides_about_the_result():
    """The libraries that compute are there with their versions."""
    assert {"torch", "ultralytics", "numpy", "python"} <= set(tool_versions())


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    """A folder without history has none to name."""
    assert git_commit(tmp_path) is None
