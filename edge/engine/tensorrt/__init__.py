"""Builds and runs TensorRT engines, 8.5 to 11: one port, and every difference between versions is a capability.

An engine binds to operating system, architecture, compute capability and exact TensorRT version, so it is built on the
device, and what it was built from and for stands in a file beside it (:mod:`edge.engine.tensorrt.sidecar`). Precision
comes from the graph: FP16 from its types, INT8 from explicit Q/DQ. API by version: NVIDIA's migration guide,
https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration-guide.html.
"""

from edge.engine.tensorrt.builder import BuildOptions, TensorRtBuilder
from edge.engine.tensorrt.library import load_tensorrt
from edge.engine.tensorrt.runtime import TensorRtEngine

__all__ = ["BuildOptions", "TensorRtBuilder", "TensorRtEngine", "load_tensorrt"]
