"""From a graph's bytes to TensorRT's network, and what types are in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.engine.interface import EngineError
from edge.engine.tensorrt.capabilities import Capabilities
from edge.engine.tensorrt.library import TensorRt, log_of
from mien.errors import UnsupportedError

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTypes:
    """The types of a graph that matter to a build."""

    half: bool
    """Some tensor is FP16."""
    explicit: bool
    """The graph quantises: it carries INT8 scales."""


def network_flags(library: TensorRt, can: Capabilities, *, strong: bool) -> int:
    """How a network is made."""
    flags = library.NetworkDefinitionCreationFlag
    if strong:
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH) if can.explicit_batch else 0


def parsed(library: TensorRt, network: trt.INetworkDefinition, model: Path, content: bytes) -> None:
    """Read a graph into a network.

    Raises:
        EngineError: NVIDIA's parser refuses it; with the parser's words.
    """
    log = log_of(library)
    parser = library.OnnxParser(network, log.logger)
    if parser.parse(content):
        return
    faults: list[trt.ParserError] = [parser.get_error(index) for index in range(parser.num_errors)]
    raise EngineError(
        f"TensorRT's parser refuses {model}",
        found="; ".join(fault.desc() for fault in faults)[:600] or log.told(),
        wanted="a portable graph of a release bundle",
        remedy="make it with 'mien optimize run'",
    )


def shape_of(dims: trt.Dims) -> tuple[int, ...]:
    """A tensor's shape."""
    return tuple(dims[place] for place in range(len(dims)))


def types_of(library: TensorRt, network: trt.INetworkDefinition) -> GraphTypes:
    """The types in a network."""
    layers = [network.get_layer(place) for place in range(network.num_layers)]
    types = {layer.get_output(place).dtype for layer in layers for place in range(layer.num_outputs)}
    return GraphTypes(
        half=library.float16 in types,
        explicit=library.int8 in types or any(layer.type == library.LayerType.QUANTIZE for layer in layers),
    )


def check_fast(builder: trt.Builder, types: GraphTypes, gpu: str, *, int8: bool) -> None:
    """Refuse a precision that the GPU has no instructions for. Only where there is the capability.

    Raises:
        UnsupportedError: it has none.
    """
    if int8 and not builder.platform_has_fast_int8:
        raise _slow("INT8", gpu, "model.fp16.onnx or model.fp32.onnx")
    if types.half and not builder.platform_has_fast_fp16:
        raise _slow("FP16", gpu, "model.fp32.onnx")


def _slow(kind: str, gpu: str, other: str) -> UnsupportedError:
    return UnsupportedError(
        f"this GPU has no {kind} instructions, so TensorRT would run the graph in another precision",
        found=gpu,
        wanted=f"a GPU with {kind}",
        remedy=f"build {other} of the release instead",
    )
