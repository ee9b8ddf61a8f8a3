"""Tries the broker step by step: TCP, TLS, an MQTT session under a name of its own, which disturbs no running agent."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.doctor.seen import BrokerSeen
from edge.transport.interface import BrokerAddress, TlsFiles

_STEP_S = 5.0


def reach(device_id: str, broker: BrokerAddress, files: TlsFiles) -> BrokerSeen:
    """How far a connection comes; nothing is published and no session is left behind."""
    address = f"{broker.host}:{broker.port}"
    failed_at = "tcp"
    try:
        with socket.create_connection((broker.host, broker.port), timeout=_STEP_S) as plain:
            failed_at = "tls"
            if broker.tls:
                with _context(files).wrap_socket(plain, server_hostname=broker.host):
                    pass
        failed_at = "session"
        refusal = _session(f"{device_id}-doctor", broker, files)
    except OSError as error:
        return BrokerSeen(address=address, failed_at=failed_at, error=error.strerror or str(error))
    return BrokerSeen(address=address, failed_at="session" if refusal else "", error=refusal)


def _session(name: str, broker: BrokerAddress, files: TlsFiles) -> str:
    answered, answers = threading.Event(), [f"no answer within {_STEP_S:.0f} s"]

    def on_connect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        answers.append(str(reason) if reason.is_failure else "")
        answered.set()

    def on_disconnect(_client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        if not answered.is_set():
            answers.append(f"the connection ended: {reason}")
            answered.set()

    client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect, client.on_disconnect = on_connect, on_disconnect
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls:
        client.tls_set_context(_context(files))
    client.connect(broker.host, broker.port, keepalive=10, clean_start=True)
    client.loop_start()
    try:
        answered.wait(_STEP_S)
        return answers[-1]
    finally:
        client.disconnect()
        client.loop_stop()


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=Path(files.ca))
    context.load_cert_chain(files.certificate, files.key)
    return context
