"""Tokens, signatures and the identity on the disk."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge.identity.enrol import certificate_request
from edge.identity.store import IdentityStore
from edge.identity.token import check_authority, parse_token
from edge.transport.fleet_http import BrokerBlock, EnrolmentAnswer, TufBlock, checked_url
from edge.transport.signing import signature_base, signed_headers
from mien.errors import ConfigError, TrustError, UnavailableError


def _token(**more: object) -> str:
    claims = {"id": "t", "ca_sha256": "AB" * 32, "group": "lab", "exp": time.time() + 60, **more}
    return f"mien1.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.secret"


def test_a_token_with_an_address_is_split() -> None:
    """The fingerprint is lower case, the address is apart, and the text is what the fleet gets."""
    token = parse_token(_token() + "@http://127.0.0.1:8321\n")
    assert (token.url, token.group, token.ca_sha256) == ("http://127.0.0.1:8321", "lab", "ab" * 32)
    assert token.text == _token(exp=token.expires_at)


def test_a_token_does_not_show_its_secret() -> None:
    """Printed or logged, it is harmless."""
    assert "secret" not in repr(parse_token(_token()))


@pytest.mark.parametrize(
    "text", ["", "mien1", "mien1.e30.secret", "mien2.e30.secret", "mien1.!!!.secret", "mien1.e30."]
)
def test_other_text_is_no_token(text: str) -> None:
    """Cut off or of another kind: told with what to do."""
    with pytest.raises(ConfigError, match="no enrolment token") as caught:
        parse_token(text)
    assert "mien fleet token create" in caught.value.remedy


def test_a_signature_covers_method_path_and_parameters() -> None:
    """The raw r||s of RFC 9421 verifies over the signature base, and over nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    headers = signed_headers(key, key_id="dev-1", method="GET", path="/api/x", created=1700000000)
    parameters = headers["Signature-Input"].removeprefix("mien=")
    assert parameters == '("@method" "@path");created=1700000000;keyid="dev-1";alg="ecdsa-p256-sha256"'
    raw = base64.b64decode(headers["Signature"].removeprefix("mien=:").removesuffix(":"))
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.public_key().verify(der, signature_base("GET", "/api/x", parameters), ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        key.public_key().verify(der, signature_base("POST", "/api/x", parameters), ec.ECDSA(SHA256()))


def test_the_signature_base_is_that_of_the_standard() -> None:
    """Three lines, without one at the end (RFC 9421, section 2.5)."""
    assert signature_base("GET", "/p", "(x)") == b'"@method": GET\n"@path": /p\n"@signature-params": (x)'


def test_a_request_is_signed_with_its_own_key() -> None:
    """The fleet can see that the device holds the key."""
    request = x509.load_pem_x509_csr(certificate_request(ec.generate_private_key(ec.SECP256R1()), "device").encode())
    assert request.is_signature_valid


def _saved(store: IdentityStore) -> None:
    store.key()
    store.save(
        EnrolmentAnswer(
            device_id="lab-1",
            certificate_pem="cert",
            ca_pem="ca",
            mqtt=BrokerBlock(host="127.0.0.1", port=1883, username="u", password="first"),
            tuf=TufBlock(
                root=base64.b64encode(b"{}").decode(), metadata_url="/tuf/metadata/", targets_url="/tuf/targets/"
            ),
        ),
        "http://127.0.0.1:8321",
    )


def test_an_identity_is_kept_for_this_user_alone(memory_path: Path) -> None:
    """The key and the record with the broker's password cannot be read by others."""
    store = IdentityStore(memory_path)
    _saved(store)
    for name in ("key.pem", "identity.json"):
        assert stat.S_IMODE((store.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    identity = store.load()
    assert identity.metadata_url == "http://127.0.0.1:8321/tuf/metadata/"
    assert "first" not in repr(identity)


def test_the_key_is_made_once(memory_path: Path) -> None:
    """A second enrolment attempt uses the same key."""
    store = IdentityStore(memory_path)
    assert store.key().private_numbers() == store.key().private_numbers()


def test_a_fleet_that_moved_is_found_under_its_new_address(memory_path: Path) -> None:
    """The settings' address wins over the one of the enrolment."""
    _saved(IdentityStore(memory_path))
    moved = IdentityStore(memory_path, fleet_url="https://fleet.example/").load()
    assert moved.targets_url == "https://fleet.example/tuf/targets/"
    assert moved.pinned_ca == "ca"


def test_new_broker_credentials_are_kept(memory_path: Path) -> None:
    """A broker that changed its password is known at the next start."""
    store = IdentityStore(memory_path)
    _saved(store)
    store.save_broker(BrokerBlock(host="127.0.0.1", port=1884, username="u", password="second"))
    assert IdentityStore(memory_path).load().mqtt.password == "second"


def test_a_device_without_identity_says_how_to_get_one(memory_path: Path) -> None:
    """The remedy is the command."""
    with pytest.raises(TrustError, match="has not enrolled") as caught:
        IdentityStore(memory_path).load()
    assert "mien edge enroll" in caught.value.remedy


@pytest.mark.parametrize("name", ["identity.json", "key.pem", "cert.pem", "root.json"])
def test_a_damaged_identity_is_a_fault_of_trust(memory_path: Path, name: str) -> None:
    """Whichever file is gone or garbage, nothing is trusted and the remedy is given."""
    store = IdentityStore(memory_path)
    _saved(store)
    path = store.folder / name
    if name in {"identity.json", "key.pem"}:
        path.write_text("garbage")
    else:
        path.unlink()
    with pytest.raises(TrustError) as caught:
        store.load()
    assert caught.value.remedy


def _authority() -> x509.Certificate:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    return builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(1)).sign(key, SHA256())


def test_a_certificate_beside_the_authority_is_not_trusted() -> None:
    """Only the one that the token names is pinned, whatever else a service presents with it."""
    own, strange = (certificate.public_bytes(Encoding.PEM).decode() for certificate in (_authority(), _authority()))
    digest = hashlib.sha256(x509.load_pem_x509_certificate(own.encode()).public_bytes(Encoding.DER)).hexdigest()
    token = parse_token(_token(ca_sha256=digest))
    assert check_authority(token, own + strange) == own
    with pytest.raises(TrustError, match="not the fleet"):
        check_authority(token, strange + own)


@pytest.mark.parametrize("url", ["http://192.0.2.1:8321", "http://fleet.example", "ftp://127.0.0.1", "fleet"])
def test_plain_http_stays_on_this_machine(url: str) -> None:
    """Tokens and broker passwords are never sent where others may listen."""
    with pytest.raises(ConfigError) as caught:
        checked_url(url)
    assert "https://" in caught.value.wanted


@pytest.mark.parametrize("name", ["identity.json", "key.pem", "cert.pem", "root.json"])
def test_a_disk_that_fails_is_no_refusal(memory_path: Path, name: str) -> None:
    """A file that is there and cannot be read says nothing about the identity: trying again later may work."""
    store = IdentityStore(memory_path)
    _saved(store)
    (store.folder / name).unlink()
    (store.folder / name).mkdir()
    with pytest.raises(UnavailableError, match="cannot be read now"):
        store.load()
