"""The deep learning accelerator of larger Jetsons: whether it is there, and which layers it cannot take.

TensorRT moves a layer that DLA cannot take to the GPU without a word. Here it is asked for each layer first; unless
the caller allows a fallback, the build is refused with the layers' names, and when it does they stand in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mien.errors import UnsupportedError
from mien.release import Precision

if TYPE_CHECKING:
    import tensorrt as trt

    from edge.engine.tensorrt.library import TensorRt

_NAMED = 5


def check_dla(core: int, cores: int, precision: Precision) -> None:
    """Refuse a core that is not there, and a precision that DLA does not compute in.

    Raises:
        UnsupportedError: either.
    """
    if not 0 <= core < cores:
        raise UnsupportedError(
            f"there is no DLA core {core} here",
            found=f"cores {', '.join(map(str, range(cores)))}" if cores else "no DLA",
            wanted="one of these cores" if cores else "a Jetson with DLA: AGX Orin, Orin NX or Xavier",
            remedy="name a core that is there, or leave --dla out to build for the GPU",
        )
    if precision == "fp32":
        raise UnsupportedError(
            "DLA does not compute in FP32",
            found="an fp32 graph",
            wanted="fp16 or int8",
            remedy="build model.fp16.onnx or model.int8.onnx",
        )


def place_on_dla(
    library: TensorRt,
    config: trt.IBuilderConfig,
    network: trt.INetworkDefinition,
    core: int,
    *,
    allow_fallback: bool,
) -> tuple[str, ...]:
    """Put a network on a core; the names of the layers that stay on the GPU. Types must be allowed before.

    Raises:
        UnsupportedError: some layers cannot run there and no fallback is allowed.
    """
    config.default_device_type = library.DeviceType.DLA
    config.DLA_core = core
    layers = [network.get_layer(place) for place in range(network.num_layers)]
    left = tuple(layer.name for layer in layers if not config.can_run_on_DLA(layer))
    if left and not allow_fallback:
        raise _refusal(left, len(layers))
    if left:
        config.set_flag(library.BuilderFlag.GPU_FALLBACK)
    return left


def _refusal(left: Sequence[str], layers: int) -> UnsupportedError:
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return UnsupportedError(
        f"DLA cannot take {len(left)} of the graph's {layers} layers",
        found=", ".join(left[:_NAMED]) + more,
        wanted="a graph that runs on DLA whole, or leave to run these layers on the GPU",
        remedy="add --allow-gpu-fallback, or leave --dla out",
    )
