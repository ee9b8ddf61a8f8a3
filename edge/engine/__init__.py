"""Runs a release's graph: TensorRT on a Jetson, onnxruntime anywhere. Choose with :mod:`edge.engine.chooser`."""

from edge.engine.chooser import builder_for, open_engine

__all__ = ["builder_for", "open_engine"]
