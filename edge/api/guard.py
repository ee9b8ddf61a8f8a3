"""Stands before every request: host, site, token, size, and the headers of every answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from edge.api.access import COOKIE, Doorkeeper, bearer_of, comes_from_elsewhere, names_this_machine

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/v2/health/live", "/login"})
"""Need no token: they say that the process lives, and take the token."""
OPEN_FOLDER = "/static/"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, a browser sends "Origin: null" from our own forms
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_SECURE_HEADERS = _HEADERS | {"strict-transport-security": "max-age=31536000"}
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        door: knows the token.
        loopback: the port is bound to loopback, so a request must name it.
        secure: the port speaks TLS.
    """

    def __init__(self, app: App, *, door: Doorkeeper, loopback: bool, secure: bool) -> None:
        self._app = app
        self._door = door
        self._loopback = loopback
        self._headers = [
            (name.encode(), value.encode()) for name, value in (_SECURE_HEADERS if secure else _HEADERS).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await answer(send_guarded, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        headers = _headers(scope)
        host = headers.get("host", "")
        if self._loopback and not names_this_machine(host):
            return 421, "this port answers to localhost, 127.0.0.1 and [::1] only", {}
        elsewhere = comes_from_elsewhere(
            host=host,
            origin=headers.get("origin"),
            fetch_site=headers.get("sec-fetch-site"),
            navigates=headers.get("sec-fetch-mode") == "navigate" and scope["method"] in _SAFE_METHODS,
        )
        if elsewhere:
            return 403, "a page of another site may not call this device", {}
        path = scope["path"]
        if not self._door.asks or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        return self._refusal_of_token(scope, headers)

    def _refusal_of_token(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, dict[str, str]] | None:
        address = address_of(scope)
        if self._door.knows_session(session_of(headers.get("cookie", ""))):
            return None
        wait_s = self._door.wrong.must_wait_s(address)
        if wait_s:
            return 429, "too many wrong tokens from this address", {"retry-after": str(int(wait_s) + 1)}
        token = bearer_of(headers.get("authorization", ""))
        if token is not None and self._door.knows_token(token):
            return None
        if token is not None:
            self._door.wrong.note(address)
        if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            return 303, "log in first", {"location": "/login"}
        return 401, "a token is wanted: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}


async def answer(send: Send, status: int, error: str, headers: dict[str, str]) -> None:
    """Answer with an error as JSON."""
    body = json.dumps({"error": error}).encode()
    named = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
    lines = [(name.encode(), value.encode()) for name, value in (named | headers).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def address_of(scope: Scope) -> str:
    """The caller's address."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def session_of(cookie: str) -> str:
    """The value of our cookie in a ``Cookie`` header; empty without one."""
    try:
        found = SimpleCookie(cookie).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _headers(scope: Scope) -> dict[str, str]:
    lines: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in lines}
