"""What OpenCV reads from the environment whenever it opens a stream, and so is one for all that are open at a time.

How much OpenCV and FFmpeg print by themselves is such a thing too.

A variable that was set from outside stays. One that was set here is forgotten when a device takes its cameras down, so
that the next one in this process (after a reload) may choose anew.
"""

from __future__ import annotations

import os

import cv2

_ours: set[str] = set()


def shared(variable: str, wanted: str) -> str:
    """Set a variable if it is not set yet; what it is now."""
    if variable not in os.environ:
        os.environ[variable] = wanted
        _ours.add(variable)
    return os.environ[variable]


def quiet() -> None:
    """Let OpenCV and FFmpeg print nothing beside what is told of a fault anyway, unless their variables are set."""
    shared("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def forget() -> None:
    """Unset what was set here; call it when no camera is open any more."""
    while _ours:
        os.environ.pop(_ours.pop(), None)
