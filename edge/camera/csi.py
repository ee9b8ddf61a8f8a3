"""Jetson CSI cameras, through NVIDIA's GStreamer source ``nvarguscamerasrc``."""

from __future__ import annotations

from functools import partial

import cv2

from edge.camera.capture import LiveCapture
from mien.errors import UnsupportedError

_GIVE_UP_AFTER_S = 60.0
_PIPELINE = (
    "nvarguscamerasrc sensor-id={sensor} ! "
    "video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1 ! "
    "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
    "appsink max-buffers=1 drop=true sync=false"
)


def gstreamer_pipeline(sensor: int, *, width: int = 1280, height: int = 720, fps: int = 30) -> str:
    """The pipeline's text, ending in a sink that keeps the newest frame only."""
    return _PIPELINE.format(sensor=sensor, width=width, height=height, fps=fps)


def open_csi(sensor: int) -> LiveCapture:
    """Open a CSI camera.

    Raises:
        UnsupportedError: this OpenCV was built without GStreamer, as the one from PyPI is.
        CameraError: the camera gives no frames.
    """
    if not has_gstreamer(cv2.getBuildInformation()):
        raise UnsupportedError(
            "a CSI camera needs an OpenCV with GStreamer",
            found=f"OpenCV {cv2.__version__} without GStreamer",
            remedy="on a Jetson, use JetPack's OpenCV (apt install python3-opencv) and remove opencv-python from pip",
        )
    opener = partial(cv2.VideoCapture, gstreamer_pipeline(sensor), cv2.CAP_GSTREAMER)
    return LiveCapture(f"csi://{sensor}", opener, give_up_after_s=_GIVE_UP_AFTER_S)


def has_gstreamer(build_information: str) -> bool:
    """Whether OpenCV's own description of its build says that GStreamer is in it."""
    lines = (line.strip() for line in build_information.splitlines())
    return any(line.startswith("GStreamer:") and "YES" in line for line in lines)
