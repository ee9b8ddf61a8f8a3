"""The routes of the Open Inference Protocol 2: what runs, whether it is ready, and frames of others through it.

The live pipeline comes first: few requests run at a time, and the rest are told to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect, Request

from edge.api.inference import (
    HEADER_LENGTH,
    model_metadata,
    most_bytes,
    read_request,
    server_metadata,
    write_response,
)
from edge.api.interface import ModelCard, ModelPort
from mien.errors import DataError, MienError, UnavailableError

_AT_ONCE = 2
_BODY_WITHIN_S = 20.0

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):  # noqa: N818 - an answer on its way out, no fault
    """An answer other than the one hoped for.

    Args:
        status: of HTTP.
        error: one sentence.
    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class InferenceRoutes:
    """The protocol's routes over one model.

    Args:
        model: asked at every request, so that an exchange of the release shows at once.
    """

    def __init__(self, model: Callable[[], ModelPort]) -> None:
        self._model = model
        self._running = 0

    def add_to(self, app: FastAPI) -> None:
        """Mount all routes."""
        reads: dict[str, Handler] = {
            "/v2": self._server,
            "/v2/": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
        }
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            reads |= {model: self._metadata, f"{model}/ready": self._model_ready}
            app.add_route(f"{model}/infer", self._answered(self._infer), methods=["POST"])
        for path, handler in reads.items():
            app.add_route(path, self._answered(handler), methods=["GET"])

    def _answered(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Refused as refused:
                retry = {"Retry-After": "1"} if refused.status == 503 else {}  # noqa: PLR2004
                return JSONResponse({"error": str(refused)}, status_code=refused.status, headers=retry)

        return answer

    async def _server(self, _request: Request) -> Response:
        return JSONResponse(server_metadata())

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _request: Request) -> Response:
        card, trouble = self._model().card(), self._model().trouble()
        ready = card is not None and not trouble
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def _metadata(self, request: Request) -> Response:
        return JSONResponse(model_metadata(self._card(request)))

    async def _model_ready(self, request: Request) -> Response:
        card, trouble = self._card(request), self._model().trouble()
        if trouble:
            raise Refused(503, trouble)
        return JSONResponse({"name": card.name, "ready": True})

    async def _infer(self, request: Request) -> Response:
        card = self._card(request)
        if self._running >= _AT_ONCE:
            raise Refused(503, f"{_AT_ONCE} requests run already; the camera's frames come first")
        self._running += 1
        try:
            body = await body_of(request, most=most_bytes(card))
            header_length = request.headers.get(HEADER_LENGTH)
            return await run_in_threadpool(self._inferred, body, header_length, card)
        finally:
            self._running -= 1

    def _inferred(self, body: bytes, header_length: str | None, card: ModelCard) -> Response:
        try:
            wanted = read_request(body, header_length, card)
            raw = self._model().infer(wanted.frames)
            content, length = write_response(wanted, raw, card)
        except DataError as error:
            raise Refused(400, str(error)) from error
        except UnavailableError as error:
            raise Refused(503, str(error)) from error
        except MienError as error:
            raise Refused(500, str(error)) from error
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    def _card(self, request: Request) -> ModelCard:
        card = self._model().card()
        name, version = request.path_params["model"], request.path_params.get("version")
        if card is None:
            raise Refused(503, "no model is loaded")
        if name != card.name or version not in {None, card.version}:
            wanted = f"{name}@{version}" if version else name
            raise Refused(404, f"there is no model {wanted[:128]}; this device runs {card.name}@{card.version}")
        return card


async def body_of(request: Request, *, most: int) -> bytes:
    """The request's body, read only as far as it may be long.

    Raises:
        Refused: it is compressed, too long, or does not come.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "compressed bodies are not taken: send it without Content-Encoding")
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or len(declared) > len(str(most)) or int(declared) > most:
        raise Refused(413, f"the body is too long: at most {most} bytes are taken")
    try:
        return await asyncio.wait_for(_read(request, most), _BODY_WITHIN_S)
    except asyncio.TimeoutError as error:
        raise Refused(408, f"the body did not come within {_BODY_WITHIN_S:g} s") from error
    except ClientDisconnect as error:
        raise Refused(400, "the caller left") from error


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Refused(413, f"the body is too long: at most {most} bytes are taken")
    return bytes(body)
