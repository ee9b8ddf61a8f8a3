"""A device without a camera or an engine: enrols, says what a real one would over MQTT, and behaves as it is told."""

from __future__ import annotations

import base64
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mien import topics
from mien.expressions import EXPRESSIONS
from mien.facts import DeviceFacts
from mien.lifecycle import UpdateState
from mien.messages import Desired, Event, Message, Percentiles, Power, Status, Twin, UpdateReport, Window, encode
from mien.release import ReleaseRef

FACTS = DeviceFacts(
    arch="aarch64", cpu="ARMv8", cpu_count=6, memory_bytes=8 << 30, python="3.10.12", onnxruntime="1.24"
)
STEPS = (UpdateState.DOWNLOADING, UpdateState.VERIFYING, UpdateState.BUILDING, UpdateState.INSTALLING)


@dataclass(frozen=True)
class Figures:
    """What a device measures with a release."""

    fps: float = 30.0
    latency_ms: float = 22.0
    power_w: float = 7.5
    confidence: float = 0.8
    faces: int = 2


@dataclass
class Behaviour:
    """What a device does with certain versions."""

    probe_fails: frozenset[str] = frozenset()
    """Versions which its own probe takes back."""
    figures: dict[str, Figures] = field(default_factory=dict)
    """What it measures with a version; otherwise what healthy ones do."""
    deaf: bool = False
    """It never answers a desired release."""
    step_s: float = 0.05


def request_for(key: ec.EllipticCurvePrivateKey, name: str = "ignored") -> str:
    """A certificate request, PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def signed_headers(
    key: ec.EllipticCurvePrivateKey, device_id: str, method: str, path: str, created: int
) -> dict[str, str]:
    """The headers of a request that the device signed."""
    parameters = f'("@method" "@path");created={created};keyid="{device_id}";alg="ecdsa-p256-sha256"'
    base = f'"@method": {method}\n"@path": {path}\n"@signature-params": {parameters}'.encode()
    r, s = decode_dss_signature(key.sign(base, ec.ECDSA(SHA256())))
    raw = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
    return {"Signature-Input": f"mien={parameters}", "Signature": f"mien=:{raw}:"}


@dataclass
class Enrolment:
    """What enrolling gave."""

    device_id: str
    key: ec.EllipticCurvePrivateKey
    answer: dict[str, Any]


def enrol(http: httpx.Client, token: str, device_id: str | None = None) -> Enrolment:
    """Enrol over HTTP."""
    key = ec.generate_private_key(ec.SECP256R1())
    body = {"token": token, "csr_pem": request_for(key), "device_id": device_id}
    answer = http.post("/api/device/v1/enroll", json=body)
    answer.raise_for_status()
    return Enrolment(device_id=answer.json()["device_id"], key=key, answer=answer.json())


class FakeDevice:
    """Runs on two threads until it is stopped."""

    def __init__(
        self, enrolment: Enrolment, behaviour: Behaviour | None = None, *, window_s: float = 0.2, seed: int = 0
    ) -> None:
        self.id = enrolment.device_id
        self.behaviour = behaviour or Behaviour()
        self.release: ReleaseRef | None = None
        self.known_bad: list[ReleaseRef] = []
        self.done: dict[str, UpdateState] = {}
        self._window_s = window_s
        self._boot = uuid.uuid4().hex
        self._sequence = 0
        self._random = random.Random(f"{self.id}-{seed}")
        self._stopping = threading.Event()
        self._wanted: list[Desired] = []
        self._wake = threading.Event()
        mqtt = enrolment.answer["mqtt"]
        self._client = Client(CallbackAPIVersion.VERSION2, self.id, protocol=MQTTProtocolVersion.MQTTv5)
        if mqtt["username"]:
            self._client.username_pw_set(mqtt["username"], mqtt["password"])
        self._client.will_set(self._topic(topics.STATUS), encode(self._status("offline")), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 2)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client.connect_async(mqtt["host"], mqtt["port"], clean_start=False, properties=session)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._measure, self._update)]

    def start(self) -> FakeDevice:
        """Connect and begin to measure."""
        self._client.loop_start()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Leave without a word, as a device without power would; the broker tells its will."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()
        self._client.loop_stop()
        if self._client.socket() is not None:
            self._client.socket().close()

    def send(self, channel: str, payload: bytes) -> None:
        """Publish any bytes on one of its own channels."""
        self._client.publish(self._topic(channel), payload, qos=1)

    def event(self, kind: str, message: str, severity: str = "warning") -> None:
        """Tell of something."""
        self._say(
            topics.EVENT,
            Event(event_id=uuid.uuid4().hex, at=time.time(), kind=kind, severity=severity, message=message),
        )

    def window(self) -> Window:
        """One telemetry window of what it would measure now."""
        version = self.release.version if self.release else ""
        figures = self.behaviour.figures.get(version, Figures())
        noise = self._random.uniform(0.97, 1.03)
        frames = max(1, round(figures.fps * self._window_s))
        detections = frames * figures.faces
        latency = figures.latency_ms * noise
        self._sequence += 1
        now = time.time()
        energy = figures.power_w * noise * self._window_s
        return Window(
            window_id=f"{self._boot[:12]}-{self._sequence}",
            sequence=self._sequence,
            boot_id=self._boot,
            started_at=now - self._window_s,
            ended_at=now,
            release=self.release,
            precision="int8",
            frames=frames,
            fps=figures.fps * noise,
            latency_ms={
                "infer": Percentiles(p50=latency * 0.7, p95=latency * 0.8, p99=latency * 0.9),
                "total": Percentiles(p50=latency * 0.9, p95=latency, p99=latency * 1.1),
            },
            power=Power(
                source="replay",
                total_w=figures.power_w * noise,
                energy_j=energy,
                energy_per_inference_j=energy / frames,
            ),
            temperature_c={"cpu": 48.0 + noise, "gpu": 46.5},
            detections=detections,
            expressions={name: detections // len(EXPRESSIONS) + (name == "neutral") * 3 for name in EXPRESSIONS},
            confidence_mean=min(1.0, figures.confidence * noise) if detections else None,
        )

    def _topic(self, channel: str) -> str:
        return topics.topic(self.id, channel)

    def _say(self, channel: str, message: Message, *, retain: bool = False) -> None:
        self._client.publish(self._topic(channel), encode(message), qos=1, retain=retain)

    def _status(self, state: Any) -> Status:
        return Status(state=state, boot_id=self._boot, agent_version="fake", at=time.time())

    def _twin(self) -> Twin:
        return Twin(
            facts=FACTS,
            hardware_class=FACTS.hardware_class(),
            active=self.release,
            precision="int8" if self.release else None,
            runtime="onnxruntime" if self.release else None,
            known_bad=tuple(self.known_bad),
            power_source="replay",
            at=time.time(),
        )

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic(topics.DESIRED), qos=1)
        self._say(topics.STATUS, self._status("online"), retain=True)
        self._say(topics.TWIN, self._twin(), retain=True)

    def _on_message(self, _client: Client, _data: Any, message: Any) -> None:
        if message.payload:
            self._wanted.append(Desired.model_validate_json(message.payload))
            self._wake.set()

    def _measure(self) -> None:
        while not self._stopping.wait(self._window_s):
            self._say(topics.WINDOW, self.window())

    def _update(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._wanted and not self._stopping.is_set():
                desired = self._wanted.pop(0)
                if not self.behaviour.deaf and desired.deployment_id not in self.done:
                    self._carry_out(desired)

    def _carry_out(self, desired: Desired) -> None:
        sequence = iter(range(1, 100))

        def report(state: UpdateState, **more: Any) -> None:
            self._say(
                topics.UPDATE,
                UpdateReport(
                    deployment_id=desired.deployment_id,
                    release=desired.release,
                    sequence=next(sequence),
                    state=state,
                    at=time.time(),
                    **more,
                ),
            )

        if desired.release in self.known_bad:
            report(UpdateState.REJECTED, error_code="known_bad", message="taken back before")
            self.done[desired.deployment_id] = UpdateState.REJECTED
            return
        for state in STEPS if not desired.rollback else ():
            report(state, percent=50.0)
            if self._stopping.wait(self.behaviour.step_s):
                return
        report(UpdateState.PROBING)
        end = UpdateState.COMMITTED
        if desired.release.version in self.behaviour.probe_fails:
            self.known_bad.append(desired.release)
            report(UpdateState.ROLLING_BACK)
            end = UpdateState.ROLLED_BACK
        else:
            self.release = desired.release
        self._say(topics.TWIN, self._twin(), retain=True)
        message = "agreement with the reference 0.31, at least 0.95 wanted" if end is UpdateState.ROLLED_BACK else None
        report(end, error_code="probe_failed" if message else None, message=message)
        self.done[desired.deployment_id] = end


def wait_until(question: Callable[[], bool], *, what: str, timeout_s: float = 20.0) -> None:
    """Wait until something is so; fails with ``what`` when it does not become so."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if question():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s:.0f} s in vain: {what}")
