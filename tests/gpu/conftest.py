"""Tests on a real GPU with whatever TensorRT is installed; without them they say what is missing."""

import pytest

from edge.engine.cuda import open_cuda
from edge.engine.tensorrt import load_tensorrt
from mien.errors import UnsupportedError


@pytest.fixture(autouse=True, scope="session")
def _a_gpu():
    """Skip with the reason that a user would read."""
    try:
        load_tensorrt()
        open_cuda().close()
    except UnsupportedError as error:
        pytest.skip(str(error))
