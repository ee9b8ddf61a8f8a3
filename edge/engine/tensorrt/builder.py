"""Builds this GPU's engine from a portable model.

The network is strongly typed where TensorRT can, and then its types are the graph's. Where it cannot, or where DLA or
an implicit calibration ask for the older way, FP16 and INT8 are allowed exactly when the graph has them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge.engine.cuda import Cuda, open_cuda
from edge.engine.interface import EngineError, check_names
from edge.engine.metadata import metadata_of
from edge.engine.tensorrt.calibrator import Calibration, calibrator_of, check_calibration, refuse_calibration
from edge.engine.tensorrt.capabilities import Capabilities
from edge.engine.tensorrt.dla import check_dla, place_on_dla
from edge.engine.tensorrt.host import Host, read_host
from edge.engine.tensorrt.inspector import summary_of
from edge.engine.tensorrt.library import TensorRt, builder_of, load_tensorrt, log_of, runtime_of
from edge.engine.tensorrt.network import (
    GraphTypes,
    check_fast,
    fixed_profile,
    input_shape,
    network_flags,
    parsed,
    types_of,
)
from edge.engine.tensorrt.progress import monitor_of
from edge.engine.tensorrt.sidecar import CacheUse, EngineRecord, Inspection, write_record
from edge.engine.tensorrt.timing_cache import TimingCache, cache_name
from edge.engine.tensorrt.workspace import is_out_of_memory, smaller, workspace_limit
from mien.console import SILENT, Progress
from mien.files import replacing
from mien.release import Precision

if TYPE_CHECKING:
    import tensorrt as trt

_talk = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuildOptions:
    """What may be asked of the builder."""

    workspace_mb: int | None = None
    """The most memory that it may use; half of what is free unless given."""
    dla_core: int | None = None
    allow_gpu_fallback: bool = False
    """Whether layers that DLA cannot take may run on the GPU."""
    timing_cache: Path | None = None
    """Folder of timing caches; none is kept unless given."""
    max_batch: int | None = None
    """Frames a call takes, where the graph leaves that open; what the graph says (``mien.max_batch``) unless given."""
    calibration: Calibration | None = None
    """Frames for TensorRT to find INT8 scales with, where it still can."""
    configure: Callable[[trt.IBuilderConfig], None] | None = None
    """Sets more of TensorRT's configuration, such as the compute capability aimed at."""


@dataclass(slots=True, kw_only=True)
class _Work:
    """One build: what is given, and what was found out on the way."""

    host: Host
    progress: Progress
    strong: bool
    builder: trt.Builder
    network: trt.INetworkDefinition
    types: GraphTypes
    shape: tuple[int, ...]
    """Of the input, with the batch that the engine is built for."""
    open_batch: bool
    """Whether the graph leaves the batch open, so that a profile must fix it."""
    cache: TimingCache
    calibrator: trt.IInt8EntropyCalibrator2 | None = None
    cache_use: CacheUse = "none"
    tried_mb: list[int] = field(default_factory=list)
    on_gpu: tuple[str, ...] = ()


class TensorRtBuilder:
    """Builds engines, with a record beside each (:mod:`edge.engine.tensorrt.sidecar`).

    Args:
        library: the TensorRT module; the installed one unless given.
        host: the machine that engines are for; this one, found through CUDA, unless given.
        cuda: opens a CUDA binding, for the facts of this machine and for calibration; the first found unless given.
        options: what is asked for.

    Raises:
        UnsupportedError: TensorRT is missing or too old.
    """

    def __init__(
        self,
        *,
        library: TensorRt | None = None,
        host: Host | None = None,
        cuda: Callable[[], Cuda] | None = None,
        options: BuildOptions | None = None,
    ) -> None:
        self._library = library or load_tensorrt()
        self._can = Capabilities.of(self._library)
        self._host = host
        self._open_cuda = cuda or open_cuda
        self._options = options or BuildOptions()
        self._log = log_of(self._library)

    def build(self, model: Path, out: Path, *, progress: Progress = SILENT) -> Path:
        """See :class:`edge.engine.interface.EngineBuilder`.

        Raises:
            UnsupportedError: this TensorRT or GPU lacks what the graph or the options ask for.
        """
        started_s = time.monotonic()
        if self._options.calibration and not self._can.calibrators:
            raise refuse_calibration(self._library.__version__)
        content = _content(model)
        with replacing(out) as stream, ExitStack() as closing:
            work = self._prepared(model, content, progress, closing)
            plan = self._plan(work, model)
            record = EngineRecord(
                device=work.host.device,
                tensorrt=self._library.__version__,
                graph_sha256=hashlib.sha256(content).hexdigest(),
                engine_sha256=hashlib.sha256(plan).hexdigest(),
                precision=self._precision(work.types),
                typing="strong" if work.strong else "weak",
                implicit_int8=work.calibrator is not None,
                workspace_mb=tuple(work.tried_mb),
                timing_cache=work.cache_use,
                dla_core=self._options.dla_core,
                gpu_fallback=work.on_gpu,
                inspection=self._inspected(plan),
                seconds=round(time.monotonic() - started_s, 3),
            )
            stream.write(plan)
            stream.flush()
            os.fsync(stream.fileno())
            write_record(out, record)  # before the engine has its name: an engine never stands without its record
        return out

    def _prepared(self, model: Path, content: bytes, progress: Progress, closing: ExitStack) -> _Work:
        """Parse, and refuse whatever cannot be had before anything is built."""
        options, library = self._options, self._library
        weak = options.calibration is not None or (options.dla_core is not None and self._can.precision_flags)
        strong = self._can.strong_typing and not weak
        host, cuda = self._machine(closing)
        self._log.clear()
        builder = builder_of(library)
        network = builder.create_network(network_flags(library, self._can, strong=strong))
        parsed(library, network, model, content)
        check_names(
            model,
            [network.get_input(index).name for index in range(network.num_inputs)],
            [network.get_output(index).name for index in range(network.num_outputs)],
        )
        types = types_of(library, network)
        shape, open_batch = input_shape(model, network, metadata_of(content), options.max_batch)
        work = _Work(
            host=host,
            progress=progress,
            strong=strong,
            builder=builder,
            network=network,
            types=types,
            shape=shape,
            open_batch=open_batch,
            cache=TimingCache(options.timing_cache, cache_name(host, library.__version__)),
        )
        if self._can.speed_hints:
            check_fast(builder, types, host.device.gpu, int8=self._precision(types) == "int8")
        if options.calibration is not None and cuda is not None:
            check_calibration(options.calibration, shape, explicit=types.explicit)
            scales = options.calibration.file_for(content)
            work.calibrator = calibrator_of(library, options.calibration, scales, shape[0], cuda)
        if options.dla_core is not None:
            check_dla(options.dla_core, builder.num_DLA_cores, self._precision(types))
        return work

    def _machine(self, closing: ExitStack) -> tuple[Host, Cuda | None]:
        if self._host is not None and self._options.calibration is None:
            return self._host, None
        cuda = self._open_cuda()
        closing.callback(cuda.close)
        return self._host or read_host(cuda), cuda

    def _plan(self, work: _Work, model: Path) -> bytes:
        """Build, with less memory each time that TensorRT runs out of it."""
        limit = (self._options.workspace_mb or 0) << 20 or workspace_limit(work.host.free_bytes)
        while True:
            self._log.clear()
            work.tried_mb.append(limit >> 20)
            plan = self._attempt(work, limit)
            if plan is not None:
                return plan
            less = smaller(limit) if is_out_of_memory(self._log.errors()) else None
            if less is None:
                raise EngineError(
                    f"TensorRT could not build {model}",
                    found=self._log.told() or "no reason given",
                    wanted=f"a build within {', '.join(map(str, work.tried_mb))} MiB of workspace",
                    remedy="free some memory, or look at the log of level DEBUG",
                )
            _talk.warning("TensorRT ran out of memory with %d MiB; trying %d MiB", limit >> 20, less >> 20)
            work.progress.start(f"out of memory: again with {less >> 20} MiB")
            limit = less

    def _attempt(self, work: _Work, limit_bytes: int) -> bytes | None:
        config = self._config(work, limit_bytes)
        if not self._can.progress_monitor:
            work.progress.start("TensorRT: build engine", 1)
            plan = self._serialized(work, config)
            work.progress.advance()
            return plan
        watching, monitor = monitor_of(self._library, work.progress)
        config.progress_monitor = watching
        plan = self._serialized(work, config)
        monitor.raise_stopped()
        return plan

    def _serialized(self, work: _Work, config: trt.IBuilderConfig) -> bytes | None:
        try:
            plan = work.builder.build_serialized_network(work.network, config)
        except MemoryError:
            plan = None
        if plan is None:
            return None
        work.cache.keep(config)
        return bytes(plan)

    def _config(self, work: _Work, limit_bytes: int) -> trt.IBuilderConfig:
        options, library = self._options, self._library
        config = work.builder.create_builder_config()
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, limit_bytes)
        config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
        if not work.strong and self._can.precision_flags:
            self._allow_types(config, work)
        profile = fixed_profile(work.builder, config, work.shape) if work.open_batch else None
        if work.calibrator is not None:
            config.int8_calibrator = work.calibrator
            if profile is not None:
                config.set_calibration_profile(profile)
        if options.dla_core is not None:
            work.on_gpu = place_on_dla(
                library, config, work.network, options.dla_core, allow_fallback=options.allow_gpu_fallback
            )
        work.cache_use = work.cache.attach(config)
        if options.configure:
            options.configure(config)
        return config

    def _allow_types(self, config: trt.IBuilderConfig, work: _Work) -> None:
        if work.types.half:
            config.set_flag(self._library.BuilderFlag.FP16)
        if work.types.explicit or work.calibrator is not None:
            config.set_flag(self._library.BuilderFlag.INT8)

    def _precision(self, types: GraphTypes) -> Precision:
        if types.explicit or self._options.calibration is not None:
            return "int8"
        return "fp16" if types.half else "fp32"

    def _inspected(self, plan: bytes) -> Inspection | None:
        """What became of the graph; needs the GPU that the engine is for."""
        self._log.clear()
        runtime = runtime_of(self._library)
        if (core := self._options.dla_core) is not None:
            runtime.DLA_core = core
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            _talk.info("the engine cannot be inspected here: %s", self._log.told())
            return None
        information = engine.create_engine_inspector().get_engine_information(self._library.LayerInformationFormat.JSON)
        return summary_of(information)


def _content(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise EngineError(f"could not read {model}", found=error.strerror or str(error)) from error
