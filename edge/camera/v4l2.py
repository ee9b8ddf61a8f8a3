"""USB and other Video4Linux cameras, ``/dev/videoN``."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.camera.capture import LiveCapture
from edge.camera.interface import CameraError

_GIVE_UP_AFTER_S = 60.0


def open_v4l2(device: Path) -> LiveCapture:
    """Open a Video4Linux device with the smallest buffer, so that a frame is never old.

    Raises:
        CameraError: there is no such device, or it gives no frames.
    """
    if not device.exists():
        others = ", ".join(sorted(str(path) for path in device.parent.glob("video*"))) or "none"
        raise CameraError(
            f"there is no camera {device}", found=f"cameras here: {others}", remedy="connect it, or name another source"
        )

    def opener() -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    return LiveCapture(str(device), opener, give_up_after_s=_GIVE_UP_AFTER_S)
