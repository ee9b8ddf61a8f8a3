"""The command line's way to the service: HTTP with a token, errors as they were raised there.

Whose token: the one in MIEN_FLEET_TOKEN; else the data folder's, which acts as ``operator``; else that of a login here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from fleet.config import DEFAULT_HTTP_PORT
from fleet.errors import ConflictError, NotFoundError
from fleet.paths import DataFolder
from mien.errors import (
    BundleError,
    ConfigError,
    DataError,
    GateError,
    InternalError,
    MienError,
    TrustError,
    UnavailableError,
)
from mien.files import write_json
from mien.hosts import is_private_way

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_HTTP_PORT}"
_TIMEOUT_S = 20.0
_OTHERS = 0o077
_RAISED: tuple[type[MienError], ...] = (
    BundleError,
    ConfigError,
    ConflictError,
    DataError,
    GateError,
    NotFoundError,
    TrustError,
    UnavailableError,
)
_KINDS: dict[str, type[MienError]] = {kind.__name__: kind for kind in _RAISED} | dict.fromkeys(
    ("UnauthorizedError", "ForgedError", "TooManyError"), TrustError
)


class FleetClient:
    """Talks to one service.

    Args:
        url: where it is.
        token: the data folder's or an API token; ``None`` only logs in.
        ca: the authority to trust for https; ``None`` trusts the system's.

    Raises:
        ConfigError: the token would go to another machine in plain http, or the authority cannot be read.
    """

    def __init__(self, url: str, token: str | None, *, ca: Path | None = None) -> None:
        if token:
            _check_way(url, "the operator token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        verify: Any = True
        if ca is not None:
            import ssl

            try:
                verify = ssl.create_default_context(cafile=str(ca))
            except OSError as error:
                raise ConfigError(
                    f"the authority {ca} cannot be read", found=str(error), wanted="a certificate, PEM"
                ) from error
        self._url = url.rstrip("/")
        self._http = httpx.Client(base_url=self._url, headers=headers, timeout=_TIMEOUT_S, verify=verify)

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""
        self._http.close()

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON is any value
        """Ask.

        Raises:
            MienError: as the service raised it.
            UnavailableError: it does not answer.
        """
        return self._asked("GET", path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON is any value
        """Change something. Raises as :meth:`get` does."""
        return self._asked("POST", path, json=body or {})

    def log_in(self, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON is any value
        """Exchange name and password for a token.

        Raises:
            ConfigError: the password would go to another machine in plain http.
            TrustError: name or password is wrong, or there were too many attempts.
        """
        _check_way(self._url, "a password")
        return self.post("/login", body)

    def _asked(self, method: str, path: str, **arguments: Any) -> Any:  # noqa: ANN401
        try:
            answer = self._http.request(method, f"/api/v1{path}", **arguments)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the fleet service at {self._url} does not answer",
                found=str(error) or type(error).__name__,
                remedy="start it with 'mien fleet serve', or name its address with --url",
            ) from error
        try:
            body = answer.json()
        except ValueError as error:
            raise UnavailableError(
                f"{self._url} is no fleet service", found=f"status {answer.status_code}, no JSON", remedy="check --url"
            ) from error
        if answer.is_error:
            raise _raised(body)
        return body


def find_token(data: Path | None, url: str | None = None) -> str | None:
    """The token to show: MIEN_FLEET_TOKEN, the data folder's, or of a login at ``url``; ``None`` when none is there.

    Raises:
        UnavailableError: the folder's token cannot be read by this user.
    """
    given = os.environ.get("MIEN_FLEET_TOKEN")
    if given:
        return given
    path = DataFolder(data or Path("fleet-data")).operator_token
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return find_login(url) if url else None
    except OSError as error:
        raise UnavailableError(
            f"could not read {path}", found=error.strerror or str(error), remedy="run as the service's user"
        ) from error


def logins_file() -> Path:
    """Where this user's logins are kept, by address (0600)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mien" / "logins.json"


def find_login(url: str) -> str | None:
    """The token of a login at a service, if there is one.

    Raises:
        ConfigError: others may read the file, or it holds something else.
    """
    token = _logins().get(url.rstrip("/"))
    return None if token is None else str(token)


def keep_login(url: str, token: str) -> Path:
    """Keep the token of a login, for this user alone; returns where."""
    path = logins_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, _logins() | {url.rstrip("/"): token}, mode=0o600)
    return path


def forget_login(url: str) -> None:
    """Keep it no more."""
    kept = _logins()
    if kept.pop(url.rstrip("/"), None) is not None:
        write_json(logins_file(), kept, mode=0o600)


def _logins() -> dict[str, Any]:
    path = logins_file()
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(f"others may read {path}", wanted="mode 0600", remedy=f"chmod 600 {path}")
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read", found=str(error), remedy="remove it and log in again") from error
    if not isinstance(kept, dict):
        raise ConfigError(f"{path} holds no logins", remedy="remove it and log in again")
    return kept


def find_authority(data: Path) -> Path | None:
    """The fleet's authority: where MIEN_FLEET_CA says, or in the service's data folder; ``None`` when it is nowhere."""
    given = os.environ.get("MIEN_FLEET_CA")
    if given:
        return Path(given)
    path = DataFolder(data).ca / "ca.pem"
    return path if path.exists() else None


def _check_way(url: str, what: str) -> None:
    if not is_private_way(url):
        raise ConfigError(
            f"refuses to send {what} in plain http",
            found=url,
            wanted="https://HOST:PORT; http is for this machine alone",
            remedy="serve the fleet with TLS, see configs/fleet/site.yaml, and name it with --url https://…",
        )


def _raised(body: Any) -> MienError:  # noqa: ANN401 - JSON is any value
    if not isinstance(body, dict):
        return InternalError("the service answered an error of unknown form", found=str(body)[:200])
    kind = _KINDS.get(str(body.get("error")), InternalError)
    parts = {name: str(body.get(name) or "") for name in ("found", "wanted", "remedy")}
    what = str(body.get("what") or "the service refused")
    if kind is ConfigError:
        return ConfigError(what, **parts, faults=tuple(map(str, body.get("faults") or ())))
    return kind(what, **parts)
