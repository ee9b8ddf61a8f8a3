"""Inference by others: with Triton's own client, and with requests that no client would send."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edge.api.inference import HEADER_LENGTH
from edge.api.port import PipelinePort
from edge.api.state import DeviceState
from edge.engine.interface import RawOutput
from edge.engine.onnxruntime import OnnxRuntimeEngine
from edge.pipeline.model import LoadedModel, Source
from edge.pipeline.pipeline import Pipeline
from tests.fakes.fake_camera import FakeCamera
from tests.fakes.fake_device import wait_until
from tests.fakes.served_api import HandModel, device, served, window
from tests.fakes.tiny_bundle import GRID, LABELS, SIZE, bright_square, make_bundle

FRAME = np.zeros((1, 8, 6, 3), np.uint8)
INFER = "/v2/models/faces/infer"


@pytest.fixture
def model() -> HandModel:
    """A model of 8 × 6 pixels whose answers say what it was asked."""
    return HandModel()


@pytest.fixture
def url(model: HandModel) -> Iterator[str]:
    """The API over that model."""
    with served(device(model)) as api:
        yield api.url


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    """Triton's HTTP client, as its package brings it."""
    with closing(triton.InferenceServerClient(url.removeprefix("http://"))) as opened:
        yield opened


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """A real engine in a pipeline whose camera gives nothing."""
    manifest = make_bundle(tmp_path / "bundle")
    with ExitStack() as undo:
        engine = undo.enter_context(OnnxRuntimeEngine(tmp_path / "bundle" / manifest.variants[0].path))
        running = Pipeline([Source(name="door", camera=FakeCamera(live=True))], sinks=())
        running.replace_model(LoadedModel.of(manifest, "fp32", "onnxruntime", engine))
        running.start()
        undo.callback(running.stop)
        yield running


def _input(frames: np.ndarray, *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput("frames", list(frames.shape), "UINT8")
    given.set_data_from_numpy(frames, binary_data=binary)
    return given


def _request(**change: Any) -> dict[str, Any]:
    entry = {"name": "frames", "datatype": "UINT8", "shape": [1, 8, 6, 3], "data": FRAME.reshape(-1).tolist()}
    return {"inputs": [entry | change]}


def test_triton_s_client_finds_the_model(client: triton.InferenceServerClient) -> None:
    """Live, ready, and described in the protocol's words."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("faces")
    assert client.is_model_ready("faces", "1.2.0")
    assert not client.is_model_ready("faces", "9.9.9")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    found = client.get_model_metadata("faces", "1.2.0")
    assert found["versions"] == ["1.2.0"]
    assert found["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, 8, 6, 3]}]
    assert {entry["name"]: entry["datatype"] for entry in found["outputs"]} == {
        "boxes": "FP32",
        "scores": "FP32",
        "classes": "INT32",
    }


@pytest.mark.parametrize("sent_raw", [True, False])
@pytest.mark.parametrize("wanted_raw", [True, False])
def test_triton_s_client_gets_the_same_answer_in_every_encoding(
    client: triton.InferenceServerClient, model: HandModel, sent_raw: bool, wanted_raw: bool
) -> None:
    """Raw bytes and JSON, each way; two frames at once keep their order."""
    frames = np.random.default_rng(3).integers(0, 256, (2, 8, 6, 3), np.uint8)
    outputs = [triton.InferRequestedOutput(name, binary_data=wanted_raw) for name in ("boxes", "scores", "classes")]
    answer = client.infer("faces", [_input(frames, binary=sent_raw)], outputs=outputs, request_id="42")
    assert np.array_equal(model.asked[0], frames)
    assert answer.get_response()["id"] == "42"
    assert answer.as_numpy("boxes")[:, 0, 0].tolist() == frames.reshape(2, -1).sum(axis=1).tolist()
    assert answer.as_numpy("scores").dtype == np.float32
    assert answer.as_numpy("classes").tolist() == [[1, 0], [1, 0]]


def test_triton_s_client_may_name_no_outputs(client: triton.InferenceServerClient) -> None:
    """Then all come, raw, as it asks by itself."""
    answer = client.infer("faces", [_input(FRAME)], model_version="1.2.0")
    assert {output["name"] for output in answer.get_response()["outputs"]} == {"boxes", "scores", "classes"}
    assert answer.as_numpy("boxes").shape == (1, 2, 4)


def test_triton_s_client_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    """As an error of its own, with our sentence."""
    with pytest.raises(InferenceServerException, match="shape of frames does not fit"):
        client.infer("faces", [_input(np.zeros((1, 9, 6, 3), np.uint8))])
    with pytest.raises(InferenceServerException, match=r"runs faces@1\.2\.0"):
        client.infer("cats", [_input(FRAME)])


def test_a_real_engine_answers_triton_s_client_between_two_frames(pipeline: Pipeline) -> None:
    """The bright square is found where it is, by way of the pipeline that the camera uses."""
    state = DeviceState(device_id="lab-1", model=PipelinePort(pipeline))
    with served(state) as api, closing(triton.InferenceServerClient(api.url.removeprefix("http://"))) as opened:
        answer = opened.infer("faces", [_input(bright_square(2, 1)[None])])
        cell = SIZE // GRID
        assert answer.as_numpy("boxes")[0, 0].tolist() == [2 * cell, cell, 3 * cell, 2 * cell]
        assert answer.as_numpy("scores")[0, 0] == pytest.approx(240 / 255)
        labels = opened.get_model_metadata("faces")["parameters"]["labels"]
        assert labels.split(",") == list(LABELS)
        pipeline.replace_model(None)
        assert not opened.is_server_ready()
        with pytest.raises(InferenceServerException, match="no model"):
            opened.infer("faces", [_input(bright_square(2, 1)[None])])


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (json.dumps(_request(shape=[1, 8, 6, 4])).encode(), {}, 400),
        (json.dumps(_request(datatype="FP16")).encode(), {}, 400),
        (json.dumps(_request(data=[float("nan")] * 144)).encode(), {}, 400),
        (json.dumps(_request()).encode(), {HEADER_LENGTH: "999999"}, 400),
        (json.dumps(_request()).encode(), {HEADER_LENGTH: "-1"}, 400),
        (b"[" * 50_000, {}, 400),
        (b"x" * 1_000_000, {}, 413),
        (zlib.compress(b"0" * 1_000_000), {"Content-Encoding": "deflate"}, 415),
    ],
)
def test_what_nobody_sends_in_good_faith_is_refused(
    url: str, model: HandModel, content: bytes, headers: dict[str, str], status: int
) -> None:
    """With a status of the caller's fault; the engine never sees it, and the next caller is served."""
    answer = httpx.post(url + INFER, content=content, headers=headers)
    assert answer.status_code == status
    assert model.asked == []
    assert httpx.post(url + INFER, json=_request()).status_code == 200


def test_errors_are_json_in_the_protocol_s_form(url: str) -> None:
    """One member, one sentence, whether the path, the model, the method or the body is wrong."""
    answers = [
        httpx.post(url + INFER, content=b"{"),
        httpx.get(f"{url}/v2/models/none"),
        httpx.get(url + INFER),
        httpx.get(f"{url}/v2/none"),
    ]
    assert [answer.status_code for answer in answers] == [400, 404, 405, 404]
    for answer in answers:
        assert list(answer.json()) == ["error"]
        assert isinstance(answer.json()["error"], str)


def test_a_body_that_grows_beyond_what_was_said_is_cut_off(url: str, model: HandModel) -> None:
    """Chunked, without any length, it ends at the bound."""
    answer = httpx.post(url + INFER, content=(b" " * 65536 for _ in range(64)))
    assert answer.status_code == 413
    assert model.asked == []


@pytest.mark.parametrize("length", ["999999999999", "9" * 15, "-1", "1,2", "0x10"])
def test_a_length_that_lies_is_refused_before_anything_is_read(url: str, model: HandModel, length: str) -> None:
    """The answer comes though the body never does."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as caller:
        caller.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
        assert caller.recv(64).split()[1] in {b"400", b"413"}
    assert model.asked == []


def test_a_caller_who_leaves_in_the_middle_blocks_nobody(url: str) -> None:
    """Its place is free again."""
    port = int(url.rpartition(":")[2])
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n{{".encode())
    wait_until(lambda: httpx.post(url + INFER, json=_request()).status_code == 200, what="a free place")


def test_an_engine_s_fault_is_no_fault_of_the_caller(url: str, model: HandModel) -> None:
    """500 when it fails, 503 when it is held up or gone."""
    model.break_down()
    assert httpx.post(url + INFER, json=_request()).status_code == 500
    model.go_away()
    answer = httpx.post(url + INFER, json=_request())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    model.held = None
    assert httpx.get(f"{url}/v2/health/ready").status_code == 503
    assert httpx.get(f"{url}/v2/models/faces/ready").status_code == 503
    assert httpx.get(f"{url}/v2/health/live").status_code == 200


def test_a_model_that_does_not_answer_is_not_ready(model: HandModel) -> None:
    """While the camera's calls fail or hang: for probes of the protocol and for the device's own, with the reason."""
    state = device(model)
    state.add_window(window())
    with served(state) as api:
        paths = ("/v2/health/ready", "/v2/models/faces/ready", "/readyz")
        assert [httpx.get(api.url + path).status_code for path in paths] == [200] * 3
        model.ails = "the engine has not answered for 7 s"
        answers = [httpx.get(api.url + path) for path in paths]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert "not answered for 7 s" in answers[1].json()["error"]
        assert answers[2].json()["reasons"] == ["the engine has not answered for 7 s"]
        assert httpx.get(f"{api.url}/v2/health/live").status_code == 200


def test_more_callers_than_the_camera_can_spare_are_told_to_come_again() -> None:
    """Two run, a third gets 503 at once and is not queued; afterwards there is room."""

    class Slow(HandModel):
        go_on = threading.Event()

        def infer(self, frames: np.ndarray) -> RawOutput:
            started.release()
            self.go_on.wait(30)
            return super().infer(frames)

    started = threading.Semaphore(0)
    slow = Slow()
    statuses: list[int] = []
    with served(device(slow)) as api:

        def call() -> None:
            statuses.append(httpx.post(api.url + INFER, json=_request(), timeout=30).status_code)

        callers = [threading.Thread(target=call) for _ in range(2)]
        for caller in callers:
            caller.start()
            assert started.acquire(timeout=30)
        assert httpx.post(api.url + INFER, json=_request()).status_code == 503
        slow.go_on.set()
        for caller in callers:
            caller.join(30)
        assert statuses == [200, 200]
        assert httpx.post(api.url + INFER, json=_request()).status_code == 200
