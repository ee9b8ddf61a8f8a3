"""The service as a process: identity, ingest, trust and order, over real HTTP and a real broker."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime

import httpx
import pytest
from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater

from mien.messages import encode
from tests.fakes.fake_device import enrol, signed_headers, wait_until
from tests.integration.fleet.conftest import ROOT, children_of, is_running

SESSION = "/api/device/v1/session"


def session(http, enrolment):
    headers = signed_headers(enrolment.key, enrolment.device_id, "GET", SESSION, int(time.time()))
    return http.get(SESSION, headers=headers)


def test_a_device_enrols_is_known_and_is_revoked(service):
    """From token to certificate to session; after the revocation the answer is no."""
    token = service.token()
    with httpx.Client(base_url=service.url) as http:
        device = enrol(http, token, "cam-1")
        assert session(http, device).json()["state"] == "accepted"
        assert session(http, device).json()["mqtt"] == device.answer["mqtt"]
        assert service.cli("device", "revoke", "cam-1").returncode == 0
        refused = session(http, device)
    assert refused.status_code == 403
    assert refused.json()["error"] == "TrustError"
    assert "revoked" in refused.json()["what"]


def test_a_device_with_a_wrong_clock_is_told_so_and_not_refused(service):
    """Its own answer, with a code for machines and the service's time; the same key is accepted at the right time."""
    with httpx.Client(base_url=service.url) as http:
        device = enrol(http, service.token(), "cam-1")
        headers = signed_headers(device.key, "cam-1", "GET", SESSION, int(time.time()) - 86_400)
        answer = http.get(SESSION, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "clock")
        assert abs(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()) < 60
        assert session(http, device).status_code == 200


def refusal(http, token, wanted):
    with pytest.raises(httpx.HTTPStatusError) as caught:
        enrol(http, token, wanted)
    return caught.value.response.status_code


def test_a_token_is_used_up(service):
    """One use means one device; a taken name uses nothing."""
    token = service.token(uses=2)
    with httpx.Client(base_url=service.url) as http:
        enrol(http, token, "cam-1")
        assert refusal(http, token, "cam-1") == 409
        enrol(http, token, "cam-2")
        assert refusal(http, token, "cam-3") == 403


def test_operators_show_their_token(service):
    """Without it nobody reads or changes anything; a strange host name reaches nothing."""
    assert httpx.get(f"{service.url}/api/v1/devices").status_code == 401
    assert httpx.post(f"{service.url}/api/v1/tokens", json={}).status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.post(f"{service.url}/api/v1/tokens", json={}, headers=wrong).status_code == 401
    assert httpx.get(f"{service.url}/api/v1/devices", headers={"Host": "evil.example"}).status_code == 400


def test_faults_in_a_request_are_told_at_once(service):
    """With their names, as JSON, and the service stays up."""
    with service.operator() as http:
        body = {"release": "faces@9.9.9", "policy": {"waves": [{"name": "a", "percnt": 1}], "sucess_threshold": 1}}
        answer = http.post("/api/v1/rollouts", json=body)
        assert answer.status_code == 422
        assert len(answer.json()["faults"]) >= 2
        assert http.post("/api/v1/rollouts", content=b"not json").status_code == 422
        assert http.get("/api/v1/devices/nobody").status_code == 404
        assert http.post("/api/v1/tokens", content=b"x" * 300_000).status_code == 413
    assert httpx.get(f"{service.url}/healthz").json()["status"] == "ok"


def test_telemetry_arrives_and_garbage_stops_nothing(service, start_devices):
    """Windows over the real broker; between them bytes that are no message."""
    (device,) = start_devices(1)
    for payload in (b"not json", b"\xff\x00", b'{"fps": "many"}', b"[" * 10_000, b"x" * 150_000):
        device.send("m", payload)
    device.send("nonsense", b"{}")
    window = device.window()
    device.send("m", encode(window))
    device.send("m", encode(window))
    wait_until(lambda: len(service.get("/devices/cam-0/windows?limit=50")) >= 5, what="windows")
    counts = httpx.get(f"{service.url}/healthz").json()["ingest"]
    assert counts["bad"] == 5
    ids = [w["window_id"] for w in service.get("/devices/cam-0/windows?limit=500")]
    assert ids.count(window.window_id) == 1
    assert "cam-0" in service.log


def test_a_revoked_device_is_not_heard(service, start_devices):
    """Its broker password still works, but nothing it says is stored."""
    (device,) = start_devices(1)
    wait_until(lambda: service.get("/devices/cam-0/windows"), what="windows")
    service.cli("device", "revoke", "cam-0")
    wait_until(lambda: httpx.get(f"{service.url}/healthz").json()["ingest"].get("unknown_device", 0) > 3, what="drops")
    newest = service.get("/devices/cam-0/windows?limit=1")[0]["window_id"]
    device.send("m", encode(device.window()))
    time.sleep(0.5)
    assert service.get("/devices/cam-0/windows?limit=1")[0]["window_id"] == newest


def updater(service, root, folder):
    folder.mkdir(exist_ok=True)
    (folder / "files").mkdir(exist_ok=True)
    return Updater(
        metadata_dir=str(folder),
        metadata_base_url=f"{service.url}/tuf/metadata/",
        target_base_url=f"{service.url}/tuf/targets/",
        target_dir=str(folder / "files"),
        bootstrap=root,
    )


def test_a_tuf_client_takes_what_was_signed_and_nothing_else(service, tmp_path):
    """The reference client downloads the release; a changed byte and a rolled-back repository are refused."""
    with httpx.Client(base_url=service.url) as http:
        root = base64.b64decode(enrol(http, service.token()).answer["tuf"]["root"])
    service.publish("1.0.0")
    client = updater(service, root, tmp_path / "client")
    client.refresh()
    info = client.get_targetinfo("faces/1.0.0/model.int8.onnx")
    assert client.download_target(info).endswith("model.int8.onnx")
    manifest = client.get_targetinfo("faces/1.0.0/manifest.json")
    assert manifest.unrecognized_fields["custom"] == {"release": "faces@1.0.0"}

    (place,) = (service.data / "tuf" / "targets").rglob("*.model.fp16.onnx")
    place.write_bytes(b"X" + place.read_bytes()[1:])
    with pytest.raises(RepositoryError):
        client.download_target(client.get_targetinfo("faces/1.0.0/model.fp16.onnx"))

    kept = (service.data / "tuf" / "metadata" / "timestamp.json").read_bytes()
    service.publish("1.1.0")
    updater(service, root, tmp_path / "client").refresh()
    (service.data / "tuf" / "metadata" / "timestamp.json").write_bytes(kept)
    with pytest.raises(RepositoryError):
        updater(service, root, tmp_path / "client").refresh()


def test_a_download_goes_on_where_it_stopped(service):
    """Signed files are served in ranges."""
    service.publish("1.0.0")
    (place,) = (service.data / "tuf" / "targets").rglob("*.model.int8.onnx")
    address = f"{service.url}/tuf/targets/faces/1.0.0/{place.name}"
    part = httpx.get(address, headers={"Range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.content == place.read_bytes()[1000:2000]


def test_a_release_published_while_the_service_was_down_is_known_later(service):
    """The registry is on the disk; the service reads it when it starts."""
    service.stop()
    service.publish("1.0.0")
    service.start()
    assert [release["release"] for release in service.get("/releases")] == ["faces@1.0.0"]


def test_pages_answer_with_a_strict_policy(service, start_devices):
    """Every page renders, escapes what devices say, and allows no script but its own."""
    (device,) = start_devices(1)
    device.event("throttled", "<script>alert(1)</script>")
    service.publish("1.0.0")
    service.ended(service.rollout("1.0.0", {"waves": [{"name": "all", "percent": 100}], "analysis": None}))
    wait_until(lambda: service.get("/events"), what="the event")
    for path in ("/", "/devices", "/devices/cam-0", "/releases", "/rollouts", "/rollouts/1"):
        page = service.page(path)
        assert page.status_code == 200, path
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in service.page("/").text
    assert service.page("/devices/nobody").status_code == 404


def test_the_service_ends_in_order(service):
    """SIGTERM: exit code 0, no traceback, no child left."""
    assert service.process is not None
    children = children_of(service.process.pid)
    assert children
    assert service.stop() == 0
    wait_until(lambda: not any(map(is_running, children)), what="children ended")
    assert "Traceback" not in service.log


def test_a_killed_service_leaves_no_broker(service):
    """Its child notices."""
    children = children_of(service.process.pid)
    service.kill()
    wait_until(lambda: not any(map(is_running, children)), what="children ended")


@pytest.mark.parametrize("which", ["--http-port", "--mqtt-port"])
def test_a_taken_port_is_one_sentence(service, tmp_path, which):
    """A second service says which option to change, and exits with the documented code."""
    ports = {"--http-port": str(service.http_port), "--mqtt-port": str(service.mqtt_port)}
    given = {name: port if name == which else "0" for name, port in ports.items()}
    other = {name: (port if port != "0" else str(_free())) for name, port in given.items()}
    command = [sys.executable, "-m", "mien", "fleet", "serve", "--data", str(tmp_path / "second")]
    for name, port in other.items():
        command += [name, port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 10
    assert which in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_is_not_there_is_one_sentence(service):
    """The command line says how to start it."""
    service.stop()
    done = service.cli("devices")
    assert done.returncode == 10
    assert "mien fleet serve" in done.stderr


def _free() -> int:
    from tests.integration.fleet.conftest import free_port

    return free_port()
