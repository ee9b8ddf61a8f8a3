"""Which class of devices a bundle is made for, and whether that class can run what is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from mien.devices import device_class, jetpack_for, jetpack_table
from mien.errors import ConfigError
from mien.release import InputSpec, Target
from optimize.plan import make_plan


def aim(name: str | None, jetpack: str | None, precisions: Sequence[str]) -> Target | None:
    """Read a class, and hold the precisions against it and its JetPack. Nothing is swapped.

    Args:
        name: of the class, or the path of its file; ``None`` makes a bundle for any device.
        jetpack: its default unless given.
        precisions: asked for.

    Raises:
        ConfigError: no such class or JetPack (the nearest are named), or a JetPack without a class.
        UnsupportedError: the class lacks a precision, or its TensorRT is too old.
    """
    if name is None:
        if jetpack is not None:
            raise ConfigError(
                "a JetPack belongs to a device class",
                found=f"--jetpack {jetpack}",
                remedy="name the class with --target",
            )
        return None
    device = device_class(name)
    plan = make_plan(device, jetpack_for(device, jetpack, jetpack_table()), precisions=precisions)
    return Target(
        name=plan.target, jetpack=plan.jetpack, tensorrt=plan.tensorrt, compute_capability=plan.compute_capability
    )


def size_note(target: str, made: InputSpec) -> str | None:
    """What is to be said where a bundle for a class keeps another image size than the class is planned with.

    Args:
        target: name of the class, or the path of its file.
        made: the size that the weights brought along.
    """
    device = device_class(target)
    usual = f"{device.defaults.imgsz}x{device.defaults.imgsz}"
    if f"{made.height}x{made.width}" == usual:
        return None
    return (
        f"the image size is {made.height}x{made.width}, the weights' own; {device.name} is planned with {usual}: "
        f"--imgsz {device.defaults.imgsz} exports at that"
    )
