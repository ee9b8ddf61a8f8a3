"""MQTT 5 with paho: session kept over reconnects, last will, reconnection with growing pauses and jitter.

paho's thread would end with an error raised in a callback, or by an address that is none: here neither ends it.
"""

from __future__ import annotations

import logging
import random
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.supervisor import Supervisor, Tell
from edge.transport.interface import BrokerAddress, LinkEvents, TlsFiles

_log = logging.getLogger(__name__)

_KEEPALIVE_S = 30
_SESSION_EXPIRY_S = 3600
_LONGEST_PAUSE_S = 60
_PAUSE_AFTER_FAULT_S = 1.0
_NOBODY_LISTENS = 0x10
"""MQTT 5, 3.4.2.1: "no matching subscribers": the broker took the message, and nobody will ever get it."""


class MqttLink:
    """One device's connection.

    Args:
        client_id: the device id.
        address: the broker.
        tls: files for mutual TLS; used when the address says TLS.
        will: topic and payload which the broker publishes, retained, when the device vanishes.
        tell: takes an event when something unforeseen went wrong; the thread goes on.
    """

    def __init__(
        self,
        client_id: str,
        address: BrokerAddress,
        *,
        tls: TlsFiles | None,
        will: tuple[str, bytes],
        tell: Tell | None = None,
    ) -> None:
        self._events: LinkEvents | None = None
        self._refusals = 0
        self._was_accepted = False
        self._closing = threading.Event()
        self._supervisor = Supervisor("broker", tell)
        self._client = _SteadyClient(client_id, self._supervisor, begin_anew=self._begin_anew)
        self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._tls = tls if address.tls else None
        self._context = ssl.create_default_context(cafile=str(tls.ca)) if address.tls and tls is not None else None
        if self._context is not None:
            self._client.tls_set_context(self._context)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_socket_open = _send_at_once
        self._pause_anew()
        self.readdress(address)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us."""
        return bool(self._client.is_connected())

    def start(self, events: LinkEvents) -> None:
        """Begin connecting."""
        self._events = events
        self._client.loop_start()

    def subscribe(self, topic: str) -> None:
        """Ask for a topic, QoS 1."""
        self._client.subscribe(topic, qos=1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send with QoS 1; paho sends it again by itself after a reconnection."""
        return int(self._client.publish(topic, payload, qos=1, retain=retain).mid)

    def send(self, topic: str, payload: bytes) -> None:
        """Send with QoS 0; without a connection it is thrown away."""
        self._client.publish(topic, payload, qos=0)

    def readdress(self, address: BrokerAddress) -> None:
        """Use another address or password, and a certificate that was renewed, from the next connection on."""
        if self._context is not None and self._tls is not None:
            self._context.load_cert_chain(self._tls.certificate, self._tls.key)
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        self._address = address
        self._connect()

    def close(self) -> None:
        """Disconnect; waits for the thread."""
        self._closing.set()
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_EXPIRY_S
        self._client.connect_async(
            self._address.host, self._address.port, keepalive=_KEEPALIVE_S, clean_start=False, properties=session
        )

    def _begin_anew(self) -> bool:
        if self._closing.wait(_PAUSE_AFTER_FAULT_S):
            return False
        self._connect()
        return True

    def _told(self, work: Callable[[LinkEvents], None]) -> None:
        events = self._events
        if events is not None:
            self._supervisor.guarded(lambda: work(events))

    def _pause_anew(self) -> None:
        self._client.reconnect_delay_set(random.uniform(0.5, 1.5), _LONGEST_PAUSE_S)  # type: ignore[arg-type]  # noqa: S311

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            return  # the disconnection that follows counts it
        self._was_accepted, self._refusals = True, 0
        self._pause_anew()
        self._told(lambda events: events.connected())

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        accepted, self._was_accepted = self._was_accepted, False
        if self._closing.is_set():
            return
        if accepted:
            _log.warning("the broker is gone (%s); connecting again", reason)
            return
        self._refusals += 1
        self._told(lambda events: events.refused(self._refusals, str(reason)))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        self._told(lambda events: events.received(message.topic, bytes(message.payload)))

    def _on_publish(self, _client: Client, _data: Any, ticket: int, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        accepted = not reason.is_failure and reason.value != _NOBODY_LISTENS
        self._told(lambda events: events.acknowledged(ticket, accepted=accepted))


def _send_at_once(_client: Client, _data: Any, opened: Any) -> None:  # noqa: ANN401
    """No waiting for company: a short request behind a short acknowledgement would be held back by 40 ms."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _SteadyClient(Client):
    """paho's client, whose network loop begins anew with another connection after a fault.

    Args:
        client_id: the device id.
        supervisor: guards the loop.
        begin_anew: called after a fault; false when it shall end.
    """

    def __init__(self, client_id: str, supervisor: Supervisor, *, begin_anew: Callable[[], bool]) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._supervisor = supervisor
        self._begin_anew = begin_anew

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Serve the connection until it is ended on purpose."""
        ended = MQTTErrorCode.MQTT_ERR_SUCCESS

        def serve() -> None:
            nonlocal ended
            ended = super(_SteadyClient, self).loop_forever(timeout, retry_first_connection)

        while not self._supervisor.guarded(serve) and self._begin_anew():
            pass
        return ended
