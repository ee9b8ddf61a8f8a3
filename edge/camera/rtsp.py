"""Network cameras over RTSP, through FFmpeg and TCP (a lost UDP packet shows as a torn picture).

How long a camera may stay silent is told to OpenCV and not to FFmpeg, whose option for it changed its meaning: before
FFmpeg 5, ``timeout`` makes the reader wait for a camera that calls.
"""

from __future__ import annotations

import os
import re
from functools import partial

import cv2

from edge.camera.capture import LiveCapture

_FFMPEG_OPTIONS = "rtsp_transport;tcp"
_SILENT_MS = 10_000
_REMEDY = "check the address, user and password, and that the camera is on and has a free session"
_GIVE_UP_AFTER_S = 24 * 3600.0
_PASSWORD = re.compile(r"(?<=://)[^@/]*@")


def open_rtsp(url: str) -> LiveCapture:
    """Open a stream; a stream that ends later is opened again with growing pauses, for a day.

    Raises:
        CameraError: the stream does not answer now.
    """
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
    opener = partial(
        cv2.VideoCapture,
        url,
        cv2.CAP_FFMPEG,
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _SILENT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _SILENT_MS],
    )
    return LiveCapture(without_password(url), opener, give_up_after_s=_GIVE_UP_AFTER_S, remedy=_REMEDY)


def without_password(url: str) -> str:
    """The address with user and password replaced by ``***``."""
    return _PASSWORD.sub("***@", url)
