"""Holds what code uses against what a TensorRT offers; the decision alone, on plain values."""

from __future__ import annotations

from typing import Any

from edge.engine.tensorrt.capabilities import NAMES

GUARDED = {name: capability for capability, names in NAMES.items() for name in names}
"""By dotted name, the capability that code must ask for first."""


def disagreements(usage: dict[str, Any], surface: dict[str, Any]) -> list[str]:
    """A sentence for every use that this version does not offer."""
    found = [*_absent_names(usage, surface), *_other_calls(usage, surface), *_other_methods(usage, surface)]
    return sorted(set(found))


def _absent_names(usage: dict[str, Any], surface: dict[str, Any]) -> list[str]:
    found = []
    for owner, name in usage["names"]:
        dotted = f"{owner}.{name}" if owner else name
        if _offers(surface, owner, name):
            continue
        capability = GUARDED.get(dotted) or GUARDED.get(owner)
        if capability is None:
            found.append(f"{dotted} is not there and no capability guards it")
        elif capability in surface["capabilities"]:
            found.append(f"{dotted} is not there, but its capability {capability} is")
    return found


def _offers(surface: dict[str, Any], owner: str, name: str) -> bool:
    return name in surface["module"] if not owner else name in surface["classes"].get(owner, {})


def _other_calls(usage: dict[str, Any], surface: dict[str, Any]) -> list[str]:
    found = []
    for owner, name, given, named in usage["calls"]:
        kind, method = (owner, name) if owner else (name, "__init__")
        overloads = surface["classes"].get(kind, {}).get(method)
        if not overloads:
            continue  # absent, which is told already, or a plain function without documented parameters
        bound = given if name == "__init__" else given + 1  # self
        if not any(_takes(parameters, bound, named) for parameters in overloads):
            found.append(f"{kind}.{method} does not take {bound - 1} arguments {named}: it has {overloads}")
    return found


def _takes(parameters: list[list[Any]], given: int, named: list[str]) -> bool:
    rest = parameters[given:]
    names = {name for name, _ in rest}
    required = {name for name, has_default in rest if not has_default}
    return given <= len(parameters) and set(named) <= names and required <= set(named)


def _other_methods(usage: dict[str, Any], surface: dict[str, Any]) -> list[str]:
    """Methods of derived classes that TensorRT calls must take what it gives."""
    found = []
    for entry in usage["derived"]:
        members = surface["classes"].get(entry["base"], {})
        for method, parameters in entry["methods"].items():
            overloads = members.get(method)
            if overloads and all(len(overload) != parameters for overload in overloads):
                found.append(f"{entry['base']}.{method} is called with {overloads}, and takes {parameters} parameters")
    return found
