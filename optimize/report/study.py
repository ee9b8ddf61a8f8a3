"""What the page says about sensitivity: how it was measured, the curve, and the layers that suffer most."""

from __future__ import annotations

from mien.release import Calibration
from optimize.report import plots
from optimize.report.facts import ReportFacts
from optimize.report.html import signed, table
from optimize.sensitivity import Study

_MOST_LAYERS = 15


def sensitivity(facts: ReportFacts) -> str:
    """The whole section."""
    study, used = facts.study, facts.calibration
    if study is None or used is None:
        return f"<p>{_why_not(used)}</p>"
    kept = len(used.float_layers)
    figure = f"<figure>{plots.sensitivity(study, kept)}</figure>"
    return f"<p>{_how(study, used)}</p>{figure}{_curve(study)}{_layers(study, kept)}"


def _why_not(used: Calibration | None) -> str:
    if used is None:
        return "No INT8 was asked for."
    if not used.compared:
        return f"Not measured: FP32 finds nothing on {used.compared_on}."
    return "Not measured: --no-sensitivity left it out, and the gate took INT8 as it is."


def _how(study: Study, used: Calibration) -> str:
    apart = "no scale was found with them"
    if used.compared_on == "the calibration images":
        apart = "the scales were found with them too, for the split has too few others"
    return (
        f"Measured with the scales of {study.method} on training images, never on validation images; {apart}. Each of "
        f"the {len(study.layers)} layers was quantised alone and judged on {study.layer_frames} images, the curve on "
        f"{study.frames}. The model was trained on these images and knows them: FP32 itself has an mAP50-95 of "
        f"{study.map50_95:.3f} here. Layers are ranked by what changes against FP32's own detections; on so few images "
        "that tells them apart better than the labels do. Where the curve falls while layers return, chance shows."
    )


def _curve(study: Study) -> str:
    rows = [
        (
            str(point.float_layers),
            f"{point.map50_95:.4f}",
            f"{point.map50_95_lost:+.4f}",
            f"{1 - point.fidelity:.4f}",
            signed(point.confidence_shift),
            f"{point.size_bytes / 1e6:.2f} MB",
        )
        for point in study.curve
    ]
    head = (
        "layers in floating point",
        "mAP50-95 (labels)",
        "lost (labels)",
        "lost (FP32's detections)",
        "confidence shift",
        "size",
    )
    return table(head, rows)


def _layers(study: Study, kept: int) -> str:
    rows = [
        (
            one.layer,
            f"{1 - one.fidelity:.4f}",
            signed(one.confidence_shift),
            f"{one.map50_95_lost:+.4f}",
            "float" if place < kept else "INT8",
        )
        for place, one in enumerate(study.layers[:_MOST_LAYERS])
    ]
    head = (
        f"the {len(rows)} most sensitive layers",
        "lost (FP32's detections)",
        "confidence shift",
        "lost (labels)",
        "in this bundle",
    )
    return table(head, rows)
