"""Asks a network camera that did not open why: one connection, one DESCRIBE, and what the answer means.

A reader of streams says "no frames" to a closed port, a wrong password and a wrong path alike. Password and user go
to the camera only when it asks for them, as they do when a stream is opened, and never into a text.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

_RTSP_PORT = 554
_MOST_BYTES = 16 << 10
_STATUS = re.compile(r"RTSP/\d\.\d (\d{3}) ?(.*)")
_CHALLENGE = re.compile(r"^www-authenticate: *(basic|digest) *(.*)$", re.IGNORECASE | re.MULTILINE)
_OK, _UNAUTHORIZED = 200, 401
_WHO = "check user and password, and that this user may see the stream"
_BUSY = "free a session of the camera: it gives no more at a time"
_REMEDIES = {
    _UNAUTHORIZED: _WHO,
    403: _WHO,
    404: "check the path behind the host; the camera's manual names its streams",
    453: _BUSY,
    503: _BUSY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a network camera gives no frames, and what to do."""

    found: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a camera answered."""

    status: int
    reason: str
    challenges: tuple[tuple[str, str], ...] = ()
    """How it wants a user to be named: ``basic`` or ``digest``, and its parameters."""


def cause_of(url: str, *, timeout_s: float, transport: str = "tcp") -> Cause | None:
    """Ask the camera; ``None`` when that does not tell.

    Args:
        url: its address, with a host.
        timeout_s: for the connection and for each answer.
        transport: how its frames were to travel.
    """
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or _RTSP_PORT
    if parts.scheme != "rtsp":
        return None
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as link:
            answer = _described(link, parts)
    except OSError as error:
        return of_error(error, host, port)
    return of_answer(answer, has_user=bool(parts.username), transport=transport)


def of_error(error: OSError, host: str, port: int) -> Cause:
    """What a connection that failed means."""
    if isinstance(error, socket.gaierror):
        return Cause(found=f"no host {host} is known", remedy="check its spelling, and this device's name service")
    if isinstance(error, ConnectionRefusedError):
        return Cause(
            found=f"nothing listens at {host}:{port}", remedy="check address and port, and that its RTSP is on"
        )
    if isinstance(error, TimeoutError):
        return Cause(
            found=f"no answer from {host}:{port}", remedy="check the address, the network, and that the camera is on"
        )
    return Cause(
        found=f"{host}:{port}: {error.strerror or error}", remedy="check the address, and that the camera is on"
    )


def of_answer(answer: Answer | None, *, has_user: bool, transport: str) -> Cause:
    """What an answer to DESCRIBE means."""
    if answer is None:
        return Cause(found="what answers there speaks no RTSP", remedy="check address and port")
    said = f"it answers {answer.status} {answer.reason}".rstrip()
    if answer.status == _OK:
        other = "udp" if transport == "tcp" else "tcp"
        return Cause(
            found=f"it describes its stream, and no frames come over {transport}",
            remedy=f"set transport: {other}, or free a session of the camera",
        )
    if answer.status == _UNAUTHORIZED and not has_user:
        return Cause(found=said, remedy="add user and password: rtsp://USER:PASSWORD@HOST/PATH")
    return Cause(found=said, remedy=_REMEDIES.get(answer.status, "check the address, and the camera's own settings"))


def parsed(text: str) -> Answer | None:
    """The head of an answer; ``None`` when it is not RTSP's."""
    status = _STATUS.match(text)
    if status is None:
        return None
    challenges = tuple((kind.lower(), rest.strip()) for kind, rest in _CHALLENGE.findall(text.replace("\r\n", "\n")))
    return Answer(status=int(status[1]), reason=status[2].strip(), challenges=challenges)


def authorization(answer: Answer, user: str, password: str, uri: str) -> str | None:
    """The header that names the user, in a way that the camera asked for; ``None`` when it asked for no known one."""
    asked = dict(reversed(answer.challenges))
    if "digest" in asked:
        return _digest(parse_keqv_list(parse_http_list(asked["digest"])), user, password, uri)
    if "basic" in asked:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _digest(given: dict[str, str], user: str, password: str, uri: str) -> str | None:
    """RFC 2069 and RFC 7616 with MD5, which is what cameras speak."""
    if given.get("algorithm", "MD5").upper() != "MD5" or "nonce" not in given:
        return None
    realm, nonce = given.get("realm", ""), given["nonce"]
    who, what = _md5(f"{user}:{realm}:{password}"), _md5(f"DESCRIBE:{uri}")
    fields = f'username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}"'
    if "auth" in [one.strip() for one in given.get("qop", "").split(",")]:
        own = secrets.token_hex(8)
        proof = _md5(f"{who}:{nonce}:00000001:{own}:auth:{what}")
        fields += f', qop=auth, nc=00000001, cnonce="{own}"'
    else:
        proof = _md5(f"{who}:{nonce}:{what}")
    if "opaque" in given:
        fields += f', opaque="{given["opaque"]}"'
    return f'Digest {fields}, response="{proof}"'


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _described(link: socket.socket, parts: SplitResult) -> Answer | None:
    """Ask for the stream's description, and again with the user if the camera wants one."""
    uri = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    answer = _asked(link, uri, number=1)
    if answer is None or answer.status != _UNAUTHORIZED or not parts.username:
        return answer
    named = authorization(answer, unquote(parts.username), unquote(parts.password or ""), uri)
    return (_asked(link, uri, number=2, named=named) if named else None) or answer


def _asked(link: socket.socket, uri: str, *, number: int, named: str = "") -> Answer | None:
    lines = [f"DESCRIBE {uri} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp", "User-Agent: mien"]
    lines += [f"Authorization: {named}"] if named else []
    link.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MOST_BYTES:
        more = link.recv(4096)
        if not more:
            break
        head += more
    return parsed(head.decode("latin-1"))
