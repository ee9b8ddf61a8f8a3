"""Which HTTP status each error has. One table; bodies are the error's own parts."""

from __future__ import annotations

import logging
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import DataError as SqlDataError
from starlette.exceptions import HTTPException

from fleet.errors import ConflictError, NotFoundError
from fleet.identity.signatures import CLOCK, ClockDiffersError
from fleet.people.door import TooManyError, UnauthorizedError
from mien.errors import (
    BundleError,
    ConfigError,
    DataError,
    GateError,
    MienError,
    TrustError,
    UnavailableError,
    UnsupportedError,
)

_log = logging.getLogger(__name__)

STATUS: tuple[tuple[type[MienError], HTTPStatus], ...] = (
    (UnauthorizedError, HTTPStatus.UNAUTHORIZED),
    (TooManyError, HTTPStatus.TOO_MANY_REQUESTS),
    (ClockDiffersError, HTTPStatus.UNAUTHORIZED),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (TrustError, HTTPStatus.FORBIDDEN),
    (ConfigError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (DataError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (BundleError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (GateError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (UnsupportedError, HTTPStatus.NOT_IMPLEMENTED),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (MienError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
"""First match wins."""


def status_of(error: MienError) -> HTTPStatus:
    """The status of an error."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def install(app: FastAPI) -> None:
    """Answer errors with their parts as JSON."""
    app.add_exception_handler(MienError, _mien)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SqlDataError, _unstorable)


def _mien(request: Request, error: Exception) -> Response:
    if not isinstance(error, MienError):
        raise error
    if isinstance(error, UnauthorizedError) and request.method == "GET" and _is_for_eyes(request):
        return _to_login(request)
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s %s: %s", request.method, request.url.path, error)
    body: dict[str, object] = {**error.as_dict()}
    if isinstance(error, ConfigError):
        body["faults"] = list(error.faults)
    if isinstance(error, ClockDiffersError):
        body["code"] = CLOCK
    headers = {"Retry-After": f"{error.wait_s:.0f}"} if isinstance(error, TooManyError) else None
    return JSONResponse(body, status_code=status, headers=headers)


def _is_for_eyes(request: Request) -> bool:
    """Whether a browser asks for a page, or for a part of one."""
    return "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers


def _to_login(request: Request) -> Response:
    """Lead a browser to the login page, and back afterwards."""
    address = f"/login?next={quote(request.url.path)}"
    if "hx-request" in request.headers:  # a redirect would put the login page into the part
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": address})
    return RedirectResponse(address, status_code=HTTPStatus.SEE_OTHER)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:20]]
    told = ConfigError("the request is not what this address takes", found="; ".join(faults), faults=tuple(faults))
    return JSONResponse({**told.as_dict(), "faults": faults}, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


def _unstorable(_request: Request, error: Exception) -> JSONResponse:
    """A text that one database takes and another does not, such as one with a zero byte."""
    told = ConfigError("the request holds a value that the database cannot", found=type(error).__name__)
    return JSONResponse({**told.as_dict(), "faults": []}, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    body = NotFoundError(f"{request.method} {request.url.path}: {error.detail}").as_dict()
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)
