"""Runs graphs that differ from FP32 only from some node on: what comes before is run once for all of them.

Measuring every layer alone runs the same FP32 nodes again and again. Here the values at the place where a graph begins
to differ are kept for every image, and carried on to the next place when the next graph needs them there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from edge.engine.interface import INPUT, OUTPUTS, RawOutput

_QUIET = 4
Values = dict[str, npt.NDArray[Any]]


class Relay:
    """FP32's values at one place of its graph, for some frames.

    Args:
        model: the FP32 graph.
        frames: ``uint8[height, width, 3]`` each, letterboxed.
        workers: so many frames are run side by side.
    """

    def __init__(self, model: onnx.ModelProto, frames: Sequence[npt.NDArray[np.uint8]], workers: int) -> None:
        self._model = model
        self._types = _types(model)
        self._workers = workers
        self._place = 0
        self._kept: list[Values] = [{INPUT: frame[None]} for frame in frames]

    def advance(self, place: int) -> None:
        """Run every frame on to just before a node.

        Args:
            place: the node's index in the FP32 graph: not before the last one, and before the graph's outputs are made.
        """
        nodes = self._model.graph.node
        needed = {name for node in nodes[place:] for name in node.input} | set(OUTPUTS)
        made = sorted(needed & {name for node in nodes[self._place : place] for name in node.output})
        if made:
            session = self._session(self._model, slice(self._place, place), made)

            def run(values: Values) -> Values:
                found = dict(zip(made, session.run(made, _fed(session, values)), strict=True))
                return {name: value for name, value in {**values, **found}.items() if name in needed}

            with ThreadPoolExecutor(self._workers) as pool:
                self._kept = list(pool.map(run, self._kept))
        self._place = place

    def finish(self, model: onnx.ModelProto) -> Callable[[int], RawOutput]:
        """What a graph gives for a frame, by the frame's index.

        Args:
            model: like the FP32 graph before the place where the frames are.
        """
        session = self._session(model, slice(self._place, None), OUTPUTS)

        def infer(index: int) -> RawOutput:
            boxes, scores, classes = session.run(list(OUTPUTS), _fed(session, self._kept[index]))
            return RawOutput(boxes=boxes, scores=scores, classes=classes.astype(np.int32, copy=False))

        return infer

    def _session(self, model: onnx.ModelProto, nodes: slice, outputs: Collection[str]) -> Any:  # noqa: ANN401 - untyped
        part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
        part.graph.name = "part"
        part.graph.node.extend(model.graph.node[nodes])
        read = {name for node in part.graph.node for name in node.input if name}
        part.graph.initializer.extend(one for one in model.graph.initializer if one.name in read)
        inside = {name for node in part.graph.node for name in node.output}
        given = read - inside - {one.name for one in part.graph.initializer}
        part.graph.input.extend(self._types[name] for name in sorted(given))
        part.graph.output.extend(self._types[name] for name in outputs)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = _QUIET
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _types(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {one.name: one for one in (*graph.value_info, *graph.input, *graph.output)}


def _fed(session: Any, values: Values) -> Values:  # noqa: ANN401 - onnxruntime is untyped
    return {one.name: values[one.name] for one in session.get_inputs()}
