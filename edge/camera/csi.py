"""Jetson CSI cameras, through NVIDIA's GStreamer source ``nvarguscamerasrc``."""

from __future__ import annotations

from functools import partial

from edge.camera.capture import LiveCapture
from edge.camera.options import CameraOptions
from mien.errors import ConfigError


def open_csi(sensor: int, options: CameraOptions) -> LiveCapture:
    """Open a CSI camera.

    Raises:
        UnsupportedError: this is no Jetson with GStreamer and PyGObject.
        CameraError: the camera gives no frames.
        ConfigError: another reader than GStreamer was asked for.
    """
    from edge.camera.gstreamer.cameras import csi_source

    if options.decoder == "opencv":
        raise ConfigError(
            "a CSI camera is read through GStreamer", found="decoder: opencv", remedy="set decoder: auto or gstreamer"
        )
    return LiveCapture(f"csi://{sensor}", partial(csi_source, sensor, options), options)
