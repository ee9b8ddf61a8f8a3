"""Network cameras over RTSP, through FFmpeg and TCP (a lost UDP packet shows as a torn picture)."""

from __future__ import annotations

import os
import re
from functools import partial

import cv2

from edge.camera.capture import LiveCapture

_FFMPEG_OPTIONS = "rtsp_transport;tcp|stimeout;5000000|timeout;5000000"
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
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 15_000],
    )
    return LiveCapture(without_password(url), opener, give_up_after_s=_GIVE_UP_AFTER_S)


def without_password(url: str) -> str:
    """The address with user and password replaced by ``***``."""
    return _PASSWORD.sub("***@", url)
