"""The model card: what the model is for, how good it is, what it is not (after https://arxiv.org/abs/1810.03993)."""

from __future__ import annotations

from optimize.report.facts import ReportFacts, target_words


def model_card(facts: ReportFacts) -> str:
    """The card as Markdown."""
    return "\n".join([*_opening(facts), *_accuracy(facts), *_origin(facts)]) + "\n"


def _opening(facts: ReportFacts) -> list[str]:
    return [
        f"# {facts.release}",
        "",
        "## Intended use",
        "",
        facts.intended_use,
        "",
        "## Known limits",
        "",
        *(f"- {limit}" for limit in facts.known_limits),
        "",
        "## Input and output",
        "",
        f"{facts.size}. Boxes with a score for each of: {', '.join(facts.labels)}.",
        "",
    ]


def _accuracy(facts: ReportFacts) -> list[str]:
    rows = [
        f"| {one.path} | {one.accuracy.map50:.3f} | {one.accuracy.map50_95:.3f} | {one.size_bytes / 1e6:.2f} MB "
        f"| {f'{one.latency_ms:.1f} ms' if one.for_cpu else f'({one.latency_ms:.1f} ms)'} |"
        for one in facts.measured
    ]
    reference = facts.measured[0].accuracy.per_class
    classes = [
        f"| {label} | {facts.objects[label]} | {reference[label]:.3f} |" for label in facts.labels if label in reference
    ]
    return [
        "## Accuracy",
        "",
        f"On {facts.measured[0].accuracy.images} validation images. Latency: {facts.latency_on}.",
        "A latency in brackets is a CPU's for a file made for TensorRT, and says nothing of a GPU.",
        "",
        "| file | mAP50 | mAP50-95 | size | latency |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Each class, {facts.measured[0].path}:",
        "",
        "| class | labelled objects | mAP50-95 |",
        "|---|---|---|",
        *classes,
        "",
    ]


def _origin(facts: ReportFacts) -> list[str]:
    origin, used = facts.provenance, facts.calibration
    lines = [
        "## Origin",
        "",
        f"- made {origin.created_at} from weights sha256 {origin.weights_sha256}",
        f"- training run: {origin.training_run or 'not recorded'}",
        f"- data sha256 {origin.data_sha256}",
    ]
    lines.append(f"- made for: {target_words(facts.target)}")
    if used:
        lines.append(f"- INT8 scales: {used.method}, {used.quantizer}, {used.images} training images")
        lines.append(f"- layers that the gate sent back to floating point: {', '.join(used.float_layers) or 'none'}")
    lines += [f"- licence of {part}: {licence}" for part, licence in origin.licences.items()]
    return lines
