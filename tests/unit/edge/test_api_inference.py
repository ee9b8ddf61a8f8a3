"""Reading and writing the Open Inference Protocol, with requests that nobody would send in good faith."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.api.inference import most_bytes, read_request, write_response
from edge.engine.interface import EngineError
from mien.errors import DataError
from tests.fakes.served_api import CARD, HandModel

FRAMES = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(1, 8, 6, 3)
SIZE = FRAMES.size
INPUT = {"name": "frames", "datatype": "UINT8", "shape": [1, 8, 6, 3]}


def _plain(**change: Any) -> bytes:
    """A whole JSON request with one thing changed in its input."""
    return json.dumps({"inputs": [INPUT | {"data": FRAMES.tolist()} | change]}).encode()


def _binary(size: Any = SIZE, tail: bytes = FRAMES.tobytes()) -> tuple[bytes, str]:
    """A request with raw bytes, and the length of its header."""
    header = json.dumps({"inputs": [INPUT | {"parameters": {"binary_data_size": size}}]}).encode()
    return header + tail, str(len(header))


@pytest.mark.parametrize("data", [FRAMES.tolist(), FRAMES.reshape(-1).tolist()])
def test_numbers_are_read_flat_and_nested(data: Any) -> None:
    """Both are one tensor."""
    assert np.array_equal(read_request(_plain(data=data), None, CARD).frames, FRAMES)


def test_raw_bytes_are_read() -> None:
    """What follows the header is the tensor."""
    body, length = _binary()
    request = read_request(body, length, CARD)
    assert np.array_equal(request.frames, FRAMES)
    assert request.outputs == (("boxes", False), ("scores", False), ("classes", False))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": [1, 8, 6]}, "shape"),
        ({"shape": [3, 8, 6, 3]}, "shape"),
        ({"shape": [0, 8, 6, 3]}, "shape"),
        ({"shape": [-1, 8, 6, 3]}, "shape"),
        ({"shape": [10**30, 8, 6, 3]}, "shape"),
        ({"shape": [True, 8, 6, 3]}, "shape"),
        ({"shape": [1.0, 8, 6, 3]}, "shape"),
        ({"shape": None}, "shape"),
        ({"datatype": "FP32"}, "UINT8"),
        ({"datatype": ["UINT8"]}, "UINT8"),
        ({"name": "images"}, "frames"),
        ({"data": None}, "no 'data'"),
        ({"data": []}, "does not fit"),
        ({"data": FRAMES.reshape(-1).tolist()[1:]}, "does not fit"),
        ({"data": FRAMES.reshape(8, 18).tolist()}, "does not fit"),
        ({"data": [256] * SIZE}, "byte"),
        ({"data": [-1] * SIZE}, "byte"),
        ({"data": [10**400] * SIZE}, "does not fit"),
        ({"data": [1.5] * SIZE}, "does not fit"),
        ({"data": [True] * SIZE}, "does not fit"),
        ({"data": ["1"] * SIZE}, "does not fit"),
        ({"data": [[1, 2], 3]}, "uneven"),
        ({"data": [{}] * SIZE}, "does not fit"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared_memory_region"),
        ({"parameters": {"binary_data_size": SIZE}}, "both"),
        ({"parameters": []}, "parameters"),
        ({"extra": 1}, "extra"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    """The answer names what is wrong."""
    with pytest.raises(DataError) as caught:
        read_request(_plain(**change), None, CARD)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("size", "tail"),
    [
        (SIZE, b""),
        (SIZE, FRAMES.tobytes() + b"\0"),
        (SIZE - 1, FRAMES.tobytes()),
        (SIZE + 1, FRAMES.tobytes() + b"\0"),
        (-SIZE, FRAMES.tobytes()),
        (10**30, FRAMES.tobytes()),
        (True, FRAMES.tobytes()),
        ("144", FRAMES.tobytes()),
        (None, FRAMES.tobytes()),
    ],
)
def test_a_size_that_lies_is_refused(size: Any, tail: bytes) -> None:
    """Said, sent and needed must be one number."""
    with pytest.raises(DataError):
        read_request(*_binary(size, tail), CARD)


@pytest.mark.parametrize("length", ["-1", "1e3", "", "٣", "99999", "9" * 5000, "+5", " 5"])
def test_a_header_length_that_lies_is_refused(length: str) -> None:
    """Only a number of bytes that are there."""
    with pytest.raises(DataError, match="Content-Length"):
        read_request(_binary()[0], length, CARD)


def test_bytes_that_nobody_claims_are_refused() -> None:
    """A tail behind a request whose data are numbers."""
    header = _plain()
    with pytest.raises(DataError, match="follow the header"):
        read_request(header + b"tail", str(len(header)), CARD)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"inputs": [{"data": [NaN]}]}',
        b'{"inputs": [{"data": [-Infinity]}]}',
        b"[" * 200_000,
        b'{"inputs": ' + b"9" * 10_000 + b"}",
        b'{"inputs": {}}',
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"id": 5, "inputs": []}',
        b'{"parameters": {"sequence_id": 5}, "inputs": []}',
        b'{"parameters": {"binary_data_output": 1}, "inputs": []}',
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    """Broken, endless, not numbers, or asking for what is not offered."""
    with pytest.raises(DataError):
        read_request(body, None, CARD)


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "masks"}],
        [{"name": "boxes"}, {"name": "boxes"}],
        [{"name": "boxes", "parameters": {"classification": 3}}],
        [{"name": "boxes", "parameters": {"binary_data": "yes"}}],
        [{}],
        {"name": "boxes"},
    ],
)
def test_outputs_that_are_not_offered_are_refused(outputs: Any) -> None:
    """Each by name."""
    body = json.dumps({"inputs": [INPUT | {"data": FRAMES.tolist()}], "outputs": outputs}).encode()
    with pytest.raises(DataError):
        read_request(body, None, CARD)


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=4)))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_more_than_be_refused(body: bytes, length: str | None) -> None:
    """Whatever arrives ends in the one error that becomes a 400."""
    with pytest.raises(DataError):
        read_request(body, length, CARD)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["name", "data", "shape", "parameters"]), inner)
        ),
        max_leaves=12,
    ),
    st.sampled_from(["inputs", "outputs", "parameters", "id"]),
)
@settings(max_examples=300, deadline=None)
def test_no_json_does_more_than_be_refused(value: Any, key: str) -> None:
    """A part of any shape is read or refused; nothing else is raised."""
    whole = {"inputs": [INPUT | {"data": FRAMES.tolist()}]} | {key: value}
    try:
        request = read_request(json.dumps(whole).encode(), None, CARD)
    except DataError:
        return
    assert np.array_equal(request.frames, FRAMES)


def test_an_answer_mixes_numbers_and_bytes() -> None:
    """Raw tensors follow in the order of the header, which says how long it is and how long they are."""
    body = json.dumps(
        {
            "id": "7",
            "inputs": [INPUT | {"data": FRAMES.tolist()}],
            "outputs": [
                {"name": "classes", "parameters": {"binary_data": True}},
                {"name": "scores"},
                {"name": "boxes", "parameters": {"binary_data": True}},
            ],
        }
    ).encode()
    request = read_request(body, None, CARD)
    content, length = write_response(request, HandModel().infer(request.frames), CARD)
    assert length is not None
    header = json.loads(content[:length])
    classes, scores, boxes = header["outputs"]
    assert (header["id"], header["model_name"], header["model_version"]) == ("7", "faces", "1.2.0")
    assert scores["data"] == pytest.approx([0.9, 0.25])
    tail = content[length:]
    assert np.frombuffer(tail[: classes["parameters"]["binary_data_size"]], "<i4").tolist() == [1, 0]
    found = np.frombuffer(tail[classes["parameters"]["binary_data_size"] :], "<f4").reshape(boxes["shape"])
    assert found[0, 0, 0] == FRAMES.sum()


def test_figures_that_are_no_numbers_are_no_answer() -> None:
    """NaN is not JSON, and not a box either."""
    request = read_request(_plain(), None, CARD)
    raw = HandModel().infer(request.frames)
    raw.boxes[0, 0, 0] = np.nan
    with pytest.raises(EngineError, match="no numbers"):
        write_response(request, raw, CARD)


def test_the_longest_request_holds_a_full_batch_of_numbers() -> None:
    """Nested, with three digits and blanks."""
    data = np.full((CARD.max_batch, 8, 6, 3), 255).tolist()
    assert len(_plain(shape=[2, 8, 6, 3], data=data)) < most_bytes(CARD) < 100_000
