"""Genuine TensorRT bindings without TensorRT: their wheels from PyPI, imported over stub libraries.

The bindings of NVIDIA are real and whole; the libraries beneath them need a GPU. They are replaced by a few empty
functions, which is enough to import and to look at every class. Wheels and stubs are kept in ``.cache/contract``.

8.5.3.1 has no bindings without its libraries, half a gigabyte for Python 3.10 and older. Its surface was recorded once,
over the same stubs: ``tests/contract/surface.py tensorrt`` with the classes that stand in
``tests/fixtures/tensorrt-8.5.3.1.json``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "contract"
USES_TENSORRT = ("edge/engine/tensorrt", "bench/engine.py")

WHEELS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.16.1.11": "tensorrt-cu12-bindings==10.16.1.11",
    "11.4.0.106": "tensorrt-cu12-bindings==11.4.0.106",
}
_NEWEST_PYTHON = {"8.6.1": (3, 11)}
_STUBS = {
    "libnvinfer": (
        *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
        *("getBuilderPluginRegistry", "getPluginRegistry"),
    ),
    "libnvinfer_plugin": ("initLibNvInferPlugins",),
    "libnvonnxparser": (
        *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    ),
    "libnvparsers": (  # until 8; C++ names
        *("_ZN11nvuffparser15createUffParserEv", "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi"),
        *("_ZN14nvcaffeparser117createCaffeParserEv", "_ZN14nvcaffeparser123shutdownProtobufLibraryEv"),
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say once why these tests cannot run on another platform."""
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return
    mark = pytest.mark.skip(reason="the bindings of all these versions exist for x86_64 Linux only")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(mark)


@pytest.fixture(scope="session")
def used() -> dict[str, Any]:
    """What the builder, the runtime and the bench use of TensorRT."""
    usage = usage_in(*USES_TENSORRT)
    assert usage["errors"] == []
    return usage


def usage_in(*paths: str | Path) -> dict[str, Any]:
    """What some code uses."""
    return _json([sys.executable, HERE / "usage.py", *paths], {})


@pytest.fixture(scope="session")
def genuine() -> Callable[[str], dict[str, Any]]:
    """Gives the surface of a version of TensorRT's bindings."""
    known: dict[str, dict[str, Any]] = {}

    def give(version: str) -> dict[str, Any]:
        if version not in known:
            known[version] = _surface(version)
        return known[version]

    return give


def _surface(version: str) -> dict[str, Any]:
    if version == "rtx":
        return _json([sys.executable, HERE / "surface.py", "tensorrt_rtx"], {})
    if version == "8.5.3.1":
        return json.loads((ROOT / "tests" / "fixtures" / "tensorrt-8.5.3.1.json").read_text())
    if sys.version_info[:2] > _NEWEST_PYTHON.get(version, (99, 0)):
        pytest.skip(f"NVIDIA made the bindings {version} for Python 3.11 and older")
    paths = {
        "PYTHONPATH": str(wheel(version, WHEELS[version])),
        "LD_LIBRARY_PATH": str(_stubs(version.partition(".")[0])),
    }
    return _json([sys.executable, HERE / "surface.py", "tensorrt_bindings"], paths)


def wheel(version: str, *requirements: str) -> Path:
    """A folder with these wheels, from PyPI once and then from the cache."""
    folder = CACHE / f"{version}-py{sys.version_info[0]}{sys.version_info[1]}"
    if folder.is_dir():
        return folder
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    order = [*pip, "--no-deps", "--only-binary", ":all:", "--target", str(fresh), *requirements]
    done = subprocess.run(order, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    fresh.rename(folder)
    return folder


def _stubs(major: str) -> Path:
    folder = CACHE / f"stubs-{major}"
    folder.mkdir(parents=True, exist_ok=True)
    for library, symbols in _STUBS.items():
        name = f"{library}.so.{major}"
        code = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols)
        order = ["gcc", "-shared", "-fPIC", "-x", "c", f"-Wl,-soname,{name}", "-o", str(folder / name), "-"]
        subprocess.run(order, input=code, text=True, check=True)
    return folder


def _json(order: list[Any], paths: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [str(part) for part in order],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
