"""Copies a GStreamer buffer into an array, once and without anything in between.

PyGObject hands a buffer's bytes over as a new ``bytes`` object for every frame. GStreamer's own functions are called
instead, through the C library that PyGObject has loaded already.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import cv2
import numpy as np

from edge.camera.interface import Image

_READ = 1


class _MapInfo(ctypes.Structure):
    """``GstMapInfo``, unchanged since GStreamer 1.0."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("maxsize", ctypes.c_size_t),
        ("user_data", ctypes.c_void_p * 4),
        ("reserved", ctypes.c_void_p * 4),
    )


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libgstreamer-1.0.so.0")
    library.gst_buffer_map.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MapInfo), ctypes.c_int)
    library.gst_buffer_map.restype = ctypes.c_int
    library.gst_buffer_unmap.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MapInfo))
    library.gst_buffer_unmap.restype = None
    return library


def copy_bgrx(address: int, into: Image) -> bool:
    """Copy a buffer of BGRx pixels into a BGR picture; ``False`` when it does not hold a whole picture.

    Args:
        address: the buffer's, which PyGObject gives as the hash of its wrapper; the caller holds the wrapper.
        into: ``uint8[H, W, 3]``, written over.
    """
    library, info = _library(), _MapInfo()
    if not library.gst_buffer_map(address, ctypes.byref(info), _READ):
        return False
    try:
        height, width = into.shape[:2]
        row = info.size // height
        if row < width * 4 or not info.data:
            return False
        pixels = np.frombuffer((ctypes.c_uint8 * (row * height)).from_address(info.data), np.uint8)
        rows = pixels.reshape(height, row)[:, : width * 4].reshape(height, width, 4)
        cv2.cvtColor(rows, cv2.COLOR_BGRA2BGR, dst=into)
    finally:
        library.gst_buffer_unmap(address, ctypes.byref(info))
    return True
