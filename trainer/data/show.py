"""The check's report and a training's result as tables for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mien.console import table_of
from trainer.data.check import Report
from trainer.record import TrainingRun


def tables(report: Report) -> Group:
    """Counts by split and class, then what was found."""
    splits = list(report.images)
    classes = list(next(iter(report.boxes.values()), {}))
    counts = table_of(
        "Boxes by class",
        ("class", *(f">{split}" for split in splits)),
        [
            *((name, *(report.boxes[split][name] for split in splits)) for name in classes),
            ("images", *(report.images[split] for split in splits)),
        ],
    )
    if not report.findings:
        return Group(counts, Text("nothing to complain about", style="green"))
    found = table_of(
        "Findings",
        ("severity", "what", ">count", "for example"),
        [(f.severity, f.what, f.count, ", ".join(f.examples)) for f in report.findings],
    )
    return Group(counts, found)


def run_table(record: TrainingRun, out: Path) -> Table:
    """Early and final weights with their accuracy."""
    rows = []
    for name, weights in (("early", record.early), ("final", record.final)):
        found = weights.metrics
        accuracy = (f"{found.map50:.3f}", f"{found.map50_95:.3f}", found.epoch) if found else (None, None, None)
        rows.append((name, str(out / weights.path), *accuracy))
    title = f"Training {record.run_id}, {record.epochs_done} epochs in {record.seconds:.0f} s"
    return table_of(title, ("weights", "file", ">mAP50", ">mAP50-95", ">epoch"), rows)
