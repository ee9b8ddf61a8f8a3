"""How a page is written: its template, and what every page knows: who is logged in, and what they may do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet.api.deps import CSRF_FIELD, Fleet
from fleet.dashboard import plots, views
from fleet.people.roles import Actor, Role
from mien import __version__


def page(request: Request, fleet: Fleet, template: str, title: str, context: dict[str, Any]) -> HTMLResponse:
    """Write a page for whoever asks.

    A form that changes something sends ``csrf`` along in a field of the name ``csrf_field``; what htmx sends has it
    already. ``may`` says whether a role is given: ``{% if may("operator") %}``.
    """
    now, actor = fleet.clock(), getattr(request.state, "actor", None)
    html = _templates().get_template(template)
    text = html.render(
        title=title,
        path=request.url.path,
        version=__version__,
        connected=fleet.is_connected(),
        ago=lambda at: views.ago(at, now),
        actor=actor,
        csrf=(actor.csrf if actor else None) or "",
        csrf_field=CSRF_FIELD,
        may=lambda role: _may(actor, role),
        **context,
    )
    return HTMLResponse(text, headers={"Cache-Control": "no-store"})


def _may(actor: Actor | None, role: str) -> bool:
    return actor is not None and actor.role.covers(Role(role))


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": views.number,
        "bytes": views.size,
        "clock": views.clock,
        "span": views.span,
        "percent": views.percent,
        "tone": views.tone,
        "words": views.words,
        "metric": views.metric,
        "figure": views.figure,
        "band": plots.band,
        "posteriors": plots.posteriors,
        "over_rounds": plots.over_rounds,
    }
    return environment
