"""What a TensorRT module offers, as JSON: its classes with their members and signatures, its functions and constants.

    python tests/contract/surface.py MODULE [CLASS ...]    # prints all classes, or these

Runs in a process of its own, with the stub libraries on its library path and nothing else of the house, so that an
old Python can run it too. The signatures stand in the documentation that pybind11 writes for each function.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

_CAPABILITIES = Path(__file__).resolve().parents[2] / "edge" / "engine" / "tensorrt" / "capabilities.py"
_SIGNATURE = r"^(?:\d+\. )?{name}\((.*)\)(?: -> .*)?$"
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


def surface_of(module: Any, classes: list[str]) -> dict[str, Any]:
    """The module's version, capabilities and names."""
    spec = importlib.util.spec_from_file_location("capabilities", _CAPABILITIES)
    capabilities = sys.modules["capabilities"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(capabilities)
    can = capabilities.Capabilities.of(module)
    found: dict[str, Any] = {}
    for name in sorted(dir(module)):
        value = getattr(module, name)
        if inspect.isclass(value):
            _add_class(found, name, value, classes)
    return {
        "version": module.__version__,
        "capabilities": sorted(name for name in can.__slots__ if getattr(can, name)),
        "module": sorted(dir(module)),
        "classes": found,
    }


def _add_class(found: dict[str, Any], name: str, value: type, classes: list[str]) -> None:
    if classes and name not in classes:
        return
    members = [member for member in sorted(dir(value)) if member == "__init__" or not member.startswith("_")]
    found[name] = {member: signatures(getattr(value, member), member) for member in members}
    for member in members:
        if inspect.isclass(inner := getattr(value, member)):
            found[f"{name}.{member}"] = dict.fromkeys(name for name in dir(inner) if not name.startswith("_"))


def signatures(value: Any, name: str) -> list[list[list[Any]]] | None:
    """Each overload's parameters as (name, has a default); ``None`` when nothing is documented."""
    text = getattr(value, "__doc__", None) or ""
    if not callable(value):
        return None
    lines = re.findall(_SIGNATURE.format(name=re.escape(name)), text, re.MULTILINE)
    return [_parameters(line) for line in lines if line != "*args, **kwargs"] or None


def _parameters(text: str) -> list[list[Any]]:
    """Split at commas outside brackets, whose kinds may hold one another."""
    parts, waiting = [""], []
    for place, sign in enumerate(text):
        if waiting and sign == waiting[-1] and text[place - 1 : place + 1] != "->":
            waiting.pop()
        elif sign in _CLOSING:
            waiting.append(_CLOSING[sign])
        if sign == "," and not waiting:
            parts.append("")
        else:
            parts[-1] += sign
    return [[part.partition(":")[0].partition("=")[0].strip(), "=" in part] for part in parts if part.strip()]


def printed(surface: dict[str, Any]) -> str:
    """The surface as JSON with a line for each class."""
    classes = ",\n".join(f"  {json.dumps(name)}: {json.dumps(members)}" for name, members in surface["classes"].items())
    rest = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in surface.items() if key != "classes")
    return f'{{\n{rest} "classes": {{\n{classes}\n }}\n}}\n'


if __name__ == "__main__":
    sys.stdout.write(printed(surface_of(importlib.import_module(sys.argv[1]), sys.argv[2:])))
