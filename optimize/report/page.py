"""Fills the report page. Everything that comes from outside is escaped; the page loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from mien.release import Calibration
from optimize.report import plots
from optimize.report.facts import ReportFacts, target_words

_MOST_LAYERS = 15


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
        sensitivity=_sensitivity(facts),
        worst=_worst(facts),
        provenance=_provenance(facts),
    )


def _variants(facts: ReportFacts) -> str:
    rows = [
        (
            one.path,
            f"{one.accuracy.map50:.3f}",
            f"{one.accuracy.map50_95:.3f}",
            _signed(one.accuracy.confidence_shift),
            str(one.accuracy.changed_images),
            f"{one.reference_agreement:.3f}",
            f"{one.size_bytes / 1e6:.2f} MB",
            f"{one.latency_ms:.1f} ms" if one.for_cpu else f"({one.latency_ms:.1f} ms)",
        )
        for one in facts.measured
    ]
    head = ("file", "mAP50", "mAP50-95", "confidence shift", "changed images", "reference", "size", "latency")
    return _table(head, rows)


def _gate(facts: ReportFacts) -> str:
    rows = [
        (check.variant, check.name, f"{check.value:.4f}", f"{check.limit:.4f}", "passed" if check.passed else "failed")
        for check in facts.gate.checks
    ]
    small = ", ".join(facts.gate.small_classes)
    told = f"<p>Too few labelled objects to be held against a limit of their own: {escape(small)}.</p>" if small else ""
    return _table(("file", "check", "value", "limit", ""), rows) + told


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
            _signed(one.confidence_shift),
            f"{one.changed_images} of {one.images}",
            "taken" if one.method == used.method else "",
        )
        for one in used.compared
    ]
    told = f"<p>Compared on {used.compared_on}; FP32's detections are the truth.</p>"
    return told + _table(
        ("method", "mAP50-95 against FP32's detections", "confidence shift", "changed images", ""), rows
    )


def _sensitivity(facts: ReportFacts) -> str:
    if facts.study is None:
        return "<p>Not measured: it is when --sensitivity asks for it, or when the gate refuses INT8 as it is.</p>"
    kept = len(facts.calibration.float_layers) if facts.calibration else 0
    rows = [
        (one.layer, f"{1 - one.map50_95:.4f}", _signed(one.confidence_shift), "float" if place < kept else "INT8")
        for place, one in enumerate(facts.study.layers[:_MOST_LAYERS])
    ]
    head = ("layer, quantised alone", "mAP50-95 lost", "confidence shift", "in the bundle")
    return f"<figure>{plots.sensitivity(facts.study, kept)}</figure><div class=scroll>{_table(head, rows)}</div>"


def _worst(facts: ReportFacts) -> str:
    reference = facts.measured[0].path
    cells = [
        f'<figure><img alt="" src="{plots.picture(shown, reference, path)}"><figcaption>{escape(shown.title)}<br>'
        f"{escape(path)}</figcaption></figure>"
        for shown in facts.worst
        for path in shown.found
        if path != reference
    ]
    return "".join(cells) or "<p>No image's findings changed.</p>"


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


def _signed(value: float | None) -> str:
    return "—" if value is None else f"{value:+.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    kind = {"passed": ' class="good"', "failed": ' class="bad"'}.get(text, "")
    return f"<td{kind}>{escape(text)}</td>"
