"""Opens a Video4Linux camera: asks for a mode, reads back what the driver gave, and takes its own time of each frame.

OpenCV reads how long to wait for a frame from the environment, once in a process; so all cameras that it reads share
one ``read_timeout_s``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2

from edge.camera.capture import LiveCapture
from edge.camera.interface import CameraError, LiveSource
from edge.camera.opencv import OpenCvSource
from edge.camera.options import CameraOptions
from edge.camera.v4l2.device import examine_device
from edge.camera.v4l2.formats import Mode, Offer, check_given, choose_mode, fourcc_text
from mien.errors import ConfigError

_BUFFERS = 2
"""One that the driver fills while the other is read; with one, every second frame would be lost."""
_WAIT = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"


def open_v4l2(device: Path, options: CameraOptions) -> LiveCapture:
    """Open a Video4Linux device.

    Raises:
        CameraError: there is no such device, or it gives no frames.
        ConfigError: it does not give the mode that was asked for, or cameras were given different times to wait.
        UnsupportedError: GStreamer was asked for and is not here.
    """
    if options.decoder == "gstreamer":
        from edge.camera.gstreamer.cameras import v4l2_source

        return LiveCapture(str(device), partial(_examined, device, options, v4l2_source), options)
    share_wait(options.read_timeout_s)
    return LiveCapture(str(device), partial(_examined, device, options, _opencv_source), options)


def share_wait(seconds: float) -> None:
    """Tell OpenCV how long to wait for a frame.

    Raises:
        ConfigError: it was told otherwise before.
    """
    wanted = str(max(1, math.ceil(seconds)))
    given = os.environ.setdefault(_WAIT, wanted)
    if given != wanted:
        raise ConfigError(
            "OpenCV waits equally long for all Video4Linux cameras",
            found=f"read_timeout_s {seconds:g}, and {given} s set before",
            remedy=f"give all cameras one read_timeout_s in whole seconds, unset {_WAIT}, or set decoder: gstreamer",
        )


def negotiate(capture: cv2.VideoCapture, name: str, asked: Mode, offers: Sequence[Offer]) -> Mode:
    """Ask a capture for a mode; what the driver gave.

    Raises:
        ConfigError: it gave another.
    """
    capture.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
    if asked.pixel_format is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.pixel_format))
    if asked.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.size[1])
    if asked.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, asked.fps)
    fps = capture.get(cv2.CAP_PROP_FPS)
    given = Mode(
        pixel_format=fourcc_text(int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFF_FFFF),
        size=(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))),
        fps=fps if math.isfinite(fps) and fps > 0 else None,
    )
    check_given(name, asked, given, offers)
    return given


Opener = Callable[[Path, CameraOptions, Mode, Sequence[Offer]], LiveSource]


def _examined(device: Path, options: CameraOptions, opener: Opener) -> LiveSource:
    if not device.exists():
        others = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise CameraError(
            f"there is no camera {device}", found=f"cameras here: {others}", remedy="connect it, or name another source"
        )
    _, offers = examine_device(device, options.size)
    return opener(device, options, choose_mode(offers, options), offers)


def _opencv_source(device: Path, options: CameraOptions, asked: Mode, offers: Sequence[Offer]) -> OpenCvSource:  # noqa: ARG001 - one shape for both readers
    capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CameraError(
            f"could not open the camera {device}", found="OpenCV gets no stream", remedy="end the program that holds it"
        )
    try:
        given = negotiate(capture, str(device), asked, offers)
    except ConfigError:
        capture.release()
        raise
    return OpenCvSource(
        capture,
        name=str(device),
        description=f"{given} through Video4Linux",
        stamp=lambda: capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3,
    )
