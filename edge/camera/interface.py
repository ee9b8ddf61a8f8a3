"""What a camera is to the rest of the device: frames with a number and a time, one after another.

Rules for implementations: ``read`` blocks until a frame is there and returns ``None`` only at the end of a source that
has one; every frame owns its pixels; a source that went away and may come back is retried inside, for as long as the
options say; a frame that cannot be decoded is skipped and counted, and ends nothing.
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
    """Rises by one a frame; a gap is a frame that the source itself lost or that could not be decoded."""
    captured_at_s: float
    """``time.monotonic()`` when the picture was taken, as near as the source can tell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """What an open live source gave."""

    image: Image | None
    """``None``: something came that is no picture, such as zero bytes or a broken JPEG."""
    taken_at_s: float


class Camera(Protocol):
    """A source of frames."""

    @property
    def name(self) -> str:
        """The source as a person wrote it, without a password."""

    @property
    def live(self) -> bool:
        """Whether frames keep coming at their own rate: then the latest wins. Otherwise none is lost."""

    @property
    def is_away(self) -> bool:
        """Whether the source is lost at the moment and being opened again."""

    @property
    def away_because(self) -> str:
        """Why it is away, without a password; empty while it is there."""

    @property
    def reconnects(self) -> int:
        """How often the source was lost and came back."""

    @property
    def bad_frames(self) -> int:
        """How many frames came that could not be decoded and were skipped."""

    @property
    def description(self) -> str:
        """What was agreed with the source, such as ``MJPG 1280×720 at 30 fps``; empty while nothing is known."""

    def read(self) -> Frame | None:
        """The next frame, or ``None`` at the end.

        Raises:
            CameraError: the source went away for good.
        """

    def close(self) -> None:
        """Give the source back; a ``read`` under way may still end with a frame or an error."""


class LiveSource(Protocol):
    """A live source that is open now; after a loss a new one is made."""

    @property
    def description(self) -> str:
        """What was agreed with the source."""

    def next(self) -> Picture | None:
        """The next picture; ``None`` when none came within the time allowed.

        Raises:
            CameraError: the source broke; says how.
        """

    def close(self) -> None:
        """Give the source back; called by the thread that reads."""
