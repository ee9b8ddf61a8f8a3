"""What a camera is to the rest of the device: frames with a number and a time, one after another.

Rules for implementations: ``read`` blocks until a frame is there and returns ``None`` only at the end of a source that
has one; every frame owns its pixels; a source that went away and may come back is retried inside, with a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien.errors import UnavailableError

Image = npt.NDArray[np.uint8]
"""``uint8[H, W, 3]``, blue-green-red, as OpenCV gives it."""


class CameraError(UnavailableError):
    """A camera, stream or file gave no frames."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture."""

    image: Image
    sequence: int
    """Rises by one a frame; a gap is a frame that the source itself lost."""
    captured_at_s: float
    """``time.monotonic()`` when the picture was there."""


class Camera(Protocol):
    """A source of frames."""

    @property
    def name(self) -> str:
        """The source as a person wrote it, without a password."""

    @property
    def live(self) -> bool:
        """Whether frames keep coming at their own rate: then the latest wins. Otherwise none is lost."""

    def read(self) -> Frame | None:
        """The next frame, or ``None`` at the end.

        Raises:
            CameraError: the source went away for good.
        """

    def close(self) -> None:
        """Give the source back; a ``read`` under way may still end with a frame or an error."""
