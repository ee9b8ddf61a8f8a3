"""The service over HTTPS with a certificate of its own authority, and a device that trusts that authority alone."""

import base64
import json
import stat

import httpx
import pytest

from edge.identity.enrol import enrol
from edge.identity.token import parse_token
from edge.transport.fleet_http import FleetHttp
from mien.errors import TrustError


@pytest.fixture
def service(new_service):
    """A running service with TLS."""
    return new_service(http={"tls": "auto", "names": ["fleet.example.org"]}).start()


def test_a_device_enrols_over_https_and_trusts_the_fleet_alone(service, tmp_path):
    """The authority is pinned before the token is shown, and for every later request; the system's are not asked."""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/healthz")
    state = tmp_path / "device"
    identity = enrol(parse_token(service.token()), service.url, state, device_id="cam-1")
    assert identity.pinned_ca == (service.data / "ca" / "ca.pem").read_text()
    with FleetHttp(identity.fleet_url, ca_pem=identity.pinned_ca) as fleet:
        assert fleet.session(identity.key, "cam-1").state == "accepted"
    assert json.loads(service.cli("devices", "--json").stdout)[0]["id"] == "cam-1"


def test_a_token_of_another_fleet_is_refused_and_not_spent(service, tmp_path):
    """The device stops before it shows the token; the token still works where it belongs."""
    text = service.token()
    prefix, middle, secret = text.split(".")
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))) | {"ca_sha256": "0" * 64}
    other = f"{prefix}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{secret}"
    with pytest.raises(TrustError, match="not the fleet that made the token"):
        enrol(parse_token(other), service.url, tmp_path / "device")
    assert enrol(parse_token(text), service.url, tmp_path / "device").device_id.startswith("lab-")


def test_secrets_and_the_database_are_for_the_services_user_alone(service):
    """Even where the folder above them were opened."""
    for name in ("fleet.db", "operator.token", "tls/server.key", "ca/ca.key"):
        assert stat.S_IMODE((service.data / name).stat().st_mode) & 0o077 == 0, name
