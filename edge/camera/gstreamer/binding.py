"""Finds PyGObject, which distributions package for their own Python and pip cannot install without a compiler.

A virtual environment does not see it. It is taken from the distribution's folder where its binary part was made for the
very Python that runs, and nothing else of that folder becomes visible.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mien.errors import UnsupportedError

_DISTRIBUTIONS = (Path("/usr/lib/python3/dist-packages"), Path("/usr/lib64/python3/site-packages"))
_REMEDY = (
    "apt install python3-gi gir1.2-gstreamer-1.0, and use the distribution's Python version, "
    "or one environment made with: python3 -m venv --system-site-packages"
)


@lru_cache(maxsize=1)
def load_gst() -> Any:  # noqa: ANN401 - the namespace comes from a typelib, without types
    """GStreamer's namespace, ready for use.

    Raises:
        UnsupportedError: PyGObject or GStreamer's description for it is not here, or not for this Python.
    """
    gi = _gi()
    try:
        gi.require_version("Gst", "1.0")
        from gi.repository import Gst

        Gst.init(None)
    except (ValueError, ImportError) as error:
        raise UnsupportedError(
            "GStreamer cannot be used from Python here", found=str(error), remedy="apt install gir1.2-gstreamer-1.0"
        ) from error
    return Gst


def folder_for(folders: Iterable[Path], suffix: str) -> Path | None:
    """The first ``gi`` package whose binary part carries this Python's file name suffix."""
    packages = (folder / "gi" for folder in folders)
    return next((package for package in packages if (package / f"_gi{suffix}").is_file()), None)


def _gi() -> ModuleType:
    try:
        import gi
    except ImportError as error:
        package = folder_for(_DISTRIBUTIONS, sysconfig.get_config_var("EXT_SUFFIX") or ".so")
        if package is None:
            raise UnsupportedError(
                "GStreamer needs PyGObject",
                found=f"none for Python {sys.version_info.major}.{sys.version_info.minor}",
                remedy=_REMEDY,
            ) from error
        return _taken_from(package)
    module: ModuleType = gi
    return module


def _taken_from(package: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "gi", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise UnsupportedError("PyGObject cannot be read", found=str(package), remedy=_REMEDY)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules["gi"]
        raise UnsupportedError("PyGObject does not load", found=str(error), remedy=_REMEDY) from error
    return module
