"""What code uses of TensorRT, as JSON, found by mypy: it knows the type of every expression.

    python tests/contract/usage.py FILE-OR-FOLDER ...

Every member of a class of NVIDIA's stubs, every name of the ``TensorRt`` protocol, every call with its number of
arguments, and every class that is derived from one of TensorRT's, with the parameters of its methods. Nothing is
declared by hand, so nothing can be forgotten.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mypy import build
from mypy.config_parser import parse_config_file
from mypy.find_sources import create_source_list
from mypy.nodes import CallExpr, MemberExpr
from mypy.options import Options
from mypy.types import CallableType, Instance, Overloaded, Type, TypeType, UnionType, get_proper_type

ROOT = Path(__file__).resolve().parents[2]
_STUBS = "tensorrt_bindings.tensorrt."
_MODULE = "edge.engine.tensorrt.library.TensorRt"


def usage_of(paths: list[str]) -> dict[str, Any]:
    """Names, calls and derived classes in the files."""
    options = Options()
    parse_config_file(options, lambda: None, str(ROOT / "pyproject.toml"))
    options.export_types, options.preserve_asts, options.incremental = True, True, False
    options.cache_dir, options.plugins = "/dev/null", []
    options.explicit_package_bases = True  # bench/edge.py is not the package edge
    options.mypy_path = [str(ROOT), *options.mypy_path]
    result = build.build(create_source_list(paths, options), options)
    types = result.types
    names, calls = set(), set()
    for expression in types:
        member = expression.callee if isinstance(expression, CallExpr) else expression
        if not isinstance(member, MemberExpr) or member.expr not in types:
            continue
        for owner in _owners(types[member.expr]):
            names.add((owner, member.name))
            if isinstance(expression, CallExpr):
                given = tuple(name for name in expression.arg_names if name)
                calls.add((owner, member.name, len(expression.args) - len(given), given))
    files = [file for path in paths for file in ([Path(path)] if Path(path).is_file() else Path(path).rglob("*.py"))]
    derived = [entry for file in sorted(files) for entry in _derived(ast.parse(file.read_text()))]
    return {"names": sorted(names), "calls": sorted(calls), "derived": derived, "errors": result.errors}


def _owners(kind: Type) -> Iterator[str]:
    """The TensorRT classes that a type may be; the module itself is ""."""
    kind = get_proper_type(kind)
    if isinstance(kind, UnionType):
        for item in kind.items:
            yield from _owners(item)
    elif isinstance(kind, TypeType):
        yield from _owners(kind.item)
    elif isinstance(kind, Instance):
        yield from _named(kind.type.fullname)
    elif isinstance(kind, CallableType | Overloaded) and kind.is_type_obj():
        yield from _named(kind.type_object().fullname)


def _named(name: str) -> Iterator[str]:
    if name == _MODULE:
        yield ""
    elif name.startswith(_STUBS):
        yield name.removeprefix(_STUBS)


def _derived(tree: ast.Module) -> Iterator[dict[str, Any]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for base in node.bases:
            if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == "library":
                methods = {f.name: len(f.args.args) for f in node.body if isinstance(f, ast.FunctionDef)}
                yield {"base": base.attr, "methods": methods}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(usage_of(sys.argv[1:])) + "\n")
