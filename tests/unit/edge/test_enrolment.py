"""The device's side of membership: what it takes as its certificate, how long it waits, what its board is called."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge.identity.certificate import check_certificate
from edge.identity.serial import board_serial_number
from edge.identity.waiting import Waiting
from mien.errors import ConfigError, TrustError


def _signed(name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, issuer: str = "fleet") -> str:
    now = dt.datetime.now(dt.timezone.utc)

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(by, SHA256()).public_bytes(Encoding.PEM).decode()


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_only_the_own_certificate_of_the_trusted_authority_is_taken() -> None:
    """Another name, another key, another authority and garbage are refused."""
    own, authority, other = _key(), _key(), _key()
    ca = _signed("fleet", authority, authority)
    check_certificate(_signed("door-1", own, authority), own, "door-1", ca)
    for wrong in (
        _signed("door-2", own, authority),
        _signed("door-1", other, authority),
        _signed("door-1", own, other),
        _signed("door-1", own, authority, issuer="another"),
        "garbage",
    ):
        with pytest.raises(TrustError):
            check_certificate(wrong, own, "door-1", ca)


def test_waiting_ends_with_its_time() -> None:
    """It asks every few seconds, the last time when the time is over, and once only without a time."""
    now = [100.0]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    waiting = Waiting(12.0, pause=pause, clock=lambda: now[0])
    while waiting("door-1"):
        pass
    assert pauses == [5.0, 5.0, 2.0]
    assert not Waiting.of(None)("door-1")
    with pytest.raises(ConfigError, match="no duration"):
        Waiting.of("soon")


@pytest.mark.parametrize(
    ("content", "number"), [(b"1421221047325\0", "1421221047325"), (b"two words\0", None), (b"\0", None), (None, None)]
)
def test_a_board_says_its_serial_number_or_none(memory_path, content, number) -> None:
    """The device tree ends texts with a zero byte; what could not stand on a list is none."""
    path = memory_path / "serial-number"
    if content is not None:
        path.write_bytes(content)
    assert board_serial_number(path) == number
