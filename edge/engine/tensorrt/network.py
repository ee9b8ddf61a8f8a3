"""From a graph's bytes to TensorRT's network, and what types are in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge.engine.interface import INPUT, EngineError, largest_batch
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


def input_shape(
    model: Path, network: trt.INetworkDefinition, metadata: Mapping[str, str], max_batch: int | None
) -> tuple[tuple[int, ...], bool]:
    """The shape of the frames that an engine is built for, and whether the graph leaves the batch open.

    Raises:
        EngineError: more than the batch is open, the graph has a batch of its own and another is asked for, or the one
            that is asked for is none.
    """
    batch, *one = shape_of(network.get_input(0).shape)
    if any(length < 1 for length in one):
        raise EngineError(f"{model} has open shapes", found=str([batch, *one]), wanted="at most an open batch")
    if batch >= 1:
        if max_batch not in {None, batch}:
            raise EngineError(
                f"{model} takes another batch than the one asked for",
                found=f"a fixed batch of {batch}",
                wanted=f"{max_batch}, or a graph that leaves its batch open",
                remedy="ask for no batch, or make a graph for it",
            )
        return (batch, *one), False
    most = largest_batch(model, metadata) if max_batch is None else max_batch
    if most < 1:
        raise EngineError("an engine cannot be built for this batch", found=str(most), wanted="1 or more")
    return (most, *one), True


def fixed_profile(builder: trt.Builder, config: trt.IBuilderConfig, shape: tuple[int, ...]) -> trt.IOptimizationProfile:
    """Fix an open batch: shortest, usual and largest input are one, so that the work is the same in each call.

    Raises:
        EngineError: TensorRT takes no such profile.
    """
    profile = builder.create_optimization_profile()
    dims = cast("trt.Dims", shape)  # any sequence serves
    profile.set_shape(INPUT, dims, dims, dims)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError("TensorRT takes no input of this shape", found=str(list(shape)))
    return profile


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
