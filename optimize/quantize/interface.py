"""What a quantiser is: it chooses where a graph becomes INT8. How wide the numbers are is calibration's work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien.console import SILENT, Progress
from mien.errors import ModelError
from optimize.quantize.placement import Placement


class QuantizeError(ModelError):
    """A graph could not be quantised."""


class Quantizer(Protocol):
    """Chooses the places of explicit Q/DQ such that TensorRT fuses them."""

    @property
    def name(self) -> str:
        """As it is called on the command line."""

    @property
    def for_cpu(self) -> bool:
        """Whether onnxruntime runs its placement with INT8 kernels, so that an unsigned twin is worth packing."""

    def place(
        self,
        model: Path,
        *,
        frames: npt.NDArray[np.uint8],
        keep_float: Collection[str],
        progress: Progress = SILENT,
    ) -> Placement:
        """Choose the places.

        Args:
            model: the FP32 graph.
            frames: a few calibration frames ``uint8[n, height, width, 3]``; the libraries insist on running some.
            keep_float: names of nodes that stay in floating point.
            progress: told about each step.

        Raises:
            QuantizeError: the graph could not be quantised.
        """
