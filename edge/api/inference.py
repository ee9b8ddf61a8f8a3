"""Reads and writes inference in the Open Inference Protocol 2 with the binary tensor extension. Pure.

The protocol is KServe's (https://github.com/kserve/open-inference-protocol); the extension is Triton's: tensors follow
the JSON header as raw bytes, and ``Inference-Header-Content-Length`` says where it ends. What a request asks for and
this device does not do is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from edge.api.interface import ModelCard
from edge.engine.interface import INPUT, OUTPUTS, EngineError, RawOutput
from mien import __version__
from mien.errors import DataError

HEADER_LENGTH = "inference-header-content-length"

_HEADER_ROOM = 64 * 1024
_JSON_BYTES_PER_VALUE = 6
"""A value of up to three digits, a comma, a blank, and its share of the innermost brackets."""
_MOST_ID = 256
_BYTE = 255
_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
_DATATYPES = {"boxes": "FP32", "scores": "FP32", "classes": "INT32"}
_WIRE_TYPES = {"boxes": "<f4", "scores": "<f4", "classes": "<i4"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InferRequest:
    """What a caller wants."""

    request_id: str | None
    frames: npt.NDArray[np.uint8]
    """``uint8[N, H, W, 3]``."""
    outputs: tuple[tuple[str, bool], ...]
    """Names, and whether each is wanted as raw bytes."""


def server_metadata() -> dict[str, Any]:
    """The answer to ``GET /v2``."""
    return {"name": "mien", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_metadata(card: ModelCard) -> dict[str, Any]:
    """The answer to ``GET /v2/models/NAME``."""
    height, width = card.input
    shapes = {"boxes": [-1, card.top_k, 4], "scores": [-1, card.top_k], "classes": [-1, card.top_k]}
    return {
        "name": card.name,
        "versions": [card.version],
        "platform": _PLATFORMS.get(card.runtime, card.runtime),
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, height, width, 3]}],
        "outputs": [{"name": name, "datatype": _DATATYPES[name], "shape": shapes[name]} for name in OUTPUTS],
        "parameters": {
            "labels": ",".join(card.labels),
            "precision": card.precision,
            "runtime_version": card.runtime_version,
            "max_batch_size": card.max_batch,
        },
    }


def most_bytes(card: ModelCard) -> int:
    """The longest request worth reading: a full batch written as JSON."""
    return card.max_batch * int(np.prod(card.input)) * 3 * _JSON_BYTES_PER_VALUE + _HEADER_ROOM


def read_request(body: bytes, header_length: str | None, card: ModelCard) -> InferRequest:
    """Read a request.

    Args:
        body: as it arrived.
        header_length: ``Inference-Header-Content-Length``; ``None`` when all of the body is JSON.
        card: the model that is asked.

    Raises:
        DataError: it is malformed, lies about a size, or wants what is not offered.
    """
    end = _header_end(body, header_length)
    header = _json_object(body[:end])
    binary = body[end:] if header_length is not None else None
    _check_keys(header, {"id", "parameters", "inputs", "outputs"}, "the request")
    request_id = header.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= _MOST_ID):
        raise DataError("'id' is no text", wanted=f"up to {_MOST_ID} characters")
    parameters = _parameters(header, {"binary_data_output"}, "the request")
    binary_output = _flag(parameters, "binary_data_output", default=False)
    return InferRequest(
        request_id=request_id,
        frames=_frames(header.get("inputs"), binary, card),
        outputs=_wanted(header.get("outputs"), default=binary_output),
    )


def write_response(request: InferRequest, raw: RawOutput, card: ModelCard) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON header when raw tensors follow it.

    Raises:
        EngineError: the engine gave figures that are no numbers.
    """
    described, tail = [], []
    for name, as_bytes in request.outputs:
        tensor: npt.NDArray[Any] = getattr(raw, name)
        if not np.isfinite(tensor).all():
            raise EngineError(f"the engine gave {name} that are no numbers", remedy="look at the device's log")
        entry: dict[str, Any] = {"name": name, "datatype": _DATATYPES[name], "shape": list(tensor.shape)}
        if as_bytes:
            tail.append(np.ascontiguousarray(tensor, _WIRE_TYPES[name]).tobytes())
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = tensor.reshape(-1).tolist()
        described.append(entry)
    header: dict[str, Any] = {"model_name": card.name, "model_version": card.version, "outputs": described}
    if request.request_id is not None:
        header["id"] = request.request_id
    text = json.dumps(header).encode()
    return (text + b"".join(tail), len(text)) if tail else (text, None)


def _header_end(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= len(str(len(body)))):
        raise DataError(
            "Inference-Header-Content-Length does not fit the body",
            found=header_length[:32],
            wanted=f"a number up to {len(body)}",
        )
    end = int(header_length)
    if end > len(body):
        raise DataError(
            "Inference-Header-Content-Length does not fit the body", found=str(end), wanted=f"≤ {len(body)}"
        )
    return end


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError("the request is no JSON", found=str(error)[:200]) from error
    if not isinstance(found, dict):
        raise DataError("the request is no JSON object", found=type(found).__name__)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_keys(found: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise DataError(
            f"{where} holds what this device does not know",
            found=", ".join(unknown)[:200],
            wanted=", ".join(sorted(known)),
        )


def _parameters(holder: Mapping[str, Any], known: set[str], where: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise DataError(f"'parameters' of {where} is no JSON object", found=type(parameters).__name__)
    _check_keys(parameters, known, f"'parameters' of {where}")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise DataError(f"'{name}' is neither true nor false", found=str(value)[:32])
    return value


def _objects(found: object, what: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DataError(f"'{what}' is no list of JSON objects")
    return found


def _frames(inputs: object, binary: bytes | None, card: ModelCard) -> npt.NDArray[np.uint8]:
    entries = _objects(inputs, "inputs")
    names = [str(entry.get("name"))[:64] for entry in entries]
    if names != [INPUT]:
        raise DataError("the model takes one input", found=", ".join(names[:8]) or "none", wanted=INPUT)
    entry = entries[0]
    _check_keys(entry, {"name", "shape", "datatype", "parameters", "data"}, f"input {INPUT}")
    if entry.get("datatype") != "UINT8":
        raise DataError(f"input {INPUT} has another type", found=str(entry.get("datatype"))[:32], wanted="UINT8")
    shape = _shape(entry.get("shape"), card)
    parameters = _parameters(entry, {"binary_data_size"}, f"input {INPUT}")
    if "binary_data_size" not in parameters:
        if binary:
            raise DataError("bytes follow the header, and no input says that they are its own", found=f"{len(binary)}")
        return _from_json(entry.get("data"), shape)
    if "data" in entry:
        raise DataError(f"input {INPUT} has both 'data' and 'binary_data_size'", wanted="one of them")
    return _from_bytes(binary, parameters["binary_data_size"], shape)


def _shape(found: object, card: ModelCard) -> tuple[int, ...]:
    wanted = f"[1..{card.max_batch}, {card.input[0]}, {card.input[1]}, 3]"
    if not isinstance(found, list) or not all(type(side) is int for side in found):
        raise DataError(f"the shape of {INPUT} is no list of whole numbers", wanted=wanted)
    if found[1:] != [*card.input, 3] or not 1 <= found[0] <= card.max_batch:
        raise DataError(f"the shape of {INPUT} does not fit the model", found=str(found)[:64], wanted=wanted)
    return tuple(found)


def _from_bytes(binary: bytes | None, size: object, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    if binary is None:
        raise DataError("'binary_data_size' needs the header Inference-Header-Content-Length")
    wanted = int(np.prod(shape))
    if type(size) is not int or size != wanted or len(binary) != wanted:
        raise DataError(
            f"the bytes of {INPUT} do not fit its shape",
            found=f"binary_data_size {str(size)[:32]}, {len(binary)} bytes after the header",
            wanted=str(wanted),
        )
    return np.frombuffer(binary, np.uint8).reshape(shape)


def _from_json(data: object, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    wanted = f"{int(np.prod(shape))} whole numbers 0..{_BYTE}, flat or nested like the shape"
    if not isinstance(data, list):
        raise DataError(f"input {INPUT} has no 'data'", wanted=wanted)
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"the data of {INPUT} is uneven", wanted=wanted) from error
    if values.dtype.kind not in "iu" or values.size != np.prod(shape) or values.shape not in {shape, (values.size,)}:
        raise DataError(
            f"the data of {INPUT} does not fit", found=f"{values.dtype}{list(values.shape)}"[:64], wanted=wanted
        )
    if values.min() < 0 or values.max() > _BYTE:
        raise DataError(
            f"the data of {INPUT} does not fit a byte", found=f"{values.min()}..{values.max()}", wanted=wanted
        )
    return values.astype(np.uint8).reshape(shape)


def _wanted(outputs: object, *, default: bool) -> tuple[tuple[str, bool], ...]:
    if outputs is None or outputs == []:
        return tuple((name, default) for name in OUTPUTS)
    found: dict[str, bool] = {}
    for entry in _objects(outputs, "outputs"):
        _check_keys(entry, {"name", "parameters"}, "an output")
        name = entry.get("name")
        if name not in OUTPUTS or name in found:
            raise DataError("an output is unknown or named twice", found=str(name)[:64], wanted=", ".join(_rest(found)))
        found[name] = _flag(_parameters(entry, {"binary_data"}, f"output {name}"), "binary_data", default=default)
    return tuple(found.items())


def _rest(found: Mapping[str, bool]) -> Sequence[str]:
    return [name for name in OUTPUTS if name not in found]
