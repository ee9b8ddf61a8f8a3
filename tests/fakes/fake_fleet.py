"""The fleet's side of the device interface, small and in this process: enrolment, session, signed files with ranges.

Messages go over a real broker elsewhere; what is faked here is only the service that answers HTTP.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_SECRET = "s3cr3t-of-one-token"
_MAX_AGE_S = 300
_INPUT = re.compile(r'mien=(\("@method" "@path"\);created=(\d+);keyid="([^"]+)";alg="ecdsa-p256-sha256")')


class FakeFleet:
    """A fleet service.

    Args:
        files: the folder with ``metadata/`` and ``targets/``.
        root: the first root metadata.
        mqtt: the broker block that devices are told.
        chunk_pause_s: wait between two pieces of 16 KiB of a target, to make downloads slow.
    """

    def __init__(
        self, files: Path, root: bytes, *, mqtt: dict[str, Any] | None = None, chunk_pause_s: float = 0.0
    ) -> None:
        self.files = files
        self.root = root
        self.mqtt = mqtt or {"host": "127.0.0.1", "port": 1, "tls": False, "username": None, "password": None}
        self.chunk_pause_s = chunk_pause_s
        self.revoked: set[str] = set()
        self.certificates: dict[str, x509.Certificate] = {}
        self.requests: list[tuple[str, str]] = []
        """Path and Range header of each request."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = self._certificate("fake fleet", self._key.public_key())
        self._server = _QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fleet": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def token(self, *, ca_sha256: str | None = None, ttl_s: float = 600) -> str:
        """A token for any number of devices."""
        fingerprint = ca_sha256 or hashlib.sha256(self.ca.public_bytes(Encoding.DER)).hexdigest()
        claims = {"id": "t1", "ca_sha256": fingerprint, "group": "lab", "exp": time.time() + ttl_s}
        return f"mien1.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{_SECRET}"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def enroll(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer an enrolment."""
        if not str(body.get("token", "")).endswith(_SECRET):
            return 403, {
                "error": "TrustError",
                "what": "the token is not known",
                "found": "",
                "wanted": "",
                "remedy": "",
            }
        request = x509.load_pem_x509_csr(body["csr_pem"].encode())
        if not request.is_signature_valid:
            return 422, {"what": "the request is not signed with its own key"}
        device_id = body.get("device_id") or "lab-abc123"
        if device_id in self.certificates:
            return 409, {"what": f"the name {device_id} is taken"}
        self.certificates[device_id] = self._certificate(device_id, request.public_key())
        return 201, {
            "device_id": device_id,
            "certificate_pem": self.certificates[device_id].public_bytes(Encoding.PEM).decode(),
            "ca_pem": self.ca.public_bytes(Encoding.PEM).decode(),
            "mqtt": self.mqtt,
            "tuf": {
                "root": base64.b64encode(self.root).decode(),
                "metadata_url": "/tuf/metadata/",
                "targets_url": "/tuf/targets/",
            },
        }

    def session(self, method: str, path: str, headers: Any) -> tuple[int, dict[str, Any]]:
        """Check a request's signature and answer."""
        match = _INPUT.fullmatch(headers.get("Signature-Input", ""))
        signature = re.fullmatch(r"mien=:([^:]+):", headers.get("Signature", ""))
        if match is None or signature is None:
            return 403, {"error": "TrustError", "what": "the request is not signed"}
        device_id = match[3]
        if device_id not in self.certificates or device_id in self.revoked:
            return 403, {"error": "TrustError", "what": "identity revoked", "remedy": "ask the operator"}
        raw = base64.b64decode(signature[1])
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        base = f'"@method": {method}\n"@path": {path}\n"@signature-params": {match[1]}'.encode()
        public = self.certificates[device_id].public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        try:
            public.verify(der, base, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return 403, {"error": "TrustError", "what": "the signature does not fit"}
        if abs(time.time() - int(match[2])) > _MAX_AGE_S:
            return 401, {"error": "ClockDiffersError", "what": "signed at another time", "code": "clock"}
        return 200, {"device_id": device_id, "state": "accepted", "group": "lab", "mqtt": self.mqtt, "now": time.time()}

    def _certificate(self, name: str, public: Any) -> x509.Certificate:
        now = dt.datetime.now(dt.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake fleet")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .sign(self._key, SHA256())
        )


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error here."""


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True
    fleet: FakeFleet
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        self.fleet.requests.append((self.path, ""))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._json(*self.fleet.enroll(body))

    def do_GET(self) -> None:
        self.fleet.requests.append((self.path, self.headers.get("Range", "")))
        if self.path == "/api/device/v1/ca":
            self._json(200, {"ca_pem": self.fleet.ca.public_bytes(Encoding.PEM).decode()})
            return
        if self.path == "/api/device/v1/session":
            self._json(*self.fleet.session("GET", self.path, self.headers))
            return
        path = self.fleet.files / self.path.removeprefix("/tuf/")
        if not path.is_file():
            self._json(404, {"what": "no such file"})
            return
        self._file(path.read_bytes())

    def _json(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _file(self, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        end = min(int(asked[2]) + 1, len(content)) if asked and asked[2] else len(content)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
        content = content[:end]
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        slow = self.fleet.chunk_pause_s if "/targets/" in self.path else 0.0
        try:
            for place in range(first, len(content), 16384):
                self.wfile.write(content[place : place + 16384])
                if slow:
                    time.sleep(slow)
        except OSError:
            self.close_connection = True
