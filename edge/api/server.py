"""Serves the local API in a thread of its own, when the settings ask for it; nothing is imported for it otherwise."""

from __future__ import annotations

import logging
import socket
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING

from edge.api.access import Doorkeeper, read_token
from edge.api.preview import Preview, PreviewLimits
from edge.api.state import DeviceState
from edge.config import ApiSettings, PrivacySettings
from mien.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    import uvicorn

    from edge.api.pages import PageRoutes

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 64
_DRAIN_S = 2
_JOIN_S = 5.0


def preview_for(api: ApiSettings, privacy: PrivacySettings) -> Preview | None:
    """The sink that the pipeline needs for the live page's pictures; ``None`` when they are off."""
    if not (api.enabled and api.preview):
        return None
    limits = PreviewLimits(fps=api.preview_fps, width=api.preview_width, quality=api.preview_quality)
    return Preview(limits, show_faces=privacy.show_faces)


class LocalApi:
    """The API's server; does nothing unless it is enabled.

    Args:
        settings: whether and where.
        state: what it shows.
        preview: what :func:`preview_for` made, and the pipeline feeds.
        show_faces: whether its pictures show faces as they are; the page says so.

    Raises:
        ConfigError: the token file or the certificate is not what it should be.
        UnavailableError: the address cannot be had.
    """

    def __init__(
        self,
        settings: ApiSettings,
        state: DeviceState,
        *,
        preview: Preview | None = None,
        show_faces: bool = False,
    ) -> None:
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._pages: PageRoutes | None = None
        self.port = settings.port
        if settings.enabled:
            token = read_token(settings.token_file) if settings.token_file is not None else None
            _check_certificate(settings)
            self._socket = _bound(settings)
            self.port = self._socket.getsockname()[1]
            self._pages, self._server = _server_of(settings, state, Doorkeeper(token), preview, covers=not show_faces)
        self.url = _url(settings, self.port)

    def start(self) -> None:
        """Begin to answer."""
        if self._server is None or self._socket is None:
            return
        self._socket.listen()  # so that nobody is refused while the thread begins
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="local-api", daemon=True
        )
        self._thread.start()
        _log.info("the local API answers at %s", self.url)

    def close(self) -> None:
        """Answer no more."""
        if self._pages is not None:
            self._pages.closing = True
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=_JOIN_S)
        if self._socket is not None:
            self._socket.close()


def _server_of(
    settings: ApiSettings, state: DeviceState, door: Doorkeeper, preview: Preview | None, *, covers: bool
) -> tuple[PageRoutes, uvicorn.Server]:
    import uvicorn

    from edge.api.app import make_app
    from edge.api.pages import PageRoutes

    secure = settings.certificate is not None
    pages = PageRoutes(state, preview, door, secure=secure, covers=covers)
    app = make_app(state, pages, door, loopback=ip_address(settings.host).is_loopback, secure=secure)
    config = uvicorn.Config(
        app,
        http="h11",  # bounds a request's head
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_DRAIN_S,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    return pages, uvicorn.Server(config)


def _check_certificate(settings: ApiSettings) -> None:
    if settings.certificate is None or settings.key is None:
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"api.certificate {settings.certificate} and api.key {settings.key} do not make a server's identity",
            found=str(error),
            wanted="a certificate chain and its unencrypted private key, both PEM",
            remedy="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 "
            f"-subj /CN=DEVICE -addext subjectAltName=IP:{settings.host} "
            f"-keyout {settings.key} -out {settings.certificate}",
        ) from error


def _bound(settings: ApiSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise UnavailableError(
            f"port {settings.port} on {settings.host} cannot be had",
            found=error.strerror or str(error),
            remedy="choose another one with api.port, or an address of this machine with api.host",
        ) from error
    return bound


def _url(settings: ApiSettings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.certificate else 'http'}://{host}:{port}"
