"""Network cameras over RTSP, read by GStreamer or by OpenCV with FFmpeg.

GStreamer follows a stream that changes its size; OpenCV does not notice, and shows what is no picture any more. Cameras
that are set to another size end the stream, and when it is opened again both have the new size.

How long a camera may stay silent is told to OpenCV and not to FFmpeg, whose option for it changed its meaning: before
FFmpeg 5, ``timeout`` makes the reader wait for a camera that calls. The transport is told to FFmpeg through the
environment, for there is no other way; so all network cameras that OpenCV reads share one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from urllib.parse import unquote, urlsplit

import cv2

from edge.camera.capture import LiveCapture
from edge.camera.environment import shared
from edge.camera.interface import CameraError, LiveSource
from edge.camera.opencv import OpenCvSource
from edge.camera.options import CameraOptions, check_shape, other_codec
from edge.camera.rtsp_cause import cause_of
from edge.camera.v4l2.formats import fourcc_text
from mien.errors import ConfigError, UnsupportedError

_log = logging.getLogger(__name__)

_FFMPEG = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_ASK_S = 3.0
_REMEDY = "check the address, user and password, and that the camera is on and has a free session"
_PASSWORD = re.compile(r"(?<=://)[^@/]*@")
_CODECS = {"h264": "h264", "avc1": "h264", "hevc": "h265", "hvc1": "h265", "hev1": "h265", "h265": "h265"}


def open_rtsp(url: str, options: CameraOptions) -> LiveCapture:
    """Open a stream.

    Raises:
        CameraError: the stream does not answer now.
        ConfigError: the address has no host, or the camera sends another codec or shape than was asked for.
        UnsupportedError: what was asked for needs GStreamer, which is not here.
    """
    _check_address(url)
    name = without_password(url)
    if _reader(options) == "gstreamer":
        from edge.camera.gstreamer.cameras import rtsp_source

        opener: Callable[[], LiveSource] = partial(rtsp_source, url, name, options, partial(cleaned, url=url))
    else:
        _tell_ffmpeg(options)
        opener = partial(_opencv_source, url, name, options)
    return LiveCapture(name, partial(_with_cause, opener, url, options), options)


def without_password(url: str) -> str:
    """The address with user and password replaced by ``***``."""
    return _PASSWORD.sub("***@", url)


def cleaned(text: str, *, url: str) -> str:
    """A text without the password that an address carries, in whatever spelling."""
    text = without_password(text.replace(url, without_password(url)))
    password = urlsplit(url).password or ""
    for secret in sorted({password, unquote(password)} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _check_address(url: str) -> None:
    """Refuse what has no host; without showing it, since what is misread may be a password."""
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return
    except ValueError:
        pass
    raise ConfigError(
        "the network camera's address has no host, or a port that is none",
        wanted="rtsp://HOST/PATH or rtsp://USER:PASSWORD@HOST:PORT/PATH",
        remedy="write the address so; in a password, / is %2F, : is %3A, @ is %40, # is %23 and ? is %3F",
    )


def _with_cause(opener: Callable[[], LiveSource], url: str, options: CameraOptions) -> LiveSource:
    """Open the stream; where that fails, with what the camera itself says of it."""
    try:
        return opener()
    except CameraError as error:
        limit_s = min(options.read_timeout_s, _ASK_S)
        cause = cause_of(url, timeout_s=limit_s, transport=options.transport)
        if cause is None:
            raise
        found = cleaned(cause.found, url=url)
        raise CameraError(error.what, found=found, wanted=error.wanted, remedy=cause.remedy) from error


def _reader(options: CameraOptions) -> str:
    """``gstreamer`` or ``opencv``. Only here GStreamer is looked at, and only when OpenCV was not asked for."""
    if options.decoder != "auto":
        return options.decoder
    from edge.camera.gstreamer.pipelines import decodes_well
    from edge.camera.gstreamer.source import present_elements

    try:
        return "gstreamer" if decodes_well(present_elements(), options.codec) else "opencv"
    except UnsupportedError as error:
        _log.debug("network cameras are read through OpenCV: %s", error)
        return "opencv"


def _tell_ffmpeg(options: CameraOptions) -> None:
    wanted = f"rtsp_transport;{options.transport}"
    if options.latency_ms is not None:
        if options.transport == "tcp":
            raise UnsupportedError(
                "FFmpeg holds nothing back over TCP, so there is no latency to set",
                found=f"latency_ms: {options.latency_ms}",
                remedy="leave latency_ms out, or install GStreamer and set decoder: gstreamer",
            )
        wanted += f"|max_delay;{options.latency_ms * 1000}"
    given = shared(_FFMPEG, wanted)
    if not set(wanted.split("|")) <= set(given.split("|")):
        raise ConfigError(
            "OpenCV reads all network cameras alike",
            found=f"{given!r} set before, {wanted!r} asked now",
            remedy=f"give all cameras one transport and latency_ms, unset {_FFMPEG}, or set decoder: gstreamer",
        )


def _opencv_source(url: str, name: str, options: CameraOptions) -> OpenCvSource:
    silent_ms = round(options.read_timeout_s * 1e3)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, silent_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, silent_ms]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        raise CameraError(f"could not open the camera {name}", found="no frames", remedy=_REMEDY)
    tag = fourcc_text(int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFF_FFFF).lower()
    codec = _CODECS.get(tag, tag)
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    try:
        if options.codec not in {"auto", codec}:
            raise other_codec(name, codec, options.codec)
        if options.size is not None:
            check_shape(name, (width, height), options.size)
    except ConfigError:
        capture.release()
        raise
    return OpenCvSource(
        capture, name=name, description=f"{codec} {width}×{height} through FFmpeg", scale_to=options.size
    )
