"""Puts the local API's routes together behind the guard. Imported only where the API is switched on."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from edge.api.access import Doorkeeper
from edge.api.guard import App, Guard
from edge.api.metrics import CONTENT_TYPE, exposition
from edge.api.pages import PageRoutes
from edge.api.readiness import reasons_against
from edge.api.state import DeviceState, Snapshot
from edge.api.v2 import InferenceRoutes
from edge.api.views import status_json

_NO_STORE = {"Cache-Control": "no-store"}


class Probes:
    """Liveness, readiness, metrics and status.

    Args:
        state: what is shown.
    """

    def __init__(self, state: DeviceState) -> None:
        self._state = state

    def add_to(self, app: FastAPI) -> None:
        """Mount all routes."""
        app.add_route("/healthz", self._health, methods=["GET"])
        app.add_route("/readyz", self._ready, methods=["GET"])
        app.add_route("/metrics", self._metrics, methods=["GET"])
        app.add_route("/status.json", self._status, methods=["GET"])

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def _ready(self, _request: Request) -> Response:
        reasons = reasons_against(await self._snapshot(), self._state.model.card())
        answer = {"ready": not reasons, "reasons": list(reasons)}
        return JSONResponse(answer, status_code=503 if reasons else 200, headers=_NO_STORE)

    async def _metrics(self, _request: Request) -> Response:
        now, card = await self._snapshot(), self._state.model.card()
        text = exposition(now, card, ready=not reasons_against(now, card))
        return PlainTextResponse(text, media_type=CONTENT_TYPE, headers=_NO_STORE)

    async def _status(self, _request: Request) -> Response:
        now, card = await self._snapshot(), self._state.model.card()
        return JSONResponse(status_json(now, card, reasons_against(now, card)), headers=_NO_STORE)

    async def _snapshot(self) -> Snapshot:
        """Taken beside the server's loop, since the spool may wait for its disk and liveness must not."""
        return await run_in_threadpool(self._state.snapshot)


def make_app(state: DeviceState, pages: PageRoutes, door: Doorkeeper, *, loopback: bool, secure: bool) -> App:
    """The application.

    Args:
        state: what it shows.
        pages: the live page's routes.
        door: knows the token.
        loopback: the port is bound to the loopback interface.
        secure: the port speaks TLS.
    """
    app = FastAPI(title="mien device", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    Probes(state).add_to(app)
    InferenceRoutes(lambda: state.model).add_to(app)
    pages.add_to(app)
    app.add_exception_handler(HTTPException, _as_json)
    return Guard(app, door=door, loopback=loopback, secure=secure)


async def _as_json(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "a fault of the device"
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"error": detail}, status_code=status, headers=headers)
