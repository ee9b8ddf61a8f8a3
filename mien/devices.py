"""Classes of devices: what a Jetson module is, published figures of it, and what it may be asked for.

A class is a file, ``configs/devices/<name>.yaml``; the table of JetPack versions is ``configs/jetpack.yaml``. Every
figure carries the document it was read from. What was not found is absent, and then said to be not known. Nothing here
touches a device: reading one's facts is ``edge``'s work, and :func:`matching` says which class such facts belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from mien.config import Settings, nearest, read_settings
from mien.configs import CONFIGS, config_names, find_config
from mien.errors import ConfigError, UnsupportedError
from mien.facts import DeviceFacts
from mien.release import Precision

DEVICES = CONFIGS / "devices"
JETPACKS = CONFIGS / "jetpack.yaml"

HardwarePrecision = Literal["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "fp4"]
"""Number formats of NVIDIA's matrix units; mien itself builds ``fp32``, ``fp16`` and ``int8``."""
Text = Annotated[str, Field(min_length=3)]
Positive = Annotated[float, Field(gt=0)]
_MEMORY_SHARE = (0.8, 1.0)
"""A system shows a little less memory than its module has: firmware and carve-outs take their part."""


class Gpu(Settings):
    """The graphics processor at its highest clock."""

    architecture: Literal["volta", "ampere", "blackwell"]
    sms: int = Field(gt=0)
    cuda_cores: int = Field(gt=0)
    tensor_cores: int = Field(gt=0)
    clock_mhz: Positive
    source: Text


class Peak(Settings):
    """The most that the GPU's arithmetic can do with one number format, at its highest clock and without sparsity."""

    tera: Positive
    """10¹² operations a second; a multiply-add counts as two."""
    density: Literal["dense"] = "dense"
    """NVIDIA advertises figures with 2:4 sparsity, twice as high; those stand in ``advertised`` only."""
    basis: Literal["published", "derived"]
    how: str = ""
    """The arithmetic of a derived figure."""
    source: Text

    @model_validator(mode="after")
    def _derived_says_how(self) -> Peak:
        if (self.basis == "derived") != bool(self.how):
            raise ValueError("a derived figure says how, and a published one needs no arithmetic")
        return self


class Advertised(Settings):
    """The figure on the box, for recognition; nothing is computed with it."""

    tera: Positive
    precision: HardwarePrecision
    density: Literal["dense", "sparse"]
    what: Text
    source: Text


class Memory(Settings):
    """Memory that processor, GPU and accelerators share."""

    bytes: int = Field(gt=0)
    bandwidth_gb_s: Positive
    """At the highest memory clock, in 10⁹ bytes a second."""
    clock_mhz: Positive | None = None
    source: Text


class Dla(Settings):
    """NVIDIA's deep learning accelerators beside the GPU."""

    cores: int = Field(ge=0)
    note: str = ""
    source: Text


class PowerMode(Settings):
    """A power mode of ``nvpmodel``; absent limits are not known."""

    name: str = Field(min_length=2)
    id: int = Field(ge=0)
    """Its number in this class's ``nvpmodel`` configuration; numbers differ between classes."""
    watts: Positive | None = None
    """The budget that the mode is named after; ``None``: the mode has none, or it is not known."""
    gpu_clock_mhz: Positive | None = None
    sms: int | None = Field(default=None, gt=0)
    """Multiprocessors that are left on."""
    memory_clock_mhz: Positive | None = None
    boot_default: bool = False
    source: Text


class Published(Settings):
    """Somebody's measurement of this class; never one of mien's own."""

    model: Text
    imgsz: int = Field(gt=0)
    batch: int = Field(default=1, gt=0)
    precision: HardwarePrecision
    latency_ms: Positive
    power_w: Positive | None = None
    """Of the whole module while it ran."""
    power_mode: str | None = None
    jetpack: str | None = None
    tensorrt: str | None = None
    measured: Text
    """What was timed, and by what."""
    source: Text


class Defaults(Settings):
    """What is planned when nothing is asked for."""

    precision: HardwarePrecision
    imgsz: int = Field(gt=0)
    jetpack: str
    power_mode: str | None = None
    why: Text


class JetPack(Settings):
    """One release of NVIDIA's system for Jetsons."""

    version: str = Field(pattern=r"^\d+(\.\d+){1,2}$")
    l4t: tuple[str, ...] = Field(min_length=1)
    ubuntu: str
    kernel: str | None = None
    python: str
    cuda: str
    cudnn: str | None = None
    tensorrt: str | None = None
    note: str = ""
    source: Text


class _JetPacks(Settings):
    jetpacks: tuple[JetPack, ...] = Field(min_length=1)


class DeviceClass(Settings):
    """Modules that are alike in everything that decides what runs on them and how fast."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,39}$")
    display: Text
    soc: Text
    modules: tuple[str, ...] = ()
    """Module ids as the device tree has them, such as ``p3767-0003``; none where they are not known."""
    modules_source: Text
    super_mode: bool = False
    """Flashed with NVIDIA's ``-super`` configuration, which raises clocks of the same module."""
    compute_capability: str = Field(pattern=r"^\d+\.\d$")
    gpu: Gpu
    memory: Memory
    dla: Dla
    peaks: dict[HardwarePrecision, Peak] = Field(default_factory=dict)
    advertised: Advertised | None = None
    precisions: tuple[HardwarePrecision, ...] = Field(min_length=1)
    lacks: dict[HardwarePrecision, str] = Field(default_factory=dict)
    """Number formats that the hardware has not, and why."""
    precisions_source: Text
    power_modes: tuple[PowerMode, ...] = ()
    jetpacks: tuple[str, ...] = Field(min_length=1)
    defaults: Defaults
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> DeviceClass:
        faults = [f"a peak for {name}, which is not listed" for name in self.peaks if name not in self.precisions]
        faults += [f"{name} is both there and lacking" for name in self.lacks if name in self.precisions]
        faults += [f"{name} is neither there nor lacking" for name in unsettled(self)]
        faults += self._wrong_defaults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _wrong_defaults(self) -> list[str]:
        wanted, names = self.defaults, [mode.name for mode in self.power_modes]
        faults = [] if wanted.precision in self.precisions else [f"default precision {wanted.precision} is lacking"]
        if wanted.power_mode is not None and wanted.power_mode not in names:
            faults.append(f"default power mode {wanted.power_mode} is none of {', '.join(names) or 'none'}")
        if wanted.jetpack not in self.jetpacks:
            faults.append(f"default JetPack {wanted.jetpack} is none of {', '.join(self.jetpacks)}")
        if len(set(names)) != len(names) or len({mode.id for mode in self.power_modes}) != len(names):
            faults.append("two power modes share a name or a number")
        return faults

    def peak_ops(self, precision: HardwarePrecision, mode: PowerMode | None = None) -> float | None:
        """Operations a second at a mode's clock and with its multiprocessors; ``None`` where no peak is known.

        A limit that is not known is taken as the module's highest, so that the figure stays an upper bound.
        """
        peak = self.peaks.get(precision)
        if peak is None:
            return None
        clock = _share(mode.gpu_clock_mhz if mode else None, self.gpu.clock_mhz)
        return peak.tera * 1e12 * clock * _share(mode.sms if mode else None, self.gpu.sms)

    def bandwidth(self, mode: PowerMode | None = None) -> float:
        """Bytes a second from memory at a mode's memory clock."""
        return self.memory.bandwidth_gb_s * 1e9 * _share(mode.memory_clock_mhz if mode else None, self.memory.clock_mhz)

    def power_mode(self, name: str) -> PowerMode:
        """The power mode of that name.

        Raises:
            UnsupportedError: the class has no such mode; names those it has.
        """
        for mode in self.power_modes:
            if mode.name == name:
                return mode
        names = [mode.name for mode in self.power_modes]
        alike = nearest(name.upper(), names)
        raise UnsupportedError(
            f"{self.name} has no power mode '{name}'" + (f"; did you mean {' or '.join(alike)}?" if alike else ""),
            wanted=", ".join(names) or "none is known of this class",
            remedy="leave --power-mode out, or name one of these",
        )


def unsettled(device: DeviceClass) -> list[str]:
    """Number formats of which a class says neither that it has them nor that it lacks them."""
    known: tuple[str, ...] = get_args(HardwarePrecision)
    return [name for name in known if name not in device.precisions and name not in device.lacks]


def device_names() -> list[str]:
    """The classes that come with mien."""
    return config_names(DEVICES)


def device_class(given: str) -> DeviceClass:
    """Read a class by name, or from a YAML file.

    Raises:
        ConfigError: no such name (the nearest are given), or the file has faults.
        UnsupportedError: a name was given, and mien was installed without its checkout.
    """
    return read_settings(DeviceClass, find_config(given, DEVICES, what="device class", option="--target"))


def device_classes() -> tuple[DeviceClass, ...]:
    """All classes that come with mien, by name."""
    return tuple(device_class(name) for name in device_names())


def jetpack_table(path: Path | None = None) -> tuple[JetPack, ...]:
    """All JetPack versions that mien knows, oldest first.

    Raises:
        ConfigError: the file is missing or has faults.
    """
    return read_settings(_JetPacks, path or JETPACKS).jetpacks


def jetpack_for(device: DeviceClass, version: str | None, table: Sequence[JetPack]) -> JetPack:
    """The JetPack asked for, or the class's default.

    Raises:
        ConfigError: no such version; names the nearest.
        UnsupportedError: the version exists, and this class does not run it.
    """
    wanted = version or device.defaults.jetpack
    found = next((row for row in table if row.version == wanted), None)
    if found is None:
        known = [row.version for row in table]
        alike = nearest(wanted, device.jetpacks) or nearest(wanted, known)
        raise ConfigError(
            f"no JetPack {wanted} is known" + (f"; did you mean {' or '.join(alike)}?" if alike else ""),
            wanted=", ".join(known),
            remedy=f"name one that {device.name} runs: {', '.join(device.jetpacks)}",
        )
    if wanted not in device.jetpacks:
        raise UnsupportedError(
            f"JetPack {wanted} does not run on {device.name}",
            wanted=", ".join(device.jetpacks),
            remedy="name one of these with --jetpack",
        )
    return found


def made_for(device: DeviceClass) -> tuple[Precision, ...]:
    """The precisions that mien makes files of and the class calculates in, in mien's order."""
    return tuple(name for name in get_args(Precision) if name in device.precisions)


def refuse_missing_precisions(device: DeviceClass, precisions: Iterable[str]) -> None:
    """Refuse number formats that a class lacks. Nothing is swapped for another.

    Raises:
        ConfigError: no number format is called that; names the nearest.
        UnsupportedError: the class lacks one; says why, and what mien makes for it.
    """
    known: tuple[str, ...] = get_args(HardwarePrecision)
    for name in precisions:
        if name not in known:
            alike = nearest(name, known)
            raise ConfigError(
                f"no precision is called '{name}'" + (f"; did you mean {' or '.join(alike)}?" if alike else ""),
                wanted=", ".join(made_for(device)),
                remedy="name some of these with --precision",
            )
    reasons = [f"{name}: {why}" for name, why in device.lacks.items() if name in set(precisions)]
    if reasons:
        raise UnsupportedError(
            f"{device.name} lacks what was asked for",
            found="; ".join(reasons),
            wanted=", ".join(made_for(device)),
            remedy="ask for these only; nothing is swapped for another precision",
        )


def matching(facts: DeviceFacts, classes: Sequence[DeviceClass]) -> DeviceClass | None:
    """The class that a device's facts belong to.

    Its module id decides; without one, compute capability and memory do, if they leave a single class. Of classes that
    share a module, the ``-super`` one is meant when the board's name says "Super".
    """
    is_super = "super" in (facts.model or "").lower()
    fitting = [one for one in classes if facts.module and facts.module in one.modules]
    if not fitting:
        fitting = [one for one in classes if _alike(facts, one)]
    if len({one.super_mode for one in fitting}) > 1:
        fitting = [one for one in fitting if one.super_mode == is_super]
    return fitting[0] if len(fitting) == 1 else None


def _alike(facts: DeviceFacts, device: DeviceClass) -> bool:
    low, high = _MEMORY_SHARE
    same_memory = low * device.memory.bytes <= facts.memory_bytes <= high * device.memory.bytes
    return facts.compute_capability == device.compute_capability and same_memory


def _share(part: float | None, whole: float | None) -> float:
    return min(1.0, part / whole) if part and whole else 1.0
