"""What a TensorRT module can do, found by looking at its names; no version is ever parsed to decide.

:data:`NAMES` is the one table: a capability is there when all its names are. Code that uses one of these names asks
for the capability first; every other name that the builder and the runtime use must exist in every version
(``tests/contract`` holds both against the genuine modules).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

REQUIRED = ("uint8", "IExecutionContext.execute_async_v3", "ICudaEngine.get_tensor_mode", "ITimingCache.combine")
"""What tells 8.5 from older versions: pixels as input, tensors with names, caches that can be joined."""

NAMES: dict[str, tuple[str, ...]] = {
    "strong_typing": ("NetworkDefinitionCreationFlag.STRONGLY_TYPED",),
    "explicit_batch": ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH",),
    "precision_flags": ("BuilderFlag.FP16", "BuilderFlag.INT8"),
    "speed_hints": ("Builder.platform_has_fast_fp16", "Builder.platform_has_fast_int8"),
    "calibrators": (
        "IInt8EntropyCalibrator2",
        "IInt8EntropyCalibrator2.get_batch",
        "IInt8EntropyCalibrator2.get_batch_size",
        "IInt8EntropyCalibrator2.read_calibration_cache",
        "IInt8EntropyCalibrator2.write_calibration_cache",
        "IBuilderConfig.int8_calibrator",
        "IBuilderConfig.set_calibration_profile",
    ),
    "progress_monitor": (
        "IProgressMonitor",
        "IProgressMonitor.phase_start",
        "IProgressMonitor.step_complete",
        "IProgressMonitor.phase_finish",
        "IBuilderConfig.progress_monitor",
    ),
}
"""By capability, the names that stand and fall with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What differs between the versions that are supported."""

    strong_typing: bool
    """A network may be built with exactly the types of its graph: TensorRT 10 and later."""
    explicit_batch: bool
    """The network must be told that its batch is a dimension: required by 8.x, ignored by 10.x, gone in 11."""
    precision_flags: bool
    """FP16 and INT8 have to be allowed where types are not strong: gone in 11."""
    speed_hints: bool
    """The builder says whether the GPU has fast FP16 and INT8: gone in 11."""
    calibrators: bool
    """INT8 scales may be found by TensorRT itself: gone in 11."""
    progress_monitor: bool
    """The builder reports its steps and can be stopped: TensorRT 10 and later."""

    @classmethod
    def of(cls, module: object) -> Capabilities:
        """The capabilities of a module that looks like ``tensorrt``."""
        return cls(**{name: not missing(module, names) for name, names in NAMES.items()})


def missing(module: object, names: tuple[str, ...]) -> tuple[str, ...]:
    """The dotted names that a module lacks."""
    absent = object()
    return tuple(
        name
        for name in names
        if reduce(lambda owner, part: getattr(owner, part, absent), name.split("."), module) is absent
    )
