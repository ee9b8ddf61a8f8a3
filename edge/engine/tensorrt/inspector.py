"""Reads the engine inspector's JSON: which type each layer computes in, and how many layers only reformat.

The keys differ by version: one text of format and type ("Row major linear FP16 format", "Half(64,1:8)") in 8.x and
10.x, two in later ones. A layer with weights computes in the type of its weights, any other in that of its first
input, or of its first output when it has no input.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from edge.engine.tensorrt.sidecar import Inspection

_TYPES = (
    (re.compile(r"u-?int-?8", re.IGNORECASE), "uint8"),
    (re.compile(r"int-?8", re.IGNORECASE), "int8"),
    (re.compile(r"bf-?16|bfloat", re.IGNORECASE), "bf16"),
    (re.compile(r"half|fp-?16", re.IGNORECASE), "fp16"),
    (re.compile(r"fp-?8", re.IGNORECASE), "fp8"),
    (re.compile(r"float|fp-?32", re.IGNORECASE), "fp32"),
    (re.compile(r"int-?64", re.IGNORECASE), "int64"),
    (re.compile(r"int-?32", re.IGNORECASE), "int32"),
    (re.compile(r"bool", re.IGNORECASE), "bool"),
)
_UNKNOWN = "unknown"


def summary_of(text: str) -> Inspection | None:
    """The summary of an engine's information; ``None`` when the text holds no layers."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return None
    layers = content.get("Layers") if isinstance(content, dict) else None
    if not isinstance(layers, list) or not layers:
        return None
    named = [(_name(place, layer), layer) for place, layer in enumerate(layers)]
    reformats = [name for name, layer in named if _is_reformat(name, layer)]
    precisions = {name: _precision(layer) for name, layer in named if not _is_reformat(name, layer)}
    return Inspection(
        layers=len(layers),
        by_precision=dict(sorted(Counter(precisions.values()).items())),
        reformats=len(reformats),
        precisions=precisions,
    )


def type_of(text: str) -> str:
    """The type in an inspector's words; "unknown" when there is none."""
    return next((name for pattern, name in _TYPES if pattern.search(text)), _UNKNOWN)


def _name(place: int, layer: object) -> str:
    name = layer.get("Name") if isinstance(layer, dict) else layer
    return str(name) if name else f"layer {place}"


def _is_reformat(name: str, layer: object) -> bool:
    kind = layer.get("LayerType") if isinstance(layer, dict) else None
    return kind == "Reformat" or name.startswith("Reformatting CopyNode")


def _precision(layer: object) -> str:
    if not isinstance(layer, dict):
        return _UNKNOWN
    weights = layer.get("Weights")
    if isinstance(weights, dict) and (known := type_of(str(weights.get("Type", "")))) != _UNKNOWN:
        return known
    tensors: Iterable[Any] = [*(layer.get("Inputs") or []), *(layer.get("Outputs") or [])]
    stated = (
        type_of(str(tensor.get("Datatype") or tensor.get("Format/Datatype") or ""))
        for tensor in tensors
        if isinstance(tensor, dict)
    )
    return next(stated, _UNKNOWN)
