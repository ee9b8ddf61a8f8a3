"""Every CUDA function that mien calls through cuda-python exists in the genuine bindings of both majors."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.contract.conftest import CACHE, ROOT, wheel

VERSIONS = {"12.9.10": "cuda-bindings==12.9.10", "13.4.4": "cuda-bindings==13.4.4"}
_PROBE = """
import json, sys
from cuda.bindings import runtime
from functools import reduce
absent = object()
names = json.loads(sys.argv[1])
lacking = [n for n in names if reduce(lambda o, p: getattr(o, p, absent), n.split("."), runtime) is absent]
from edge.engine.cuda import open_cuda
from mien.errors import UnsupportedError
try:
    cuda = open_cuda()
    said = [cuda.name, cuda.gpu().compute_capability]
    cuda.close()
except UnsupportedError as error:
    said = [error.found]
print(json.dumps({"lacking": lacking, "said": said}))
"""


def used_names():
    """What the adapter of cuda-python calls and reads, from its code."""
    tree = ast.parse((ROOT / "edge" / "engine" / "cuda.py").read_text())
    (adapter,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_CudaPython")
    found = set()
    for node in ast.walk(adapter):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            if node.func.attr in {"_call", "_all"} and isinstance(first, ast.Constant):
                found.add(first.value)
            if node.func.attr == "_attribute" and isinstance(first, ast.Constant):
                found.add(f"cudaDeviceAttr.cudaDevAttr{first.value}")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.attr.startswith("cuda"):
            found.add(f"{node.value.attr}.{node.attr}" if node.value.attr.startswith("cuda") else node.attr)
    return sorted(found)


def probed(version, names):
    folder = wheel(version, VERSIONS[version], "cuda-pathfinder==1.8.3")
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    order = [sys.executable, "-c", _PROBE, json.dumps(names)]
    done = subprocess.run(order, capture_output=True, text=True, cwd=CACHE, env={**os.environ, **paths}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_function_is_there(version):
    """No call of the adapter is missing in either major version, and an invented one is found."""
    names = used_names()
    assert {"cudaMalloc", "cudaMemGetInfo", "cudaDeviceAttr.cudaDevAttrIntegrated"} <= set(names)
    assert {"cudaMemcpyKind.cudaMemcpyHostToDevice", "cudaMemcpyKind.cudaMemcpyDeviceToHost"} <= set(names)
    found = probed(version, [*names, "cudaInvented"])
    assert found["lacking"] == ["cudaInvented"]
    assert found["said"][0] == "cuda-python" or "cudaGetDeviceCount failed" in found["said"][0]
