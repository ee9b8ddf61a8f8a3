"""A ``tensorrt`` module in memory, as small as what mien uses of it, in the generations 8, 10 and 11; and its CUDA.

A "graph" is JSON (:func:`write_graph`), a "plan" is JSON that says how it was built, and a build runs out of memory
when it may use more than ``spare_mb``. ``tests/contract`` holds the capabilities of each generation against the genuine
modules.
"""

from __future__ import annotations

import enum
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.fakes.fake_cuda import ORIN, FakeCuda

__all__ = ["ORIN", "FakeCuda", "FakeTensorRt", "write_graph"]
VERSIONS = {8: "8.5.2.2", 10: "10.3.0", 11: "11.4.0.106"}
SIDE, TOP_K = 8, 4
CONVOLUTION = {"name": "conv", "dtype": "FLOAT", "dla": True}
CAST = {"name": "cast", "dtype": "FLOAT"}
GRAPHS = {
    "fp32": [CAST, CONVOLUTION],
    "fp16": [CAST, {**CONVOLUTION, "dtype": "HALF"}],
    "int8": [CAST, {"name": "quantize", "type": "QUANTIZE", "dtype": "INT8", "dla": True}, CONVOLUTION],
}


def write_graph(
    path: Path, layers: list[dict[str, Any]] | str = "fp32", *, batch: int = 1, metadata: bytes = b"", **more: Any
) -> Path:
    """Write a graph of layers, or of a precision; a batch of -1 is open."""
    chosen = GRAPHS[layers] if isinstance(layers, str) else layers
    path.write_bytes(metadata + json.dumps({"layers": chosen, "batch": batch, **more}).encode())
    return path


class FakeTensorRt:
    """The module.

    Args:
        generation: 8, 10 or 11.
        dla_cores: of the GPU.
        spare_mb: a build that may use more fails.
        fast: whether the GPU has FP16 and INT8 instructions.
        gpu: whether there is one at all.
    """

    def __init__(
        self, generation: int, *, dla_cores: int = 0, spare_mb: int = 1 << 20, fast: bool = True, gpu: bool = True
    ) -> None:
        self.__name__ = "tensorrt"
        self.__version__ = VERSIONS[generation]
        self.built: list[dict[str, Any]] = []
        """How each build was asked for, failed ones among them."""
        self.timings: set[str] = set()
        self.spare_bytes = spare_mb << 20
        self.steps = 3
        self.executions = 0
        self.refused_executions: set[int] = set()
        """Which executions fail, counted from one over all contexts."""
        self._dla_cores, self._fast, self._gpu = dla_cores, fast, gpu
        self._enums(generation)
        self._interfaces(generation)
        self.Builder = self._builder(generation)
        self.OnnxParser = _parser_of(self)
        self.Runtime = self._runtime()
        self.ICudaEngine = SimpleNamespace(get_tensor_mode=1)
        self.IExecutionContext = SimpleNamespace(execute_async_v3=1)

    def nptype(self, kind: Any) -> type:
        """The numpy type of a tensor's type."""
        return {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "UINT8": np.uint8}[kind.name]

    def _enums(self, generation: int) -> None:
        precisions = ["FP16", "INT8"] if generation < 11 else []
        strong = ["STRONGLY_TYPED"] if generation >= 10 else []
        explicit = ["EXPLICIT_BATCH"] if generation < 11 else []
        self.BuilderFlag = enum.Enum("BuilderFlag", [*precisions, "GPU_FALLBACK"])
        self.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", [*explicit, *strong])
        self.DeviceType = enum.Enum("DeviceType", ["GPU", "DLA"])
        self.MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
        self.ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["LAYER_NAMES_ONLY", "DETAILED"])
        self.LayerInformationFormat = enum.Enum("LayerInformationFormat", ["JSON"])
        self.LayerType = enum.Enum("LayerType", ["CONVOLUTION", "QUANTIZE"])
        self.TensorIOMode = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
        self.DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "UINT8"])
        self.float16, self.int8, self.uint8 = self.DataType.HALF, self.DataType.INT8, self.DataType.UINT8

    def _interfaces(self, generation: int) -> None:
        class ILogger:
            Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

        self.ILogger = ILogger
        self.ITimingCache = _TimingCache
        self.IBuilderConfig = type("IBuilderConfig", (_Config,), {})
        if generation < 11:
            names = ("get_batch", "get_batch_size", "read_calibration_cache", "write_calibration_cache")
            self.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), dict.fromkeys(names))
            self.IBuilderConfig.int8_calibrator = None
            self.IBuilderConfig.set_calibration_profile = lambda config, profile: bool(profile.shapes)
        if generation >= 10:
            names = ("phase_start", "step_complete", "phase_finish")
            self.IProgressMonitor = type("IProgressMonitor", (), dict.fromkeys(names))
            self.IBuilderConfig.progress_monitor = None

    def _builder(self, generation: int) -> type:
        library = self

        class Builder:
            num_DLA_cores = library._dla_cores  # noqa: N815 - TensorRT's name

            def __init__(self, logger: Any) -> None:
                self.logger = logger
                if not library._gpu:
                    raise TypeError("pybind11::init(): factory function returned nullptr")

            def create_network(self, flags: int = 0) -> Any:
                return _Network(library, flags)

            def create_builder_config(self) -> Any:
                return library.IBuilderConfig(library)

            def create_optimization_profile(self) -> Any:
                return _Profile()

            def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
                return library.build(network, config, self.logger)

        if generation < 11:
            Builder.platform_has_fast_fp16 = Builder.platform_has_fast_int8 = library._fast
        return Builder

    def build(self, network: Any, config: Any, logger: Any) -> bytes | None:
        """Build, or say why not."""
        asked = config.asked(network)
        self.built.append(asked)
        error = self.ILogger.Severity.ERROR
        if asked["workspace"] > self.spare_bytes:
            logger.log(error, "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)")
            return None
        if network.batch < 0 and not asked["profiles"]:
            logger.log(
                error,
                "Error Code 4: Network has dynamic or shape inputs, but no optimization profile has been defined.",
            )
            return None
        if not self._steps_done(config):
            logger.log(error, "Error Code 7: BuildCanceled")
            return None
        if config.cache is not None:
            config.cache.entries |= {layer["name"] for layer in network.layers}
        if (calibrator := getattr(config, "int8_calibrator", None)) is not None:
            asked["scales"] = self._calibrated(calibrator)
        plan = {**asked, "layers": network.layers, "batch": network.batch, "half_scores": network.half_scores}
        return json.dumps(plan).encode()

    def _steps_done(self, config: Any) -> bool:
        monitor = getattr(config, "progress_monitor", None)
        if monitor is None:
            return True
        monitor.phase_start("Building engine", None, self.steps)
        monitor.phase_start("Timing tactics", "Building engine", 1)
        inner = monitor.step_complete("Timing tactics", 0)
        monitor.phase_finish("Timing tactics")
        going = inner and all(monitor.step_complete("Building engine", step) for step in range(self.steps))
        monitor.phase_finish("Building engine")
        return going

    def _calibrated(self, calibrator: Any) -> str:
        if (kept := calibrator.read_calibration_cache()) is not None:
            return kept.decode()
        batches = 0
        while calibrator.get_batch(["frames"]):
            batches += 1
        scales = f"{batches} batches of {calibrator.get_batch_size()}"
        calibrator.write_calibration_cache(scales.encode())
        return scales

    def _runtime(self) -> type:
        library = self

        class Runtime:
            DLA_core = 0

            def __init__(self, logger: Any) -> None:
                self.logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                try:
                    return _Engine(library, json.loads(plan))
                except ValueError:
                    self.logger.log(library.ILogger.Severity.ERROR, "Error Code 1: Serialization (magic tag)")
                    return None

        return Runtime


class _Network:
    def __init__(self, library: FakeTensorRt, flags: int) -> None:
        self.flags = [kind.name for kind in library.NetworkDefinitionCreationFlag if flags >> int(kind) & 1]
        self.layers: list[dict[str, Any]] = []
        self.batch = 1
        self.half_scores = False
        self.names = ["frames", "boxes", "scores", "classes"]
        self._library = library

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, place: int) -> Any:
        layer, library = self.layers[place], self._library
        return SimpleNamespace(
            name=layer["name"],
            type=library.LayerType[layer.get("type", "CONVOLUTION")],
            num_outputs=1,
            get_output=lambda _: SimpleNamespace(dtype=library.DataType[layer["dtype"]]),
            on_dla=layer.get("dla", False),
        )

    num_inputs, num_outputs = 1, 3

    def get_input(self, place: int) -> Any:
        return SimpleNamespace(name=self.names[0], shape=(self.batch, SIDE, SIDE, 3))

    def get_output(self, place: int) -> Any:
        return SimpleNamespace(name=self.names[1 + place])


def _parser_of(library: FakeTensorRt) -> type:
    class OnnxParser:
        num_errors = 1

        def __init__(self, network: Any, logger: Any) -> None:
            self._network = network

        def parse(self, content: bytes) -> bool:
            try:
                graph = json.loads(content[content.index(b"{") :])
            except ValueError:
                return False
            self._network.layers, self._network.batch = graph["layers"], graph["batch"]
            self._network.names = graph.get("names", self._network.names)
            self._network.half_scores = graph.get("half_scores", False)
            return True

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: "Failed to parse the ONNX model.")

    return OnnxParser


class _Profile:
    shapes: tuple[tuple[int, ...], ...] = ()

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert name == "frames"
        self.shapes = shapes


class _TimingCache:
    def __init__(self, entries: set[str]) -> None:
        self.entries = entries

    def combine(self, other: _TimingCache, ignore_mismatch: bool) -> bool:
        self.entries |= other.entries
        return True

    def serialize(self) -> bytes:
        return json.dumps(sorted(self.entries)).encode()


class _Config:
    DLA_core = -1
    default_device_type: Any = None
    profiling_verbosity: Any = None

    def __init__(self, library: FakeTensorRt) -> None:
        self._library = library
        self._flags: set[Any] = set()
        self._workspace = 0
        self._profiles: list[_Profile] = []
        self.cache: _TimingCache | None = None

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._workspace = size

    def add_optimization_profile(self, profile: _Profile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1 if len(set(profile.shapes)) == 1 else -1

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802 - TensorRT's name
        return layer.on_dla and self.DLA_core >= 0 and self.default_device_type is self._library.DeviceType.DLA

    def create_timing_cache(self, content: bytes) -> _TimingCache | None:
        try:
            return _TimingCache(set(json.loads(content)) if content else set())
        except ValueError:
            return None

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self.cache

    def asked(self, network: _Network) -> dict[str, Any]:
        """What a build was told."""
        return {
            "network": network.flags,
            "flags": sorted(flag.name for flag in self._flags),
            "workspace": self._workspace,
            "known": sorted(self.cache.entries) if self.cache else [],
            "dla": self.DLA_core,
            "profiles": [profile.shapes[2] for profile in self._profiles],
            "calibrated": getattr(self, "int8_calibrator", None) is not None,
        }


class _Engine:
    def __init__(self, library: FakeTensorRt, plan: dict[str, Any]) -> None:
        self._plan = plan
        kinds = library.DataType
        self.library = library
        self.batch = batch = plan["batch"]
        self._tensors = {
            plan.get("input", "frames"): ((batch, SIDE, SIDE, 3), kinds.UINT8),
            "boxes": ((batch, TOP_K, 4), kinds.FLOAT),
            "scores": ((batch, TOP_K), kinds.HALF if plan.get("half_scores") else kinds.FLOAT),
            "classes": ((batch, TOP_K), kinds.INT32),
        }
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.library.TensorIOMode
        return modes.OUTPUT if name in {"boxes", "scores", "classes"} else modes.INPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][0]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._tensors[name][1]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(self._plan["profiles"][profile_index])] * 3

    def create_execution_context(self) -> Any:
        return _Context(self)

    def create_engine_inspector(self) -> Any:
        layers = [
            {"Name": layer["name"], "LayerType": "conv", "Outputs": [{"Format/Datatype": layer["dtype"]}]}
            for layer in self._plan["layers"]
        ]
        layers.append({"Name": "Reformatting CopyNode for Input Tensor 0 to conv", "LayerType": "Reformat"})
        return SimpleNamespace(get_engine_information=lambda _: json.dumps({"Layers": layers}))


class _Context:
    """Scores are the frames' mean brightness; boxes and classes are zero."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._batch = engine.batch

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return self._batch == self._engine.get_tensor_profile_shape(name, 0)[2][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._batch, *self._engine.get_tensor_shape(name)[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        library = self._engine.library
        library.executions += 1
        if library.executions in library.refused_executions:
            return False
        FakeCuda.by_stream[stream].queue(partial(self._compute, dict(self._addresses)))
        return True

    def _compute(self, addresses: dict[str, int]) -> None:
        memory = FakeCuda.memory
        frames = memory[addresses["frames"]].reshape(self.get_tensor_shape("frames"))
        means = frames.reshape(len(frames), -1).mean(axis=1, keepdims=True) / 255
        scores = np.repeat(means, TOP_K, axis=1).astype(
            self._engine.library.nptype(self._engine.get_tensor_dtype("scores"))
        )
        memory[addresses["scores"]][:] = scores.reshape(-1).view(np.uint8)
