"""Memory for pictures that is used again once nobody looks at its last picture any more.

A frame owns its pixels for as long as anyone holds it, so memory may not simply be written over. Python counts who
holds an array, and every view of an array holds it too: an array that the pool alone holds is free.
"""

from __future__ import annotations

import sys

import numpy as np

from edge.camera.interface import Image

_PROBE = [np.empty(1, np.uint8)]
_ALONE = sys.getrefcount(_PROBE[0])
"""What Python counts for an array that only a list holds; differs between versions of Python."""


class FramePool:
    """Gives arrays for pictures; for one thread that asks, whoever holds the pictures.

    Args:
        most: arrays that are kept; beyond it, an array lives and dies with its frame.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._arrays: list[Image] = []

    def take(self, width: int, height: int) -> Image:
        """A ``uint8[height, width, 3]`` that nobody else holds; what is in it is left over from before."""
        shape = (height, width, 3)
        arrays = self._arrays
        if arrays and arrays[0].shape != shape:
            arrays.clear()
        for index in range(len(arrays)):
            if sys.getrefcount(arrays[index]) == _ALONE:
                return arrays[index]
        array = np.empty(shape, np.uint8)
        if len(arrays) < self._most:
            arrays.append(array)
        return array
