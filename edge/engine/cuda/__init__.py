"""The little of CUDA that an engine needs, through whichever binding the device has: cuda-python, else pycuda.

A Jetson's JetPack brings CUDA; ``mien[jetson]`` brings cuda-python, ``mien[pycuda]`` the other. Nothing here
knows TensorRT.
"""

from edge.engine.cuda.chooser import open_cuda
from edge.engine.cuda.interface import Array, Cuda, Gpu

__all__ = ["Array", "Cuda", "Gpu", "open_cuda"]
