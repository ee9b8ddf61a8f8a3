"""A live source read through OpenCV's capture.

Memory: OpenCV writes into an array of the pool, so nothing is allocated for a frame while frames are let go at the rate
they come. A picture of another size comes in an array of its own, and the pool follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from edge.camera.interface import CameraError, Image, Picture
from edge.camera.pool import FramePool
from edge.camera.stamps import taken_at


class OpenCvSource:
    """An open capture.

    Args:
        capture: from OpenCV, open; closed by :meth:`close`.
        name: for errors, without a password.
        description: what was agreed with the source.
        stamp: the driver's own time of the frame that was grabbed last, where there is one.
        scale_to: width and height that pictures are scaled to; of their shape.
    """

    def __init__(
        self,
        capture: cv2.VideoCapture,
        *,
        name: str,
        description: str,
        stamp: Callable[[], float] | None = None,
        scale_to: tuple[int, int] | None = None,
    ) -> None:
        self.description = description
        self._capture = capture
        self._name = name
        self._stamp = stamp
        self._scale_to = scale_to
        self._size: tuple[int, int] | None = None
        self._pool, self._scaled = FramePool(), FramePool()

    def next(self) -> Picture | None:
        """The next picture; ``None`` when none came within the time that was set when opening.

        Raises:
            CameraError: OpenCV found the driver or stream broken.
        """
        try:
            if not self._capture.grab():
                return None
        except cv2.error as error:
            raise CameraError(f"camera {self._name} broke", found=str(error.err or error)) from error
        now_s = time.monotonic()
        stamp_s = taken_at(self._stamp() if self._stamp else None, now_s)
        image = self._retrieved()
        if image is not None and self._scale_to is not None:
            image = self._scaled_down(image, self._scale_to)
        return Picture(image=image, taken_at_s=stamp_s)

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()

    def _retrieved(self) -> Image | None:
        spare = self._pool.take(*self._size) if self._size else None
        try:
            there, image = self._capture.retrieve(spare)
        except cv2.error:  # OpenCV refuses to decode a frame of zero bytes
            return None
        if not there or image is None or image.size == 0:
            return None
        self._size = (image.shape[1], image.shape[0])
        return np.asarray(image, np.uint8)

    def _scaled_down(self, image: Image, size: tuple[int, int]) -> Image:
        if (image.shape[1], image.shape[0]) == size:
            return image
        scaled = self._scaled.take(*size)
        cv2.resize(image, size, dst=scaled, interpolation=cv2.INTER_AREA)
        return scaled
