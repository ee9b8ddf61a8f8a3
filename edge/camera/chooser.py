"""Decides which kind of camera a text names, and opens it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from edge.camera.environment import quiet
from edge.camera.interface import Camera
from edge.camera.options import CameraOptions, check_fit
from mien.errors import ConfigError

_FORMS = "video.mp4 | folder/ | /dev/video0 | /dev/v4l/by-id/… | rtsp://host/stream | csi://0 | synthetic://640x480@10"
_SYNTHETIC = re.compile(r"synthetic://(\d{2,4})x(\d{2,4})@(\d{1,3}(?:\.\d+)?)")
_CSI = re.compile(r"csi://(\d{1,2})")
_DEFAULTS = CameraOptions()


def open_camera(source: str, options: CameraOptions = _DEFAULTS) -> Camera:
    """Open what ``source`` names.

    Args:
        source: a video file, a folder of images, ``/dev/videoN`` or its name under ``/dev/v4l``, ``rtsp://…``,
            ``csi://N`` or ``synthetic://WxH@fps``.
        options: how.

    Raises:
        ConfigError: the text names none of these, or an option does not fit; lists what does.
        CameraError: it names one that does not answer.
        UnsupportedError: this machine cannot open that kind.
    """
    quiet()
    if source.startswith(("rtsp://", "rtsps://")):
        from edge.camera.rtsp import open_rtsp

        check_fit("rtsp", options)
        return open_rtsp(source, options)
    if "://" in source:
        return _by_scheme(source, options)
    path = Path(source).expanduser()
    if source.startswith(("/dev/video", "/dev/v4l/")) or _is_device(path):
        from edge.camera.v4l2.camera import open_v4l2

        check_fit("v4l2", options)
        return open_v4l2(path, options)
    return _stored(path, options)


def is_stored(source: str) -> bool:
    """Whether a camera's text names pictures that lie here, which wait until they are read."""
    return "://" not in source and (Path(source).expanduser().is_dir() or Path(source).expanduser().is_file())


def _by_scheme(source: str, options: CameraOptions) -> Camera:
    if match := _CSI.fullmatch(source):
        from edge.camera.csi import open_csi

        check_fit("csi", options)
        return open_csi(int(match[1]), options)
    if (match := _SYNTHETIC.fullmatch(source)) and float(match[3]) > 0:
        from edge.camera.synthetic import SyntheticCamera

        check_fit("synthetic", options)
        return SyntheticCamera(int(match[1]), int(match[2]), float(match[3]))
    raise ConfigError(
        f"'{source.split('://', 1)[0]}://…' names no camera", wanted=_FORMS, remedy="write it in one of these forms"
    )


def _stored(path: Path, options: CameraOptions) -> Camera:
    from edge.camera.file import VideoFile
    from edge.camera.images import SUFFIXES, ImageFolder

    if path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES):
        check_fit("folder", options)
        return ImageFolder(path, realtime=options.realtime, loop=options.loop, max_fps=options.max_fps)
    if path.is_file():
        check_fit("file", options)
        return VideoFile(path, realtime=options.realtime, loop=options.loop, max_fps=options.max_fps)
    raise ConfigError(
        f"'{path}' names no camera", found="no such file or folder", wanted=_FORMS, remedy="check the path"
    )


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
