"""Every CUDA function that mien calls through cuda-python exists in the genuine bindings, old and new, and takes as much.

pycuda has no wheels and does not build without CUDA's own libraries, so no genuine module of it can be asked here.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.contract.conftest import CACHE, ROOT, wheel
from tests.fakes.cuda_bindings import Runtime

VERSIONS = {
    "12.3.0": ("cuda.cudart", ["cuda-python==12.3.0"]),
    "12.9.10": ("cuda.bindings.runtime", ["cuda-bindings==12.9.10", "cuda-pathfinder==1.8.3"]),
    "13.4.4": ("cuda.bindings.runtime", ["cuda-bindings==13.4.4", "cuda-pathfinder==1.8.3"]),
}
_NEWEST_PYTHON = {"12.3.0": (3, 11)}
_ADAPTER = ROOT / "edge" / "engine" / "cuda" / "cuda_python.py"
_PROBE = """
import importlib, json, sys
from functools import reduce
runtime = importlib.import_module(sys.argv[1])
absent = object()
found = {}
for name in json.loads(sys.argv[2]):
    value = reduce(lambda owner, part: getattr(owner, part, absent), name.split("."), runtime)
    if value is not absent:
        first = (value.__doc__ or "").strip().splitlines()[:1] if callable(value) else []
        found[name] = first[0] if first else ""
from edge.engine.cuda import open_cuda
from mien.errors import UnsupportedError
try:
    cuda = open_cuda()
    said = [cuda.name, cuda.gpu().compute_capability]
    cuda.close()
except UnsupportedError as error:
    said = [error.found]
print(json.dumps({"found": found, "said": said}))
"""


def used_names():
    """What the adapter of cuda-python calls and reads, from its code, with the number of arguments of each call."""
    found = {}
    for node in ast.walk(ast.parse(_ADAPTER.read_text())):
        if isinstance(node, ast.Attribute) and (dotted := ast.unparse(node)).startswith("self._rt.cuda"):
            found.setdefault(dotted.removeprefix("self._rt."), None)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.update(_called(node, node.func))
    return {name: given for name, given in found.items() if not any(other.startswith(f"{name}.") for other in found)}


def _called(node, function):
    if ast.unparse(function).startswith("self._rt.cuda"):
        return {function.attr: len(node.args)}
    texts = [
        place for place, one in enumerate(node.args) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
    if not texts:
        return {}
    name = node.args[texts[0]].value
    return {
        "_call": {name: len(node.args) - 1},
        "_all": {name: len(node.args) - 1},
        "_kept": {name: 1},
        "_attribute": {f"cudaDeviceAttr.cudaDevAttr{name}": None},
    }.get(function.attr, {})


def probed(version, names):
    """What one version has of these names, and what it says on this machine."""
    if sys.version_info[:2] > _NEWEST_PYTHON.get(version, (99, 0)):
        pytest.skip(f"NVIDIA made the bindings {version} for Python 3.11 and older")
    module, requirements = VERSIONS[version]
    paths = {"PYTHONPATH": f"{wheel(version, *requirements)}{os.pathsep}{ROOT}"}
    order = [sys.executable, "-c", _PROBE, module, json.dumps(names)]
    done = subprocess.run(order, capture_output=True, text=True, cwd=CACHE, env={**os.environ, **paths}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def taken(signature):
    """How many arguments a documented function takes."""
    inside = signature.partition("(")[2].rpartition(")")[0]
    return len([part for part in inside.split(",") if part.strip()])


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_function_is_there(version):
    """No name of the adapter is missing in any version, and an invented one is."""
    names = [*used_names(), "cudaInvented"]
    found = probed(version, names)
    assert [name for name in names if name not in found["found"]] == ["cudaInvented"]
    assert found["said"][0] == "cuda-python" or "cudaGetDeviceCount failed" in found["said"][0]


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_function_takes_what_it_is_given(version):
    """Each call has as many arguments as the genuine function documents; one that differs is found."""
    calls = {name: given for name, given in used_names().items() if given is not None}
    found = probed(version, list(calls))["found"]
    assert {name: taken(found[name]) for name in calls} == calls
    assert taken(found["cudaMemcpyAsync"]) == 5


def test_the_adapters_names_were_found():
    """The code was read: calls, constants, what gives things back, attributes of the device."""
    used = used_names()
    assert {
        "cudaStreamWaitEvent": 3,
        "cudaGraphInstantiateWithFlags": 2,
        "cudaGraphExecDestroy": 1,
        "cudaStreamEndCapture": 1,
        "cudaGetLastError": 0,
        "cudaMemGetInfo": 0,
        "cudaSetDevice": 1,
        "cudaHostAllocMapped": None,
        "cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal": None,
        "cudaMemcpyKind.cudaMemcpyDeviceToHost": None,
        "cudaDeviceAttr.cudaDevAttrIntegrated": None,
    }.items() <= used.items()


def test_the_fake_has_every_function():
    """The unit tests' module in memory has each name that the adapter uses."""
    fake = Runtime()
    assert [name for name in used_names() if not hasattr(fake, name.partition(".")[0])] == []
