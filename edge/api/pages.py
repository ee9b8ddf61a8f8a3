"""The live page and what feeds it: a stream of figures, pictures while the page asks for them, and the login.

The page is one file without a value in it that could be markup: everything shown arrives as JSON and becomes text.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request

from edge.api.access import COOKIE, SESSION_S, Doorkeeper
from edge.api.guard import address_of, session_of
from edge.api.interface import Pulse
from edge.api.preview import Preview
from edge.api.readiness import reasons_against
from edge.api.state import DeviceState
from edge.api.v2 import Refused, body_of
from edge.api.views import beat_json, expressions, plotted
from mien import __version__
from mien.messages import Window

STATIC = Path(__file__).parent / "static"
_TEMPLATES = Path(__file__).parent / "templates"

_BEAT_S = 1.0
_STEP_S = 0.2
_MOST_STREAMS = 8
_MOST_PICTURES = 8
_MOST_FORM_BYTES = 8192
_NO_STORE = {"Cache-Control": "no-store"}


class PageRoutes:
    """The routes of the page.

    Args:
        state: what is shown.
        preview: gives pictures; ``None`` when they are off.
        door: knows the token.
        secure: cookies travel over TLS only.
        covers: whether faces are covered.
    """

    def __init__(
        self, state: DeviceState, preview: Preview | None, door: Doorkeeper, *, secure: bool, covers: bool
    ) -> None:
        self._state = state
        self._preview = preview
        self._door = door
        self._secure = secure
        self._covers = covers
        self._streams = self._pictures = 0
        self.closing = False
        """Set by the server when it ends: streams end too."""

    def add_to(self, app: FastAPI) -> None:
        """Mount all routes."""
        app.add_route("/", self._page, methods=["GET"])
        app.add_route("/live", self._live, methods=["GET"])
        app.add_route("/preview/{camera:int}.jpg", self._picture, methods=["GET"])
        app.add_route("/login", self._login_page, methods=["GET"])
        app.add_route("/login", self._login, methods=["POST"])
        app.add_route("/logout", self._logout, methods=["POST"])
        app.mount("/static", StaticFiles(directory=STATIC), name="static")

    async def _page(self, _request: Request) -> Response:
        values = {
            "version": __version__,
            "device": self._state.device_id,
            "preview": "off" if self._preview is None else "on",
            "covers": "yes" if self._covers else "no",
            "login": "yes" if self._door.asks else "no",
        }
        return _html("page.html", values)

    async def _live(self, _request: Request) -> Response:
        if self._streams >= _MOST_STREAMS:
            return JSONResponse({"error": f"{_MOST_STREAMS} pages are open already"}, status_code=503)
        return StreamingResponse(self._beats(), media_type="text/event-stream", headers=_NO_STORE)

    async def _beats(self) -> AsyncIterator[str]:
        self._streams += 1
        try:
            before: Pulse | None = None
            last: Window | None = None
            yield "retry: 2000\n\n"
            while not self.closing:
                window = self._state.window
                if window is not last:
                    last, windows = window, self._state.windows()
                    yield _event("windows", {"points": plotted(windows), "expressions": expressions(windows)})
                now, card = await run_in_threadpool(self._state.snapshot), self._state.model.card()
                beat = beat_json(now, card, reasons_against(now, card), self._state.events(), before)
                before = now.pulse
                yield _event("beat", beat)
                await self._pause()
        finally:
            self._streams -= 1

    async def _pause(self) -> None:
        for _ in range(round(_BEAT_S / _STEP_S)):
            if not self.closing:
                await asyncio.sleep(_STEP_S)

    async def _picture(self, request: Request) -> Response:
        number, cameras = int(request.path_params["camera"]), self._state.cameras()
        if self._preview is None or number >= len(cameras):
            return JSONResponse({"error": "pictures are off, or there is no such camera"}, status_code=404)
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 16):  # noqa: PLR2004 - no longer than a counter
            return JSONResponse({"error": "'after' is the number of a picture"}, status_code=400)
        if self._pictures >= _MOST_PICTURES:
            return JSONResponse({"error": "too many pictures are asked for at once"}, status_code=503)
        self._pictures += 1
        try:
            picture = await run_in_threadpool(self._preview.picture, cameras[number].name, after=int(after))
        finally:
            self._pictures -= 1
        if picture is None:
            return Response(status_code=204, headers=_NO_STORE)
        return Response(
            picture.jpeg, media_type="image/jpeg", headers=_NO_STORE | {"X-Picture-Number": str(picture.number)}
        )

    async def _login_page(self, _request: Request) -> Response:
        return _html("login.html", {"device": self._state.device_id, "fault": ""})

    async def _login(self, request: Request) -> Response:
        address = address_of(request.scope)
        wait_s = self._door.wrong.must_wait_s(address)
        if wait_s:
            fault = f"Too many wrong tokens; try again in {math.ceil(wait_s)} s."
            return self._refused_login(429, fault, {"Retry-After": str(math.ceil(wait_s))})
        try:
            body = await body_of(request, most=_MOST_FORM_BYTES)
        except Refused as refused:
            return self._refused_login(refused.status, "That is too long to be a token.", {})
        token = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if not self._door.knows_token(token):
            self._door.wrong.note(address)
            return self._refused_login(401, "That is not this device's token.", {})
        answer = RedirectResponse("/", status_code=303, headers=_NO_STORE)
        answer.set_cookie(
            COOKIE,
            self._door.new_session(),
            max_age=int(SESSION_S),
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    def _refused_login(self, status: int, fault: str, headers: dict[str, str]) -> Response:
        return _html("login.html", {"device": self._state.device_id, "fault": fault}, status=status, headers=headers)

    async def _logout(self, request: Request) -> Response:
        self._door.end_session(session_of(request.headers.get("cookie", "")))
        answer = RedirectResponse("/login", status_code=303, headers=_NO_STORE)
        answer.delete_cookie(COOKIE, secure=self._secure, httponly=True, samesite="strict")
        return answer


def _event(name: str, value: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(value, allow_nan=False)}\n\n"


def _html(
    name: str, values: dict[str, str], *, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    text = _template(name).substitute({key: escape(value) for key, value in values.items()})
    return HTMLResponse(text, status_code=status, headers=_NO_STORE | (headers or {}))


@cache
def _template(name: str) -> Template:
    return Template((_TEMPLATES / name).read_text(encoding="utf-8"))
