"""The composition root of the HTTP side: routes, errors, guards and static files around one :class:`Fleet`."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

from fleet.api import device, engines, experiments, health, members, ops, people, rollouts
from fleet.api import errors as api_errors
from fleet.api.deps import Fleet
from fleet.api.guards import Guards
from fleet.config import HttpSettings
from fleet.dashboard import experiments as experiment_pages
from fleet.dashboard import login, pages
from fleet.paths import DataFolder
from mien import __version__

_OWN_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")


def create_app(fleet: Fleet) -> FastAPI:
    """Build the application.

    Args:
        fleet: the fleet's parts.
    """
    app = FastAPI(title="mien fleet", version=__version__, docs_url=None, redoc_url=None)
    app.state.fleet = fleet
    api_errors.install(app)
    for part in (device, members, people, ops, rollouts, experiments, engines, health, login, experiment_pages, pages):
        app.include_router(part.router)
    app.include_router(engines.device_router)
    data = DataFolder(fleet.settings.data)
    for folder, address in ((data.tuf_metadata, "/tuf/metadata"), (data.tuf_targets, "/tuf/targets")):
        app.mount(address, StaticFiles(directory=folder))
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=trusted_hosts(fleet.settings.http))
    app.add_middleware(Guards)
    return app


def trusted_hosts(http: HttpSettings) -> list[str]:
    """Names that requests may be for; others are refused, so that a strange web page cannot reach a local service."""
    return [*_OWN_HOSTS, http.host, *http.names, *http.trusted_hosts]
