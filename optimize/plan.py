"""What would be built for a device class, where, how and why. Pure: it builds nothing and asks no machine.

The portable files of a bundle are made here; an engine is made on the device, because TensorRT binds it to operating
system, architecture, compute capability and its own exact version. What a class or a JetPack cannot do is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from mien.devices import DeviceClass, JetPack, PowerMode, made_for, refuse_missing_precisions
from mien.errors import ConfigError, UnsupportedError
from mien.release import Precision
from optimize.variants import FP16, FP32, INT8

STRIDE = 32
"""Every YOLOv8 and YOLO11 detector halves the image five times."""
OLDEST_TENSORRT = (8, 5)
STRONG_TYPES_SINCE = 10
OLDEST_PYTHON = (3, 10)
_DLA_DOCUMENTED_UNTIL = (10, 7)
_SMALL_MEMORY = 4 << 30
_FILES: dict[Precision, str] = {"fp32": FP32, "fp16": FP16, "int8": INT8}
_TYPES: dict[Precision, str] = {
    "fp32": "FP32 tensors",
    "fp16": "FP16 tensors",
    "int8": "explicit quantise/dequantise nodes around INT8, FP16 convolutions where a layer is left out",
}
_WHERE = "on the device, from the portable file: the canary of the class first, then each device for itself"
_FLAGS: dict[Precision, str] = {"fp32": "no flag", "fp16": "the FP16 flag", "int8": "the FP16 and INT8 flags"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One precision: the file that is made here, and the engine that is made of it on the device."""

    precision: Precision
    file: str
    types: str
    engine: str
    """How TensorRT builds it."""
    dla: str
    """Whether a deep learning accelerator could run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done for a class."""

    target: str
    display: str
    jetpack: str
    l4t: tuple[str, ...]
    python: str
    cuda: str
    tensorrt: str
    compute_capability: str
    imgsz: str
    graph: str
    power_mode: str | None
    builds: tuple[Build, ...]
    where: str
    why_there: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def make_plan(
    device: DeviceClass,
    jetpack: JetPack,
    *,
    precisions: Sequence[str] | None = None,
    mode: PowerMode | None = None,
    imgsz: str | None = None,
    graph: str | None = None,
    made_in: Precision | None = None,
) -> Plan:
    """Decide what would be built.

    Args:
        device: the class that it is for.
        jetpack: which the devices run.
        precisions: asked for; all that mien makes and the class has, unless given.
        mode: the power mode asked for; the class's default unless given.
        imgsz: the image size; the class's default unless given.
        graph: what the model is made from, such as a weights file; ``None`` when it was not said.
        made_in: the precision of a graph that is there already; anything can be made from FP32 and from what is none.

    Raises:
        ConfigError: no precision is called that or can be made from that graph; no detector takes that image size.
        UnsupportedError: the class or mien lacks a precision, or this JetPack's TensorRT is too old.
    """
    own = made_in if made_in != "fp32" else None
    wanted = chosen_precisions(device, precisions or ([own] if own else None))
    _refuse_others(wanted, own, graph)
    version = _tensorrt(device, jetpack)
    file = graph.rpartition("/")[2] if graph and own else None
    return Plan(
        target=device.name,
        display=device.display,
        jetpack=jetpack.version,
        l4t=jetpack.l4t,
        python=jetpack.python,
        cuda=jetpack.cuda,
        tensorrt=version,
        compute_capability=device.compute_capability,
        imgsz=image_size(imgsz or str(device.defaults.imgsz)),
        graph=graph or "not said; any YOLOv8 or YOLO11 detector",
        power_mode=mode.name if mode else device.defaults.power_mode,
        builds=tuple(_build(name, version, device, file) for name in wanted),
        where=_WHERE,
        why_there=_why_there(device, version),
        reasons=tuple(_reasons(device, why_these=_why_these(precisions, own), asked_mode=mode)),
        warnings=tuple(_warnings(device, jetpack)),
    )


def _refuse_others(wanted: Sequence[str], own: Precision | None, graph: str | None) -> None:
    others = [name for name in wanted if own and name != own]
    if others:
        raise ConfigError(
            f"{graph} is a graph in {own}: no other precision can be made from it",
            found=f"--precision {','.join(others)}",
            wanted=f"{own}, or an FP32 graph or weights",
            remedy="leave --precision out, or name model.fp32.onnx of the bundle with --model",
        )


def _why_these(asked: Sequence[str] | None, own: Precision | None) -> str:
    if asked:
        return "precisions as asked for"
    if own:
        return f"precision {own}: the graph's own; no other can be made from it"
    return "precisions: all that mien makes and this hardware calculates in"


def _why_there(device: DeviceClass, version: str) -> str:
    return (
        f"an engine is bound to linux-aarch64, compute capability {device.compute_capability} and TensorRT {version} "
        "exactly, and is tuned by timing this GPU at its own clocks; one built elsewhere does not load"
    )


def image_size(text: str) -> str:
    """Read ``N`` or ``HEIGHTxWIDTH`` as ``HEIGHTxWIDTH``.

    Raises:
        ConfigError: not such a size, or no multiple of the detectors' stride.
    """
    parts = text.lower().split("x")
    sides = [int(part) for part in parts if part.isdigit()]
    if not 1 <= len(parts) <= 2 or len(sides) != len(parts) or any(not side or side % STRIDE for side in sides):  # noqa: PLR2004
        raise ConfigError(
            "no such image size",
            found=text,
            wanted=f"a multiple of {STRIDE} such as 640, or HEIGHTxWIDTH such as 384x640",
            remedy="name such a size with --imgsz",
        )
    return f"{sides[0]}x{sides[-1]}"


def chosen_precisions(device: DeviceClass, asked: Sequence[str] | None) -> tuple[Precision, ...]:
    """The precisions to plan, in mien's order.

    Raises:
        ConfigError: no precision is called that.
        UnsupportedError: the class lacks one, or mien makes no file of it.
    """
    known: tuple[Precision, ...] = get_args(Precision)
    if asked is None:
        return made_for(device)
    refuse_missing_precisions(device, asked)
    foreign = [name for name in asked if name not in known]
    if foreign:
        raise UnsupportedError(
            f"mien makes no file of {', '.join(foreign)}, though {device.name} could run it",
            wanted=", ".join(made_for(device)),
            remedy="ask for these only; nothing is swapped for another precision",
        )
    return tuple(name for name in known if name in asked)


def _tensorrt(device: DeviceClass, jetpack: JetPack) -> str:
    version = jetpack.tensorrt
    if version is None:
        raise UnsupportedError(
            f"the TensorRT of JetPack {jetpack.version} is not known", remedy="name another version with --jetpack"
        )
    if _numbers(version) < OLDEST_TENSORRT:
        raise UnsupportedError(
            f"mien cannot build on JetPack {jetpack.version}",
            found=f"TensorRT {version}",
            wanted=f"TensorRT {'.'.join(map(str, OLDEST_TENSORRT))} or later, which JetPack 5.1 brings",
            remedy=f"{device.name} runs {', '.join(device.jetpacks)}: name a later one with --jetpack",
        )
    return version


def _build(precision: Precision, version: str, device: DeviceClass, file: str | None = None) -> Build:
    strong = _numbers(version)[0] >= STRONG_TYPES_SINCE
    how = "strongly typed network: every type is the graph's own" if strong else f"types allowed by {_FLAGS[precision]}"
    tf32 = (
        "; TF32 is allowed for FP32 layers, as TensorRT does unless told otherwise"
        if _uses_tf32(precision, device)
        else ""
    )
    return Build(
        precision=precision,
        file=file or _FILES[precision],
        types=_TYPES[precision],
        engine=f"TensorRT {version}, {how}{tf32}",
        dla=_dla(precision, device, version),
    )


def _uses_tf32(precision: Precision, device: DeviceClass) -> bool:
    return precision == "fp32" and "tf32" in device.precisions


def _dla(precision: Precision, device: DeviceClass, version: str) -> str:
    cores = device.dla.cores
    if not cores:
        return "no: the module has none"
    if precision == "fp32":
        return "no: it calculates in FP16 and INT8 only"
    words = f"possible on {cores} core{'s' if cores > 1 else ''} when asked for, the decoding falling back to the GPU"
    if _numbers(version) > _DLA_DOCUMENTED_UNTIL:
        words += "; NVIDIA's documents describe it up to TensorRT 10.7"
    return words


def _reasons(device: DeviceClass, *, why_these: str, asked_mode: PowerMode | None) -> list[str]:
    reasons = [f"default precision {device.defaults.precision}: {device.defaults.why}", why_these]
    if asked_mode is not None:
        reasons.append(f"power mode {asked_mode.name} as asked for; set it with: nvpmodel -m {asked_mode.id}")
    elif device.defaults.power_mode is not None:
        chosen = device.power_mode(device.defaults.power_mode)
        reasons.append(
            f"power mode {chosen.name}; set it with: nvpmodel -m {chosen.id}, its number in this configuration"
        )
    else:
        reasons.append("power mode: not known for this class")
    reasons += [f"{name} is not there: {why}" for name, why in device.lacks.items() if name in {"fp8", "fp4"}]
    return reasons


def _warnings(device: DeviceClass, jetpack: JetPack) -> list[str]:
    warnings = []
    if _numbers(jetpack.python) < OLDEST_PYTHON:
        warnings.append(
            f"JetPack {jetpack.version} brings Python {jetpack.python} and TensorRT's binding for it; mien needs "
            f"{'.'.join(map(str, OLDEST_PYTHON))}: build it for a later Python on the device, or use onnxruntime"
        )
    if device.memory.bytes <= _SMALL_MEMORY:
        warnings.append(
            f"the builder shares {device.memory.bytes >> 30} GiB with the system: stop the desktop before the first "
            "start, and expect fewer ways to compute a layer to fit (github.com/ultralytics/ultralytics/issues/19614)"
        )
    return warnings


def _numbers(version: str) -> tuple[int, int]:
    major, minor, *_ = (*version.split("."), "0")
    return int(major), int(minor)
