"""Makes a damaged release on purpose: a rehearsal of the bad release that every gate lets through one day.

The models of a good bundle are damaged after the gate: they load and run as fast as before and see wrong things. Hashes
and sizes are right, the records of gate, accuracy and reference are those of the good release. Only a device's own look
at the reference frames, or the fleet's look at its metrics, can tell. The manifest says loudly what it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edge.engine.chooser import open_engine
from edge.vision.reference import ReferenceFrame, read_reference
from mien.bundle import verify_bundle
from mien.console import SILENT, Progress
from mien.errors import BundleError
from mien.files import sha256_of, write_bytes
from mien.release import REFERENCE, FileEntry, Manifest, OutputSpec, Variant, version_key
from optimize.bundle.staging import check_target, staged, write_manifest
from optimize.reference import reproduced

_WARNING = "DRILL: damaged on purpose after the gate, to rehearse a bad release. Never use it for anything else."
_LEAST_WEIGHTS = 256
_STEPS = (2, 1)
"""Every second convolution is damaged; all of them, if the model still sees."""
_BLIND = 0.5
"""A damaged model reproduces less than this share of the reference detections."""


def drill(bundle: Path, version: str, out: Path, *, seed: int = 0, progress: Progress = SILENT) -> Manifest:
    """Pack a damaged copy of ``bundle`` under a higher version.

    Raises:
        BundleError: the bundle is damaged already, holds built engines or no reference, or the version does not rise.
    """
    good = verify_bundle(bundle)
    release = check_target(out, good.name, version)
    if version_key(release.version) <= version_key(good.version):
        raise BundleError(f"the drill's version must rise above {good.ref}", found=version, wanted="a higher version")
    progress.start("damage", len(good.variants))
    looks = _Looks(frames=read_reference(bundle / REFERENCE), outputs=good.outputs)
    with staged(out) as folder:
        variants = []
        for variant in good.variants:
            variants.append(_damaged(bundle, folder, variant, seed, looks))
            progress.advance()
        for entry in good.files:
            _copy(bundle, folder, entry)
        manifest = good.model_copy(
            update={
                "version": release.version,
                "variants": tuple(variants),
                "known_limits": (_WARNING, *good.known_limits),
                "provenance": good.provenance.model_copy(
                    update={"tools": {**good.provenance.tools, "drill": "damaged on purpose"}}
                ),
            }
        )
        write_manifest(folder, manifest)
    return verify_bundle(out)


def damage(model: onnx.ModelProto, seed: int, step: int = 2) -> int:
    """Shuffle the weights within every ``step``-th convolution, in place; shapes, types and values stay.

    Returns:
        How many convolutions were damaged.
    """
    dice = np.random.default_rng(seed)
    makers = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    count = 0
    for node in convolutions[step - 1 :: step]:
        weights = _constant_behind(node.input[1], makers, constants)
        if weights is None:
            continue
        values = numpy_helper.to_array(weights)
        if values.size < _LEAST_WEIGHTS:
            continue
        shuffled = dice.permutation(values.reshape(-1)).reshape(values.shape)
        weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(shuffled), weights.name))
        count += 1
    return count


def _constant_behind(
    name: str, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]
) -> onnx.TensorProto | None:
    """The weights of a convolution, looked up through casts and Q/DQ nodes."""
    while name not in constants:
        if name not in makers:
            return None
        name = makers[name].input[0]
    return constants[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looks:
    frames: Sequence[ReferenceFrame]
    outputs: OutputSpec

    def blind(self, model: Path) -> bool:
        with open_engine(model, "onnxruntime") as engine:
            return reproduced(engine, self.frames, self.outputs) < _BLIND


def _damaged(bundle: Path, folder: Path, variant: Variant, seed: int, looks: _Looks) -> Variant:
    if variant.format != "onnx":
        raise BundleError(
            "a drill damages portable models only", found=f"{variant.path} ({variant.format})", wanted="format onnx"
        )
    target = folder / variant.path
    for step in _STEPS:
        model = onnx.load(bundle / variant.path)
        damage(model, seed, step)
        write_bytes(target, model.SerializeToString())
        if looks.blind(target):
            break
    else:
        raise BundleError(
            f"{variant.path} still sees after all its convolutions were damaged",
            wanted="a model that the reference frames can tell from a good one",
            remedy="pack a bundle whose model finds something in its validation images",
        )
    return variant.model_copy(update={"sha256": sha256_of(target), "size_bytes": target.stat().st_size})


def _copy(bundle: Path, folder: Path, entry: FileEntry) -> None:
    target = folder / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle / entry.path, target)
