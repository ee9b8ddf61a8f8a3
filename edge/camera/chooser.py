"""Decides which kind of camera a text names, and opens it."""

from __future__ import annotations

import re
from pathlib import Path

from edge.camera.interface import Camera
from mien.errors import ConfigError

_FORMS = "video.mp4 | folder/ | /dev/video0 | rtsp://host/stream | csi://0 | synthetic://640x480@10"
_SYNTHETIC = re.compile(r"synthetic://(\d{2,4})x(\d{2,4})@(\d{1,3}(?:\.\d+)?)")
_CSI = re.compile(r"csi://(\d{1,2})")


def open_camera(source: str, *, realtime: bool = False, loop: bool = False, max_fps: float | None = None) -> Camera:
    """Open what ``source`` names.

    Args:
        source: a video file, a folder of images, ``/dev/videoN``, ``rtsp://…``, ``csi://N`` or ``synthetic://WxH@fps``.
        realtime: play files and folders at their own rate.
        loop: start files and folders again at their end.
        max_fps: skips frames of a file played in real time; live cameras are thinned in the pipeline.

    Raises:
        ConfigError: the text names none of these; lists the forms.
        CameraError: it names one that does not answer.
        UnsupportedError: this machine cannot open that kind.
    """
    if source.startswith(("rtsp://", "rtsps://")):
        from edge.camera.rtsp import open_rtsp

        return open_rtsp(source)
    if source.startswith("/dev/video"):
        from edge.camera.v4l2 import open_v4l2

        return open_v4l2(Path(source))
    if "://" in source:
        return _by_scheme(source)
    return _stored(Path(source).expanduser(), realtime=realtime, loop=loop, max_fps=max_fps)


def _by_scheme(source: str) -> Camera:
    if match := _CSI.fullmatch(source):
        from edge.camera.csi import open_csi

        return open_csi(int(match[1]))
    if (match := _SYNTHETIC.fullmatch(source)) and float(match[3]) > 0:
        from edge.camera.synthetic import SyntheticCamera

        return SyntheticCamera(int(match[1]), int(match[2]), float(match[3]))
    raise ConfigError(f"'{source}' names no camera", wanted=_FORMS, remedy="write the source in one of these forms")


def _stored(path: Path, *, realtime: bool, loop: bool, max_fps: float | None) -> Camera:
    from edge.camera.file import VideoFile
    from edge.camera.images import SUFFIXES, ImageFolder

    if path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES):
        return ImageFolder(path, realtime=realtime, loop=loop, max_fps=max_fps)
    if path.is_file():
        return VideoFile(path, realtime=realtime, loop=loop, max_fps=max_fps)
    raise ConfigError(
        f"'{path}' names no camera", found="no such file or folder", wanted=_FORMS, remedy="check the path"
    )
