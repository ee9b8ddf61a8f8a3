"""Decides how a frame of any size is laid into the model's input, and how boxes get back into the frame.

The picture is scaled to fit, centred, and bordered. Rounding follows ultralytics' ``LetterBox`` (``auto=False``,
``center=True``) and ``scale_boxes`` to the pixel, because a model is trained and judged with those.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import DataError

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

_ROUNDING = 0.1  # of the border: the smaller half goes left and top


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where a frame lies in the model's input; all lengths in pixels."""

    scale_x: float
    scale_y: float
    """Input pixels for one source pixel; the two differ by the rounding of the scaled size."""
    pad_left: int
    pad_top: int
    scaled_width: int
    scaled_height: int
    source_width: int
    source_height: int

    @classmethod
    def between(cls, source_width: int, source_height: int, width: int, height: int) -> Geometry:
        """The geometry of a source frame in an input of ``width`` × ``height``."""
        ratio = min(height / source_height, width / source_width)
        scaled_width = max(round(source_width * ratio), 1)
        scaled_height = max(round(source_height * ratio), 1)
        return cls(
            scale_x=scaled_width / source_width,
            scale_y=scaled_height / source_height,
            pad_left=round((width - scaled_width) / 2 - _ROUNDING),
            pad_top=round((height - scaled_height) / 2 - _ROUNDING),
            scaled_width=scaled_width,
            scaled_height=scaled_height,
            source_width=source_width,
            source_height=source_height,
        )

    @classmethod
    def identity(cls, width: int, height: int) -> Geometry:
        """The geometry of a frame that has the input's size already."""
        return cls.between(width, height, width, height)

    def picture(self, letterboxed: Pixels) -> Pixels:
        """The part of an input ``uint8[height, width, 3]`` that shows the frame, as a view."""
        bottom, right = self.pad_top + self.scaled_height, self.pad_left + self.scaled_width
        return letterboxed[self.pad_top : bottom, self.pad_left : right]

    def to_source(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes ``float32[N, 4]`` xyxy in input pixels as boxes in source pixels, clipped to the frame."""
        offset = np.array([self.pad_left, self.pad_top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        most = np.array([self.source_width, self.source_height] * 2, np.float32)
        clipped: Boxes = np.clip((boxes_xyxy - offset) / scale, np.float32(0), most)
        return clipped

    def to_input(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes ``float32[N, 4]`` xyxy in source pixels as boxes in input pixels."""
        offset = np.array([self.pad_left, self.pad_top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        placed: Boxes = boxes_xyxy * scale + offset
        return placed


class Letterbox:
    """Lays frames into an input buffer. Allocates nothing but one geometry for each new frame size.

    Args:
        width: of the model's input.
        height: of the model's input.
        pad_value: 0..255, of all three channels of the border.
    """

    def __init__(self, width: int, height: int, pad_value: int = 114) -> None:
        self._width = width
        self._height = height
        self._pad_value = pad_value
        self._geometry = Geometry.identity(width, height)

    def apply(self, frame_bgr: Pixels, out: Pixels) -> Geometry:
        """Write the letterboxed frame into ``out``.

        Args:
            frame_bgr: ``uint8[H, W, 3]``.
            out: ``uint8[height, width, 3]``, wholly overwritten; it may be a view with gaps between rows.

        Raises:
            DataError: either array has another shape or type.
        """
        self._check(frame_bgr, out)
        source_height, source_width = frame_bgr.shape[:2]
        if (self._geometry.source_width, self._geometry.source_height) != (source_width, source_height):
            self._geometry = Geometry.between(source_width, source_height, self._width, self._height)
        self._fill(frame_bgr, out, self._geometry)
        return self._geometry

    def _fill(self, frame_bgr: Pixels, out: Pixels, geometry: Geometry) -> None:
        left, top = geometry.pad_left, geometry.pad_top
        right, bottom = left + geometry.scaled_width, top + geometry.scaled_height
        out[:top] = self._pad_value
        out[bottom:] = self._pad_value
        out[top:bottom, :left] = self._pad_value
        out[top:bottom, right:] = self._pad_value
        inner = geometry.picture(out)
        if inner.shape == frame_bgr.shape:
            inner[:] = frame_bgr
        else:
            size = (geometry.scaled_width, geometry.scaled_height)
            cv2.resize(frame_bgr, size, dst=inner, interpolation=cv2.INTER_LINEAR)

    def _check(self, frame_bgr: Pixels, out: Pixels) -> None:
        if frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3 or frame_bgr.dtype != np.uint8 or not frame_bgr.size:  # noqa: PLR2004
            raise DataError(
                "a frame could not be letterboxed", found=f"{frame_bgr.dtype}{frame_bgr.shape}", wanted="uint8[H, W, 3]"
            )
        wanted = (self._height, self._width, 3)
        if out.shape != wanted or out.dtype != np.uint8:
            raise DataError(
                "a frame could not be letterboxed into this buffer",
                found=f"{out.dtype}{out.shape}",
                wanted=f"uint8{wanted}",
            )
