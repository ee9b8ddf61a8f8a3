"""The fleet's HTTP interface for devices: enrolment, renewal, and the signed question whether it is accepted still."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ValidationError
from typing_extensions import Self

from edge.transport.interface import BrokerAddress
from edge.transport.signing import signed_headers
from mien.errors import ConfigError, TrustError, UnavailableError
from mien.hosts import is_private_way

AUTHORITY_PATH = "/api/device/v1/ca"
ENROLL_PATH = "/api/device/v1/enroll"
RENEW_PATH = "/api/device/v1/renew"
SESSION_PATH = "/api/device/v1/session"
ENGINES_PATH = "/api/device/v1/engines"
_TIMEOUT_S = 15.0
_LONGEST_AUTHORITY_BYTES = 64 * 1024

A = TypeVar("A", bound=BaseModel)
_FORBIDDEN = frozenset({401, 403})
_CLOCK = "clock"
"""The code with which the fleet answers a signature whose time is not its own."""
_WAITS = 202
_CONFLICT = 409
_UNPROCESSABLE = 422


class ClockDiffersError(UnavailableError):
    """The fleet does not take this device's signatures, because their clocks differ; it may take later ones.

    Args:
        difference_s: how far this device's clock is ahead of the fleet's; ``None`` where its time is not known.
    """

    def __init__(self, difference_s: float | None) -> None:
        found = "clocks that differ" if difference_s is None else f"this device's clock is {_apart(difference_s)}"
        super().__init__(
            "the fleet does not take this device's signatures now",
            found=found,
            remedy="set the clock that is wrong (NTP); the device asks again by itself",
        )
        self.difference_s = difference_s


def _apart(difference_s: float) -> str:
    return f"{abs(difference_s):.0f} s {'ahead of' if difference_s > 0 else 'behind'} the fleet's"


class BrokerBlock(BaseModel):
    """The broker as the fleet names it."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = None

    def address(self) -> BrokerAddress:
        """The same, for a link."""
        return BrokerAddress(**{name: getattr(self, name) for name in BrokerAddress.__dataclass_fields__})


class TufBlock(BaseModel):
    """Where signed releases are; addresses are relative to the service."""

    root: str
    """Base64 of the first root metadata: the anchor of all trust in releases."""
    metadata_url: str
    targets_url: str


class RegistryBlock(BaseModel):
    """Where signed releases are now; addresses are absolute, or relative to the service."""

    metadata_url: str
    targets_url: str


class EnrolmentAnswer(BaseModel):
    """What a device gets for a good token."""

    device_id: str
    certificate_pem: str
    ca_pem: str
    mqtt: BrokerBlock
    tuf: TufBlock


class WaitingAnswer(BaseModel):
    """What a device gets while a person has not decided about it."""

    device_id: str
    state: str


class RenewalAnswer(BaseModel):
    """A certificate: a new one when it was due, else the one that the device has."""

    certificate_pem: str


class AuthorityAnswer(BaseModel):
    """The authority that a service presents; nothing about it is known to be true yet."""

    ca_pem: str


class SessionAnswer(BaseModel):
    """What an accepted device is told."""

    device_id: str
    state: str
    group: str | None = None
    mqtt: BrokerBlock | None = None
    registry: RegistryBlock | None = None


class EngineStanding(BaseModel):
    """How an engine stands that this device offers."""

    state: str
    """uploading, checking, waiting, signed, rejected, withdrawn; later: offer it again another time."""
    reason: str = ""
    have: dict[str, int] = {}
    """Bytes of each part that the fleet has, while it wants more."""


class FleetHttp:
    """Talks to one fleet service.

    Args:
        base_url: such as ``http://127.0.0.1:8321``.
        ca_pem: with https, the only authority that is trusted; ``None`` trusts the system's.
    """

    def __init__(self, base_url: str, *, ca_pem: str | None = None) -> None:
        self.base_url = checked_url(base_url)
        self._client = httpx.Client(base_url=self.base_url, timeout=_TIMEOUT_S, verify=tls_context(ca_pem))

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def enroll(
        self, token: str, csr_pem: str, device_id: str | None, serial_number: str | None = None
    ) -> EnrolmentAnswer | WaitingAnswer:
        """Ask for a certificate, or ask again with the same key how that stands.

        Raises:
            TrustError: the token was refused.
            ConfigError: the device id is taken or the request was not understood.
            UnavailableError: the service did not answer.
        """
        given = {"device_id": device_id, "serial_number": serial_number}
        body = {"token": token, "csr_pem": csr_pem} | {name: value for name, value in given.items() if value}
        answer = self._asked("POST", ENROLL_PATH, json=body)
        if answer.status_code == _WAITS:
            return _read(WaitingAnswer, answer.content, ENROLL_PATH)
        return _read(EnrolmentAnswer, answer.content, ENROLL_PATH)

    def renew(self, key: ec.EllipticCurvePrivateKey, device_id: str) -> str:
        """Ask for a new certificate for the same key, PEM.

        Raises:
            TrustError: the identity was revoked, or the certificate expired too long ago.
            UnavailableError: the service did not answer, or does not take signatures by this device's clock.
        """
        headers = signed_headers(key, key_id=device_id, method="POST", path=RENEW_PATH, created=int(time.time()))
        answer = self._asked("POST", RENEW_PATH, headers=headers)
        return _read(RenewalAnswer, answer.content, RENEW_PATH).certificate_pem

    def session(self, key: ec.EllipticCurvePrivateKey, device_id: str) -> SessionAnswer:
        """Ask whether this device is still accepted.

        Raises:
            TrustError: it is not: revoked, expired or unknown.
            UnavailableError: the service did not answer, or does not take signatures by this device's clock.
        """
        headers = signed_headers(key, key_id=device_id, method="GET", path=SESSION_PATH, created=int(time.time()))
        return _read(SessionAnswer, self._asked("GET", SESSION_PATH, headers=headers).content, SESSION_PATH)

    def offer_engine(
        self, key: ec.EllipticCurvePrivateKey, device_id: str, engine_id: str, record: bytes
    ) -> EngineStanding:
        """Offer an engine that was built here by its record, whose SHA-256 is ``engine_id``; may be asked again.

        Raises:
            TrustError: this device is not accepted.
            ConfigError: the fleet does not understand the record.
            UnavailableError: the service did not answer, or does not take signatures by this device's clock.
        """
        return self._engine("POST", f"{ENGINES_PATH}/{engine_id}", key, device_id, record)

    def send_engine(
        self, key: ec.EllipticCurvePrivateKey, device_id: str, place: str, offset: int, piece: bytes
    ) -> EngineStanding:
        """Send a piece of an offered engine; the answer says where to go on. Raises as :meth:`offer_engine` does.

        Args:
            key: the device's key.
            device_id: its name.
            place: the engine's id and the part, with a slash between.
            offset: where the piece begins.
            piece: its bytes.
        """
        return self._engine("PUT", f"{ENGINES_PATH}/{place}/{offset}", key, device_id, piece)

    def _engine(
        self, method: str, path: str, key: ec.EllipticCurvePrivateKey, device_id: str, content: bytes
    ) -> EngineStanding:
        headers = signed_headers(key, key_id=device_id, method=method, path=path, created=int(time.time()))
        return _read(EngineStanding, self._asked(method, path, headers=headers, content=content).content, path)

    def _asked(self, method: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise _silent(self.base_url, error) from error
        if answer.status_code in _FORBIDDEN and _body(answer).get("code") == _CLOCK:
            raise ClockDiffersError(_ahead_s(answer, now=time.time()))
        if answer.status_code in _FORBIDDEN:
            raise TrustError("the fleet refused this device", **_told(answer)._asdict())
        if answer.status_code in {_CONFLICT, _UNPROCESSABLE}:
            told = _told(answer)
            raise ConfigError(
                "the fleet did not accept the request", found=told.found, wanted=told.wanted, remedy=told.remedy
            )
        if answer.is_error:
            raise UnavailableError(
                f"the fleet service at {self.base_url} answered {answer.status_code}", found=answer.text[:200]
            )
        return answer


def presented_authority(base_url: str) -> str:
    """Ask a service that is not trusted yet for its authority's certificate, PEM.

    TLS is not verified and nothing secret is sent: hold the answer against a known fingerprint, then connect anew with
    that authority pinned.

    Raises:
        UnavailableError: the service did not answer, or not as a fleet does.
    """
    url = checked_url(base_url)
    content = bytearray()
    try:
        with (
            httpx.Client(timeout=_TIMEOUT_S, verify=False) as client,  # noqa: S501 - see above
            client.stream("GET", url + AUTHORITY_PATH) as answer,
        ):
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > _LONGEST_AUTHORITY_BYTES:
                    break
    except httpx.HTTPError as error:
        raise _silent(url, error) from error
    if answer.is_error or len(content) > _LONGEST_AUTHORITY_BYTES:
        raise UnavailableError(
            f"the service at {url} did not present a fleet's authority",
            found=f"status {answer.status_code}",
            remedy="check the address, and that device and fleet run the same version of mien",
        )
    return _read(AuthorityAnswer, bytes(content), url + AUTHORITY_PATH).ca_pem


def checked_url(url: str) -> str:
    """A service address without a slash at its end.

    Raises:
        ConfigError: not an http or https address, or plain http to another machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"'{url}' is no address of a fleet service", wanted="http://HOST:PORT or https://HOST:PORT")
    if not is_private_way(url):
        raise ConfigError(
            f"refuses to talk to {parts.hostname} in plain http",
            found=url,
            wanted="https://HOST:PORT; http is for this machine alone",
            remedy="serve the fleet with TLS, see configs/fleet/site.yaml",
        )
    return url.rstrip("/")


def tls_context(ca_pem: str | None) -> Any:  # noqa: ANN401 - what httpx takes
    """Trust this authority alone, or the system's when there is none."""
    if ca_pem is None:
        return True
    import ssl

    return ssl.create_default_context(cadata=ca_pem)


class _Told(NamedTuple):
    found: str
    wanted: str
    remedy: str


def _body(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        body: Any = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}


def _ahead_s(answer: httpx.Response, *, now: float) -> float | None:
    """How far this clock is ahead of the one that wrote the answer's Date header."""
    try:
        return now - parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return None


def _told(answer: httpx.Response) -> _Told:
    body = _body(answer)
    what, found = str(body.get("what") or ""), str(body.get("found") or "")
    told = "; ".join(part for part in (what, found) if part)
    return _Told(
        found=told or f"status {answer.status_code}",
        wanted=str(body.get("wanted") or ""),
        remedy=str(body.get("remedy") or "ask the fleet's operator for a new token"),
    )


def _silent(url: str, error: httpx.HTTPError) -> UnavailableError:
    return UnavailableError(
        f"the fleet service at {url} did not answer",
        found=str(error) or type(error).__name__,
        remedy="check the address and that 'mien fleet serve' runs there",
    )


def _read(model: type[A], content: bytes, source: str) -> A:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise UnavailableError(
            f"the answer of {source} is not a fleet's",
            found=f"{error.error_count()} faults, the first: {error.errors()[0]['msg']}",
            remedy="check the address, and that device and fleet run the same version of mien",
        ) from error
