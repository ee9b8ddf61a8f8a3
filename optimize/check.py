"""Runs a bundle's reference frames through its portable models: does it still see what it saw when it was packed?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.engine.chooser import open_engine
from edge.vision.reference import ReferenceFrame, read_reference
from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.errors import BundleError
from mien.release import REFERENCE, Manifest
from optimize.reference import reproduced

_TOLERANCE = 0.05
"""Another CPU rounds a little differently; this share of detections may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One variant's look at the reference frames."""

    path: str
    agreement: float
    recorded: float
    passed: bool

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"path": self.path, "agreement": self.agreement, "recorded": self.recorded, "passed": self.passed}


def check_bundle(bundle: Path, progress: Progress = SILENT) -> tuple[Checked, ...]:
    """Verify a bundle's bytes, then run its portable models with onnxruntime.

    Raises:
        BundleError: the bundle is damaged, or carries no reference.
        EngineError: a model does not load or run.
    """
    manifest = verify_bundle(bundle)
    frames = reference_of(bundle, manifest)
    portable = [variant for variant in manifest.variants if variant.portable]
    progress.start("reference frames", len(portable))
    rows: list[Checked] = []
    for variant in portable:
        with open_engine(bundle / variant.path, "onnxruntime") as engine:
            share = reproduced(engine, frames, manifest.outputs)
        recorded = 1.0 if variant.reference_agreement is None else variant.reference_agreement
        passed = share >= recorded - _TOLERANCE
        rows.append(Checked(path=variant.path, agreement=share, recorded=recorded, passed=passed))
        progress.advance()
    return tuple(rows)


def reference_of(bundle: Path, manifest: Manifest) -> tuple[ReferenceFrame, ...]:
    """The reference frames of a bundle.

    Raises:
        BundleError: it carries none.
    """
    if REFERENCE not in {entry.path for entry in manifest.files}:
        raise BundleError(f"{bundle} carries no reference frames", wanted=REFERENCE, remedy="pack it again")
    return read_reference(bundle / REFERENCE)
