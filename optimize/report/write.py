"""Writes the report and the model card into a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge.vision.detections import Detections, agreement
from mien.files import write_text
from mien.release import Manifest
from optimize.gate import Measured
from optimize.images import Judged, read_image
from optimize.report.card import model_card
from optimize.report.facts import ReportFacts, Shown
from optimize.sensitivity import Study

CARD, PAGE = "model_card.md", "report.html"
_MOST_WORST = 4


def write_report(
    folder: Path,
    manifest: Manifest,
    *,
    measured: Sequence[Measured],
    objects: Mapping[str, int],
    images: Sequence[Judged],
    found: Mapping[str, Sequence[Detections]],
    latency_on: str,
    study: Study | None,
) -> tuple[str, ...]:
    """Write both.

    Returns:
        Their paths in the bundle.
    """
    from optimize.report.page import report_page

    facts = ReportFacts(
        release=str(manifest.ref),
        labels=manifest.labels,
        size=f"uint8 frames {manifest.input.width}×{manifest.input.height} (width × height), letterboxed",
        measured=measured,
        objects=objects,
        gate=manifest.gate,
        latency_on=latency_on,
        study=study,
        calibration=manifest.calibration,
        provenance=manifest.provenance,
        target=manifest.target,
        intended_use=manifest.intended_use,
        known_limits=manifest.known_limits,
        scores={path: np.concatenate([one.scores for one in many]) for path, many in found.items()},
        worst=_worst(images, found, next(iter(found))),
    )
    write_text(folder / CARD, model_card(facts))
    write_text(folder / PAGE, report_page(facts))
    return CARD, PAGE


def _worst(images: Sequence[Judged], found: Mapping[str, Sequence[Detections]], reference: str) -> tuple[Shown, ...]:
    """The images where the variants together lost or gained most detections against the reference."""
    changes = []
    for index in range(len(images)):
        wanted = found[reference][index]
        lost = [len(wanted) + len(many[index]) - 2 * agreement(wanted, many[index])[0] for many in found.values()]
        changes.append(sum(lost))
    ranked = sorted((index for index in range(len(images)) if changes[index]), key=lambda index: -changes[index])
    return tuple(
        Shown(
            title=images[index].path.name,
            image=read_image(images[index].path),
            truth=images[index].truth,
            found={path: many[index] for path, many in found.items()},
        )
        for index in ranked[:_MOST_WORST]
    )
