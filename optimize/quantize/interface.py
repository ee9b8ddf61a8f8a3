"""What a quantiser is. Rules for implementations: explicit Q/DQ, signed, symmetric; tensor names and metadata stay."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien.console import SILENT, Progress
from mien.errors import ConfigError, ModelError

METHODS = ("max", "entropy", "percentile")


class QuantizeError(ModelError):
    """A graph could not be quantised."""


class Quantizer(Protocol):
    """Makes an INT8 graph with explicit Q/DQ nodes that TensorRT takes."""

    @property
    def name(self) -> str:
        """As it is called on the command line."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Ways of finding scales that it knows, out of :data:`METHODS`; the first is its default."""

    def quantize(
        self,
        model: Path,
        out: Path,
        *,
        frames: npt.NDArray[np.uint8],
        method: str,
        keep_float: Collection[str],
        progress: Progress = SILENT,
    ) -> Path:
        """Quantise ``model`` into ``out``.

        Args:
            model: the FP32 graph.
            out: where the INT8 graph is written, whole or not at all.
            frames: calibration frames ``uint8[n, height, width, 3]``.
            method: one of :attr:`methods`.
            keep_float: names of nodes that stay in floating point.
            progress: told about each step.

        Raises:
            QuantizeError: the graph could not be quantised.
        """


def chosen_method(quantizer: Quantizer, method: str | None) -> str:
    """The method asked for, or the quantiser's default.

    Raises:
        ConfigError: names the valid ones.
    """
    if method is None:
        return quantizer.methods[0]
    if method not in quantizer.methods:
        raise ConfigError(
            f"the quantiser {quantizer.name} knows no method '{method}'",
            wanted=", ".join(quantizer.methods),
            remedy="choose one of these with --method, or another --quantizer",
        )
    return method
