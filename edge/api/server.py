"""Serves the local API in a thread, on the loopback interface, when the settings ask for it."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

from edge.api.state import DeviceState
from edge.config import ApiSettings
from mien.errors import UnavailableError

_log = logging.getLogger(__name__)


class LocalApi:
    """The API's server; does nothing unless it is enabled.

    Args:
        settings: whether and where.
        state: what it shows.

    Raises:
        UnavailableError: the port is in use.
    """

    def __init__(self, settings: ApiSettings, state: DeviceState) -> None:
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self.port = settings.port
        if settings.enabled:
            self._socket = _bound(settings)
            self.port = self._socket.getsockname()[1]
            self._server = _server_of(state)

    def start(self) -> None:
        """Begin to answer."""
        if self._server is None:
            return
        sockets = [self._socket]
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": sockets}, name="local-api", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._socket is not None:
            self._socket.close()


def make_app(state: DeviceState) -> Any:  # noqa: ANN401 - FastAPI is imported only where it is used
    """The application."""
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse, PlainTextResponse

    app = FastAPI(title="mien device", docs_url=None, redoc_url=None, openapi_url=None)

    def healthz() -> Any:  # noqa: ANN401 - a response
        return JSONResponse({"status": "ok"})

    def readyz() -> Any:  # noqa: ANN401
        ready = state.window is not None and state.window.frames > 0
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    def status() -> Any:  # noqa: ANN401
        return JSONResponse(state.as_dict())

    def metrics() -> Any:  # noqa: ANN401
        return PlainTextResponse(state.metrics(), media_type="text/plain; version=0.0.4")

    routes = {"/healthz": healthz, "/readyz": readyz, "/status.json": status, "/metrics": metrics}
    for path, answer in routes.items():
        app.add_api_route(path, answer, methods=["GET"])
    return app


def _server_of(state: DeviceState) -> Any:  # noqa: ANN401
    import uvicorn

    return uvicorn.Server(uvicorn.Config(make_app(state), log_level="warning", access_log=False, lifespan="off"))


def _bound(settings: ApiSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise UnavailableError(
            f"port {settings.port} on {settings.host} is in use", remedy="choose another one with api.port"
        ) from error
    return bound
