"""A release bundle on paper: real files and hashes, no model in them. For tests that never run one."""

from __future__ import annotations

from pathlib import Path

from mien.expressions import EXPRESSIONS
from mien.files import sha256_of, write_bytes, write_text
from mien.release import (
    MANIFEST,
    Accuracy,
    Calibration,
    FileEntry,
    GateCheck,
    GateResult,
    InputSpec,
    Manifest,
    OutputSpec,
    Provenance,
    Requires,
    Variant,
)

_SIZES = {"fp32": 12_000, "fp16": 6_100, "int8": 3_400}
_ACCURACY = {"fp32": (0.912, 0.701), "fp16": (0.912, 0.700), "int8": (0.908, 0.696)}
_LATENCY_MS = {"fp32": 21.4, "fp16": 21.9, "int8": 12.3}


def write_bundle(
    folder: Path, version: str = "1.0.0", *, name: str = "faces", gate_passed: bool = True, salt: str = ""
) -> Manifest:
    """Write a bundle and return its manifest.

    Args:
        folder: where; made if needed.
        version: of the release.
        name: of the release.
        gate_passed: what its gate says.
        salt: changes the bytes of its models.
    """
    variants = []
    for precision in ("fp32", "fp16", "int8"):
        path = folder / f"model.{precision}.onnx"
        write_bytes(path, f"{name} {version} {precision} {salt}\n".encode().ljust(_SIZES[precision], b"."))
        map50, map50_95 = _ACCURACY[precision]
        variants.append(
            Variant(
                precision=precision,
                format="onnx",
                path=path.name,
                sha256=sha256_of(path),
                size_bytes=path.stat().st_size,
                requires=Requires(runtimes=("tensorrt", "onnxruntime")),
                accuracy=Accuracy(images=200, map50=map50, map50_95=map50_95, mean_confidence=0.8),
                latency_ms=_LATENCY_MS[precision],
                latency_on="x86_64",
            )
        )
    card = folder / "cards" / "model_card.md"
    write_text(card, f"# {name} {version}\n")
    manifest = Manifest(
        name=name,
        version=version,
        labels=tuple(EXPRESSIONS),
        input=InputSpec(width=160, height=160),
        outputs=OutputSpec(top_k=100),
        variants=tuple(variants),
        files=(FileEntry(path="cards/model_card.md", sha256=sha256_of(card), size_bytes=card.stat().st_size),),
        calibration=Calibration(method="entropy", quantizer="onnxruntime", images=96, data_sha256="0" * 64),
        provenance=Provenance(created_at="2026-01-01T00:00:00Z"),
        gate=GateResult(
            passed=gate_passed,
            checks=(
                GateCheck(
                    variant="int8",
                    name="map50_95_drop",
                    value=0.005 if gate_passed else 0.2,
                    limit=0.01,
                    passed=gate_passed,
                ),
            ),
        ),
        intended_use="tests",
    )
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return manifest
