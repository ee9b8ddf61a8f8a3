"""A detector's graphs in FP32, FP16 and INT8, made the way a bundle's are, without measuring any."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_precisions(weights: Path, folder: Path, frames: np.ndarray, *, max_batch: int = 1) -> dict[str, Path]:
    """Write the graphs for frames of this size, and so many in one call; by precision."""
    from optimize.graph.export import export_fp32, graph_spec
    from optimize.graph.weights import open_weights
    from optimize.int8 import open_workshop
    from optimize.quantize.onnxruntime_qdq import OnnxRuntimeQuantizer
    from optimize.variants import FP16, FP32, INT8, make_fp16, make_int8

    opened = open_weights(weights)
    _, height, width, _ = frames.shape
    export_fp32(opened, graph_spec(opened, f"{height}x{width}", 100, max_batch), folder / FP32)
    make_fp16(folder, frames[:4])
    quantizer = OnnxRuntimeQuantizer()
    shop = open_workshop(folder / FP32, quantizer, frames)
    make_int8(folder, shop, quantizer, shop.scales("max"), ())
    return {"fp32": folder / FP32, "fp16": folder / FP16, "int8": folder / INT8}


def letterboxed(photographs: list[np.ndarray], count: int, side: int) -> np.ndarray:
    """Frames ``uint8[count, side, side, 3]`` of photographs, each a little different."""
    from edge.vision.letterbox import Letterbox

    frames = np.empty((count, side, side, 3), np.uint8)
    for place, frame in enumerate(frames):
        photo = photographs[place % len(photographs)]
        turned = photo[4 * place :, ::-1] if place // len(photographs) % 2 else photo[4 * place :]
        Letterbox(side, side).apply(np.ascontiguousarray(turned), frame)
    return frames
