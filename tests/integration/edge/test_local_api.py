"""The local API over real sockets: probes, doors, and what it does to those who should not be there."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

from edge.api.access import COOKIE
from edge.api.server import LocalApi
from edge.api.state import DeviceState
from edge.config import ApiSettings
from mien.errors import ConfigError, UnavailableError
from mien.messages import Power
from tests.fakes.fake_device import wait_until
from tests.fakes.served_api import device, served, window

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CLOSED = ("/", "/live", "/status.json", "/metrics", "/readyz", "/v2", "/v2/models/faces", "/preview/0.jpg", "/none")


@pytest.fixture
def state() -> DeviceState:
    """A device with three messages waiting."""
    return device()


@pytest.fixture
def url(state: DeviceState) -> Iterator[str]:
    """The API, answering on loopback without a token."""
    with served(state) as api:
        yield api.url


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A token that only we may read."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(state: DeviceState, token_file: Path) -> Iterator[str]:
    """The API on loopback, with a token."""
    with served(state, ApiSettings(enabled=True, port=0, token_file=token_file)) as api:
        yield api.url


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab-1")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_a_device_is_ready_once_frames_flow(url: str, state: DeviceState) -> None:
    """Healthy at once, ready with the first window that has frames; until then the reasons are told."""
    assert httpx.get(f"{url}/healthz").status_code == 200
    early = httpx.get(f"{url}/readyz")
    assert early.status_code == 503
    assert early.json() == {"ready": False, "reasons": ["no telemetry window has ended yet"]}
    state.add_window(window())
    assert httpx.get(f"{url}/readyz").json() == {"ready": True, "reasons": []}
    status = httpx.get(f"{url}/status.json").json()
    assert status["window"]["fps"] == 9.5
    assert status["model"]["release"] == "faces@1.2.0"
    assert status["cameras"][0]["name"] == "door"


def test_metrics_name_the_power_source(url: str, state: DeviceState) -> None:
    """Watts carry where they were read, Prometheus' parser reads it all, and absent figures are left out."""
    state.add_window(window())
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'mien_power_watts{source="replay"} 12.5' in answer.text
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert "mien_spool_messages" in families
    state.add_window(window(2, power=Power(source="none")))
    assert "mien_power_watts" not in httpx.get(f"{url}/metrics").text


def test_it_lives_while_the_disk_does_not_answer(url: str, state: DeviceState) -> None:
    """A spool that waits holds up who asks for it, and nobody else."""
    asked, go_on = threading.Event(), threading.Event()

    def waiting() -> int:
        asked.set()
        go_on.wait(30)
        return 7

    state.spool_length = waiting
    answers: list[int] = []
    reader = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{url}/status.json", timeout=30).json()["spool"])
    )
    reader.start()
    assert asked.wait(30)
    assert httpx.get(f"{url}/healthz").status_code == 200
    go_on.set()
    reader.join(30)
    assert answers == [7]


def test_a_port_in_use_is_told(url: str, state: DeviceState) -> None:
    """One sentence that says what to do."""
    with pytest.raises(UnavailableError) as caught:
        LocalApi(ApiSettings(enabled=True, port=int(url.rpartition(":")[2])), state)
    assert "api.port" in caught.value.remedy


def test_it_is_off_unless_asked_for(state: DeviceState) -> None:
    """Without the setting no port is opened."""
    api = LocalApi(ApiSettings(), state)
    api.start()
    api.close()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 8330))


def test_its_thread_ends_with_it_though_a_page_is_open(state: DeviceState) -> None:
    """A stream under way does not keep the device from stopping."""
    with served(state) as api, httpx.stream("GET", f"{api.url}/live") as stream:
        assert next(stream.iter_lines()).startswith("retry")
        api.close()
        assert "local-api" not in {thread.name for thread in threading.enumerate()}


def test_every_answer_carries_the_headers_that_keep_a_browser_careful(url: str) -> None:
    """No script but our own, no frame, no sniffing, nothing kept, no server's name; on errors too."""
    for path in ("/", "/healthz", "/static/page.js", "/none", "/v2/models/other"):
        headers = httpx.get(url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


def test_the_page_itself_needs_no_inline_script_or_style(url: str, guarded: str) -> None:
    """Nothing in it that the policy would have to allow."""
    for text in (httpx.get(url).text, httpx.get(f"{guarded}/login").text):
        assert "<script>" not in text
        assert "style=" not in text
        assert " on" + "click" not in text
        assert "$" not in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "169.254.1.1", ""])
def test_a_name_that_was_pointed_at_loopback_is_refused(url: str, host: str) -> None:
    """DNS rebinding: the browser sends the other site's name."""
    answer = httpx.get(f"{url}/status.json", headers={"Host": host})
    assert answer.status_code in {400, 421}
    assert "lab-1" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_a_page_of_another_site_gets_nothing(url: str, headers: dict[str, str]) -> None:
    """Neither a reading nor an inference."""
    assert httpx.get(f"{url}/preview/0.jpg", headers=headers).status_code == 403
    assert httpx.post(f"{url}/v2/models/faces/infer", headers=headers, content=b"{}").status_code == 403


def test_a_link_from_another_site_may_be_followed(url: str) -> None:
    """A person who navigates reads the page; a form sent from there is refused."""
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx.get(url, headers=followed).status_code == 200
    assert httpx.post(f"{url}/logout", headers=followed).status_code == 403


@pytest.mark.parametrize("path", CLOSED)
def test_with_a_token_nothing_but_liveness_is_open(guarded: str, path: str) -> None:
    """Every other path wants the token, the ones that are not there too."""
    answer = httpx.get(guarded + path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{guarded}/healthz").status_code == 200
    assert httpx.get(f"{guarded}/v2/health/live").status_code == 200


def test_the_bearer_header_opens(guarded: str) -> None:
    """The token in the header, and nowhere else."""
    assert httpx.get(f"{guarded}/status.json", headers=BEARER).status_code == 200
    assert httpx.get(f"{guarded}/status.json?token={TOKEN}").status_code == 401
    assert httpx.get(f"{guarded}/status.json", headers={"Cookie": f"{COOKIE}={TOKEN}"}).status_code == 401


def test_guessing_is_slowed_down(guarded: str) -> None:
    """After five wrong tokens the address waits, by header and by form alike; a session goes on."""
    with httpx.Client(base_url=guarded) as known:
        known.post("/login", data={"token": TOKEN})
        for _ in range(5):
            assert httpx.get(f"{guarded}/readyz", headers={"Authorization": "Bearer wrong"}).status_code == 401
        blocked = httpx.get(f"{guarded}/readyz", headers=BEARER)
        assert blocked.status_code == 429
        assert 0 < int(blocked.headers["retry-after"]) <= 61
        assert httpx.post(f"{guarded}/login", data={"token": TOKEN}).status_code == 429
        assert known.get("/status.json").status_code == 200


def test_a_form_trades_the_token_for_a_cookie(guarded: str) -> None:
    """HttpOnly, SameSite=Strict, not the token itself; logging out ends it on the device."""
    with httpx.Client(base_url=guarded) as browser:
        first = browser.get("/", headers={"Accept": "text/html"})
        assert (first.status_code, first.headers["location"]) == (303, "/login")
        wrong = browser.post("/login", data={"token": "<b>" + TOKEN})
        assert wrong.status_code == 401
        assert TOKEN not in wrong.text
        cookie = browser.post("/login", data={"token": TOKEN}).headers["set-cookie"]
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
        assert TOKEN not in cookie
        assert browser.get("/status.json").status_code == 200
        kept = dict(browser.cookies)
        assert browser.post("/logout").status_code == 303
    assert httpx.get(f"{guarded}/status.json", cookies=kept).status_code == 401


def test_the_token_is_nowhere_to_be_read(guarded: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a log nor in any answer."""
    caplog.set_level(0)
    texts = [httpx.get(guarded + path, headers=BEARER).text for path in ("/", "/status.json", "/metrics", "/none")]
    httpx.post(f"{guarded}/login", data={"token": TOKEN})
    texts += [record.getMessage() for record in caplog.records]
    assert not [text for text in texts if TOKEN in text]


def test_a_form_that_never_ends_is_cut_off(guarded: str) -> None:
    """A login is a few bytes long."""
    answer = httpx.post(f"{guarded}/login", content=(b"x" * 1024 for _ in range(1024)))
    assert answer.status_code == 413


def test_a_token_file_open_to_others_keeps_it_from_starting(state: DeviceState, token_file: Path) -> None:
    """With the command that mends it."""
    token_file.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        LocalApi(ApiSettings(enabled=True, port=0, token_file=token_file), state)
    assert "chmod 600" in caught.value.remedy


def test_beyond_loopback_it_speaks_tls_and_wants_the_token(
    state: DeviceState, token_file: Path, identity: tuple[Path, Path]
) -> None:
    """Any host name will do there, since the token guards; cookies are for TLS alone; plain HTTP gets nothing."""
    certificate, key = identity
    settings = ApiSettings(
        enabled=True, host="0.0.0.0", port=0, token_file=token_file, certificate=certificate, key=key
    )
    with served(state, settings) as api:
        url = f"https://127.0.0.1:{api.port}"
        trust = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=url, verify=trust) as client:
            assert client.get("/status.json").status_code == 401
            answer = client.get("/status.json", headers=BEARER | {"Host": "camera.local"})
            assert answer.status_code == 200
            assert "strict-transport-security" in answer.headers
            assert "secure" in client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{api.port}/healthz")


def test_a_certificate_that_does_not_fit_its_key_is_told(
    state: DeviceState, tmp_path: Path, identity: tuple[Path, Path]
) -> None:
    """With the command that makes a pair."""
    other = tmp_path / "key.pem"
    other.write_text("no key")
    with pytest.raises(ConfigError) as caught:
        LocalApi(ApiSettings(enabled=True, port=0, certificate=identity[0], key=other), state)
    assert "openssl req" in caught.value.remedy


def test_a_head_without_end_is_cut_off(url: str) -> None:
    """A request's head has a bound; the API lives on."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as hostile:
        hostile.settimeout(30)
        hostile.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(200):
                hostile.sendall(b"X-Long: " + b"a" * 8192 + b"\r\n")
            answer = hostile.recv(64)
        except OSError:
            answer = b""
    assert answer == b"" or b"400" in answer
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_pages_that_are_left_do_not_add_up(url: str) -> None:
    """Eight at once are served, a ninth is told to wait, and room comes back."""
    with ExitStack() as pages, httpx.Client(base_url=url) as client:
        lines = [pages.enter_context(client.stream("GET", "/live")).iter_lines() for _ in range(8)]
        assert all(next(line).startswith("retry") for line in lines)
        assert client.get("/live").status_code == 503
        pages.pop_all().close()

        def has_room() -> bool:
            with client.stream("GET", "/live") as stream:
                return stream.status_code == 200

        wait_until(has_room, what="room for a page")
