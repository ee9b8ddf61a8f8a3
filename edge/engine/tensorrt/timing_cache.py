"""TensorRT's timing cache on disk: one file for each GPU, TensorRT and clock, since timings are true for these only.

A cache saves time and nothing else, so nothing about it ends a build: a file that is broken, foreign or cannot be
written is told in the log.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edge.engine.tensorrt.host import Host
from edge.engine.tensorrt.sidecar import CacheUse
from mien.errors import UnavailableError
from mien.files import write_bytes

if TYPE_CHECKING:
    import tensorrt as trt

_talk = logging.getLogger(__name__)


def cache_name(host: Host, version: str) -> str:
    """The file's name: readable, and different wherever timings are."""
    parts = (host.device.gpu, f"sm{host.device.compute_capability}", f"trt{version}", host.clocks)
    return "_".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts) + ".timing"


class TimingCache:
    """The cache of one build.

    Args:
        folder: where the files stand; ``None`` keeps no cache.
        name: of this GPU, TensorRT and clock (:func:`cache_name`).
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._path = folder / name if folder is not None else None
        self._cache: trt.ITimingCache | None = None  # must live until the engine is built

    def attach(self, config: trt.IBuilderConfig) -> CacheUse:
        """Give a build what earlier ones measured."""
        if self._path is None:
            return "none"
        for content, use in ((self._content(), "warm"), (b"", "cold")):
            if content is None:
                continue
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, False):
                self._cache = cache
                return "warm" if use == "warm" else "cold"
            _talk.warning("TensorRT does not take the timing cache %s; timing starts anew", self._path)
        return "none"

    def keep(self, config: trt.IBuilderConfig) -> None:
        """Write what a build measured, joined with what another build wrote meanwhile."""
        cache = config.get_timing_cache() if self._path is not None and self._cache is not None else None
        if cache is None or self._path is None:
            return
        if (content := self._content()) is not None:
            other = config.create_timing_cache(content)
            if other is not None and not cache.combine(other, False):
                _talk.warning("the timing cache %s is of another kind and is replaced", self._path)
        try:
            write_bytes(self._path, bytes(cache.serialize()))
        except UnavailableError as error:
            _talk.warning("the timing cache is lost: %s", error)

    def _content(self) -> bytes | None:
        if self._path is None:
            return None
        try:
            return self._path.read_bytes() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            _talk.warning("the timing cache %s cannot be read: %s", self._path, error.strerror)
            return None
