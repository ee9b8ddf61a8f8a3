"""Tokens, certificates and signed requests: what is accepted, and everything that is not."""

import base64
import datetime as dt
import json
from http import HTTPStatus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from fleet.api.errors import status_of
from fleet.identity.ca import open_authority, read_request
from fleet.identity.enrol import Asked, enrol
from fleet.identity.server import server_files
from fleet.identity.signatures import MAX_AGE_S, ClockDiffersError, check_signature, read_signature
from fleet.identity.tokens import check_token, make_token, read_token
from mien.errors import ConfigError, MienError, TrustError
from tests.fakes.fake_device import request_for, signed_headers

NOW = 1_800_000_000.0
PATH = "/api/device/v1/session"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return open_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


def token(**given):
    return make_token(**({"group": "lab", "uses": 2, "expires_at": NOW + 60, "ca_sha256": "ab" * 32} | given))


def test_a_token_is_recognised():
    """Its text leads back to what was kept, and the secret is kept by its hash alone."""
    text, stored = token()
    token_id, secret = read_token(text)
    assert check_token(stored, secret, now=NOW) is stored
    assert token_id == stored.id
    assert secret not in repr(stored)


def test_a_forged_group_changes_nothing():
    """Whoever edits the open part still gets the group that the fleet kept."""
    text, stored = token()
    prefix, middle, secret = text.split(".")
    claims = json.loads(base64.urlsafe_b64decode(middle + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"group": "admin"}).encode()).decode().rstrip("=")
    _, given_secret = read_token(f"{prefix}.{forged}.{secret}")
    assert check_token(stored, given_secret, now=NOW).group == "lab"


def test_a_wrong_secret_is_refused_like_an_unknown_token():
    """Nobody learns which tokens exist."""
    _, stored = token()
    told = []
    for known in (stored, None):
        with pytest.raises(TrustError) as caught:
            check_token(known, "guess", now=NOW)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_an_unknown_token_with_an_empty_secret_is_refused():
    """The stand-in for an unknown token opens nothing."""
    with pytest.raises(TrustError):
        check_token(None, "", now=NOW)


@pytest.mark.parametrize(("given", "found"), [({"expires_at": NOW - 1}, "expired"), ({"uses": 0}, "used up")])
def test_a_stale_token_says_why(given, found):
    """The operator must know whether to make a longer or a bigger one."""
    text, stored = token(**given)
    with pytest.raises(TrustError) as caught:
        check_token(stored, read_token(text)[1], now=NOW)
    assert found in caught.value.found


@given(st.text(max_size=200))
def test_any_text_is_a_token_or_refused(text):
    """Nothing but a refusal comes out of garbage."""
    try:
        token_id, secret = read_token(text)
    except TrustError:
        return
    assert isinstance(token_id, str)
    assert isinstance(secret, str)


def test_a_certificate_bears_the_name_that_the_fleet_chose(authority, key):
    """Whatever the request says, and it is for clients, not for servers or authorities."""
    issued = authority.issue_device(read_request(request_for(key, "mallory")), "cam-1")
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert certificate.subject.rfc4514_string() == "CN=cam-1"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))


def test_the_authority_is_made_once_and_kept_private(tmp_path):
    """A second start reads the first one's, whose key only its user may read."""
    first = open_authority(tmp_path)
    assert open_authority(tmp_path).fingerprint == first.fingerprint
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_a_request_for_another_kind_of_key_is_refused():
    """Only P-256 is taken."""
    with pytest.raises(ConfigError):
        read_request(request_for(ec.generate_private_key(ec.SECP384R1())))


def test_a_request_that_was_changed_is_refused(key):
    """Its signature no longer fits: the sender does not hold the key."""
    lines = request_for(key).strip().splitlines()
    body = bytearray(base64.b64decode("".join(lines[1:-1])))
    body[-3] ^= 1
    changed = "\n".join([lines[0], base64.b64encode(bytes(body)).decode(), lines[-1]])
    with pytest.raises(ConfigError):
        read_request(changed)


@given(st.text(max_size=300))
def test_any_text_is_a_request_or_refused(text):
    """Garbage gives an error of ours and nothing else."""
    with pytest.raises(MienError):
        read_request(text)


def read(headers, method="GET", path=PATH):
    return read_signature(
        method, path, signature_input=headers.get("Signature-Input"), signature=headers.get("Signature")
    )


@pytest.fixture(scope="module")
def certificate(authority, key):
    return authority.issue_device(read_request(request_for(key)), "cam-1").pem


def test_a_signed_request_is_accepted(key, certificate):
    """Signed by the device's key, a moment ago."""
    signed = read(signed_headers(key, "cam-1", "GET", PATH, int(NOW)))
    check_signature(signed, certificate, now=NOW + 2)
    assert signed.device_id == "cam-1"


@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("GET", "/api/device/v1/other")])
def test_a_signature_is_for_one_request(key, certificate, method, path):
    """Taken from one request it opens no other."""
    headers = signed_headers(key, "cam-1", "GET", PATH, int(NOW))
    with pytest.raises(TrustError):
        check_signature(read(headers, method, path), certificate, now=NOW)


@pytest.mark.parametrize("age", [MAX_AGE_S + 1, -MAX_AGE_S - 1])
def test_an_old_or_future_signature_is_refused(key, certificate, age):
    """It may have been recorded, or a clock is wrong: the remedy says so."""
    signed = read(signed_headers(key, "cam-1", "GET", PATH, int(NOW)))
    with pytest.raises(ClockDiffersError) as caught:
        check_signature(signed, certificate, now=NOW + age)
    assert "clock" in caught.value.remedy
    assert status_of(caught.value) == HTTPStatus.UNAUTHORIZED


def test_an_old_signature_by_another_key_is_no_matter_of_clocks(certificate):
    """Whoever does not hold the key is refused for good, whatever the time."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    signed = read(signed_headers(stranger, "cam-1", "GET", PATH, int(NOW)))
    with pytest.raises(TrustError) as caught:
        check_signature(signed, certificate, now=NOW + MAX_AGE_S + 1)
    assert not isinstance(caught.value, ClockDiffersError)


def test_another_key_is_refused(certificate):
    """Knowing the name is not enough."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(TrustError):
        check_signature(read(signed_headers(stranger, "cam-1", "GET", PATH, int(NOW))), certificate, now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Signature-Input": "mien=()", "Signature": "mien=:AAAA:"},
        {"Signature-Input": 'mien=("@method");created=1;keyid="a";alg="ecdsa-p256-sha256"', "Signature": "mien=:AAAA:"},
        {"Signature-Input": 'mien=("@method" "@path");created=1;keyid="a";alg="hmac-sha256"', "Signature": "mien=:AA:"},
    ],
)
def test_other_forms_are_refused(headers):
    """Fewer components, other algorithms or nothing at all: no."""
    with pytest.raises(TrustError):
        read(headers)


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_headers_are_read_or_refused(described, signed):
    """Garbage in headers gives a refusal and nothing else."""
    with pytest.raises(TrustError):
        read({"Signature-Input": described, "Signature": signed})


def test_the_services_certificate_is_kept_until_it_no_longer_does(authority, tmp_path):
    """The same names keep it; other names, or an end that comes near, make another; the key is private."""
    now = dt.datetime.now(dt.timezone.utc)

    def made(names, at=now):
        files = server_files(authority, tmp_path, names, now=at)
        assert files.key.stat().st_mode & 0o077 == 0
        return files.certificate.read_bytes()

    first = made(["fleet.example.org"])
    assert made(["fleet.example.org"]) == first
    other = made(["10.0.0.1"])
    assert other != first
    assert made(["10.0.0.1"], now + dt.timedelta(days=300)) != other


@pytest.mark.parametrize("wanted", ["door-1", None])
def test_enrolling_again_with_the_same_key_gives_the_same_and_uses_nothing(authority, key, store, wanted):
    """An answer that was lost on its way costs no token, and nobody else gets the name."""
    text, stored = token(uses=1)
    with store.write() as work:
        work.tokens.add(stored, at=NOW)
        asked = Asked(token=text, csr_pem=request_for(key), wanted_id=wanted)
        first = enrol(work, authority, asked, now=NOW)
        assert enrol(work, authority, asked, now=NOW) == first
        assert work.tokens.find(stored.id).uses_left == 0
        with pytest.raises(TrustError, match="refused"):
            other = ec.generate_private_key(ec.SECP256R1())
            enrol(work, authority, Asked(token=text, csr_pem=request_for(other), wanted_id=wanted), now=NOW)
