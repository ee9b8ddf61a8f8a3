"""Fills the report page. Everything that comes from outside is escaped; the page loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from types import MappingProxyType

from edge.vision.detections import Detections, matches
from mien.release import Calibration, GateCheck
from optimize.report import plots
from optimize.report.facts import ReportFacts, target_words
from optimize.report.html import signed, table
from optimize.report.study import sensitivity

_POINTS = 100.0
CHECKS: Mapping[str, tuple[str, str, float, int]] = MappingProxyType(
    {
        "map50_95_loss": ("mAP50-95 lost against FP32, points", "≤", _POINTS, 2),
        "class_loss": ("mAP50-95 lost by the class that loses most, points", "≤", _POINTS, 2),
        "confidence_shift": ("mean confidence moved, up or down", "≤", 1.0, 4),
        "reference_agreement": ("share of FP32's reference detections that are shown again", "≥", 1.0, 3),
        "map50": ("mAP50", "≥", 1.0, 3),
    }
)
"""The gate's checks by name: in words, how the value relates to the limit, what both are multiplied by, and digits."""


def report_page(facts: ReportFacts) -> str:
    """The whole page as HTML."""
    template = Template(files("optimize.report").joinpath("templates/report.html").read_text(encoding="utf-8"))
    return template.substitute(
        release=escape(facts.release),
        intended_use=escape(facts.intended_use),
        limits="".join(f'<p class="warning">{escape(limit)}</p>' for limit in facts.known_limits),
        images=facts.measured[0].accuracy.images,
        latency_on=escape(facts.latency_on),
        variants=_variants(facts),
        trade_off=plots.trade_off(facts.measured),
        per_class=plots.per_class(facts.measured, facts.labels),
        confidences=plots.confidences(facts.scores),
        gate=_gate(facts),
        methods=_methods(facts),
        sensitivity=sensitivity(facts),
        worst=_worst(facts),
        provenance=_provenance(facts),
    )


def _variants(facts: ReportFacts) -> str:
    rows = [
        (
            one.path,
            f"{one.accuracy.map50:.3f}",
            f"{one.accuracy.map50_95:.3f}",
            signed(one.accuracy.confidence_shift),
            str(one.accuracy.changed_images),
            f"{one.reference_agreement:.3f}",
            f"{one.size_bytes / 1e6:.2f} MB",
            f"{one.latency_ms:.1f} ms" if one.for_cpu else f"({one.latency_ms:.1f} ms)",
        )
        for one in facts.measured
    ]
    head = ("file", "mAP50", "mAP50-95", "confidence shift", "changed images", "reference", "size", "latency")
    return table(head, rows)


def _gate(facts: ReportFacts) -> str:
    rows = [_check(check) for check in facts.gate.checks]
    small = ", ".join(facts.gate.small_classes)
    told = f"<p>Too few labelled objects to be held against a limit of their own: {escape(small)}.</p>" if small else ""
    return table(("file", "<what is held against a limit", "measured", "allowed", ""), rows) + told


def _check(check: GateCheck) -> tuple[str, ...]:
    words, relation, unit, digits = CHECKS.get(check.name, (check.name, "limit", 1.0, 4))
    measured, allowed = (f"{value * unit:.{digits}f}" for value in (check.value, check.limit))
    return check.variant, words, measured, f"{relation} {allowed}", "passed" if check.passed else "failed"


def _methods(facts: ReportFacts) -> str:
    used = facts.calibration
    if used is None:
        return "<p>No INT8 was asked for.</p>"
    if not used.compared:
        return f"<p>FP32 finds nothing on {used.compared_on}, so nothing was compared; {used.method} was taken.</p>"
    rows = [
        (
            f"{one.method} ({one.quantizer})",
            f"{one.map50_95:.4f}",
            signed(one.confidence_shift),
            f"{one.changed_images} of {one.images}",
            "taken" if one.method == used.method else "",
        )
        for one in used.compared
    ]
    told = f"<p>Compared on {used.compared_on}; FP32's detections are the truth.</p>"
    return told + table(
        ("method", "mAP50-95 against FP32's detections", "confidence shift", "changed images", ""), rows
    )


def _worst(facts: ReportFacts) -> str:
    reference = facts.measured[0].path
    cells = [
        f'<figure><img alt="{escape(told)}" src="{plots.picture(shown, reference, path)}"><figcaption>'
        f"<b>{escape(shown.title)}</b>, {escape(path)}<br>{escape(told)}</figcaption></figure>"
        for shown in facts.worst
        for path in shown.found
        if path != reference
        for told in [difference(shown.found[reference], shown.found[path])]
    ]
    return "".join(cells) or "<p>No image's findings changed.</p>"


def difference(wanted: Detections, given: Detections) -> str:
    """What two graphs see differently in one image."""
    shared = len(matches(wanted, given))
    lost, new = len(wanted) - shared, len(given) - shared
    if not lost and not new:
        return f"the same {shared} as FP32"
    return f"FP32 finds {len(wanted)}, this {len(given)}: {shared} alike, {lost} lost, {new} new"


def _provenance(facts: ReportFacts) -> str:
    origin, calibration = facts.provenance, facts.calibration
    pairs = [
        ("made", origin.created_at),
        ("input", facts.size),
        ("classes", ", ".join(facts.labels)),
        ("weights", f"sha256 {origin.weights_sha256}"),
        ("training run", origin.training_run or "not recorded"),
        ("data", f"sha256 {origin.data_sha256}; labelled validation objects: {_counts(facts)}"),
        ("commit", origin.git_commit or "not recorded"),
        ("calibration", _calibration(facts) if calibration else "none"),
        ("layers in floating point", _float_layers(calibration)),
        ("made for", target_words(facts.target)),
        ("tools", ", ".join(f"{tool} {version}" for tool, version in origin.tools.items())),
        ("licences", ", ".join(f"{part}: {licence}" for part, licence in origin.licences.items())),
    ]
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)


def _calibration(facts: ReportFacts) -> str:
    used = facts.calibration
    return f"{used.method}, {used.quantizer}, {used.images} training images, sha256 {used.data_sha256}" if used else ""


def _float_layers(calibration: Calibration | None) -> str:
    """Of those that could have been INT8."""
    if calibration is None:
        return "all"
    return ", ".join(calibration.float_layers) or "none of those that may be INT8"


def _counts(facts: ReportFacts) -> str:
    return ", ".join(f"{name} {count}" for name, count in facts.objects.items())
