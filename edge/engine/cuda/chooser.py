"""Opens the first CUDA binding that is there and finds a device."""

from __future__ import annotations

from edge.engine.cuda.cuda_python import CudaPython
from edge.engine.cuda.interface import Cuda
from edge.engine.cuda.pycuda import PyCuda
from edge.engine.interface import EngineError
from mien.errors import UnsupportedError


def open_cuda() -> Cuda:
    """The first binding that is there and finds a device.

    Raises:
        UnsupportedError: no binding is installed, or none finds a GPU; says what each answered.
    """
    answers: list[str] = []
    for kind in (CudaPython, PyCuda):
        try:
            return kind()
        except (ImportError, EngineError) as error:
            answers.append(f"{kind.name}: {error}")
    raise UnsupportedError(
        "no CUDA binding finds a GPU",
        found="; ".join(answers)[:400],
        wanted="cuda-python or pycuda, and an NVIDIA GPU",
        remedy="on a Jetson: pip install 'mien[jetson]'; elsewhere use the onnxruntime runtime",
    )
