"""The bus for streams over MQTT 5 with paho: requests by a shared subscription, blocks with QoS 1 and an end.

A block that the broker has not confirmed keeps a place; there are few, so a broker that is slow or away holds up the
streams and nothing else.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet.broker.interface import BrokerAccess
from mien.topics import STREAM_GET, all_devices

_log = logging.getLogger(__name__)

_KEEPALIVE_S = 30
_PLACES = 32
_WAITED_S = 0.5
_BLOCK_EXPIRES_S = 900
"""A broker keeps a block for a device that went away for so long."""


class MqttStreamBus:
    """One connection to the broker, for streams alone.

    Args:
        access: where, and as whom.
        client_id: other than that of the service's own connection.
        group: of all processes that share it, one gets a request.
    """

    def __init__(self, access: BrokerAccess, client_id: str, group: str) -> None:
        self._access, self._group = access, group
        self._received: Callable[[str, bytes], None] = lambda *_: None
        self._under_way: list[MQTTMessageInfo] = []
        self._freed = threading.Event()
        self._stopping = threading.Event()
        self._expiry = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self._expiry.MessageExpiryInterval = _BLOCK_EXPIRES_S
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(_PLACES)
        if access.username is not None:
            self._client.username_pw_set(access.username, access.password)
        if access.tls:
            self._client.tls_set(_text(access.ca), _text(access.client_cert), _text(access.client_key))
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_socket_open = _send_at_once

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us."""
        return bool(self._client.is_connected())

    def start(self, received: Callable[[str, bytes], None]) -> None:
        """Begin connecting; reconnects by itself."""
        self._received = received
        self._client.connect_async(self._access.host, self._access.port, keepalive=_KEEPALIVE_S, clean_start=True)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; waits for the thread."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, payload: bytes) -> bool:
        """Send a block once the broker is there and there is a place for it; false at the end."""
        while not self._stopping.is_set():
            self._under_way = [info for info in self._under_way if not _is_done(info)]
            if self.is_connected and len(self._under_way) < _PLACES:
                self._under_way.append(self._client.publish(topic, payload, qos=1, properties=self._expiry))
                return True
            self._freed.wait(_WAITED_S)
            self._freed.clear()
        return False

    def tell(self, topic: str, payload: bytes) -> None:
        """Send a refusal, or not."""
        self._client.publish(topic, payload, qos=0)

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            _log.error("the broker refused the fleet's streams: %s", reason)
            return
        client.subscribe(f"$share/{self._group}/{all_devices(STREAM_GET)}", qos=0)
        self._freed.set()

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            _log.warning("streams: the broker is gone (%s); connecting again", reason)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        try:
            self._received(message.topic, bytes(message.payload))
        except Exception:  # noqa: BLE001 - supervisor: paho's thread would end with a fault of ours
            _log.exception("streams: a request failed; the next one follows")

    def _on_publish(self, _client: Client, _data: Any, _mid: int, _reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        self._freed.set()


def _send_at_once(_client: Client, _data: Any, opened: Any) -> None:  # noqa: ANN401
    """No waiting for company: the end of a block would be held back by 40 ms."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_done(info: MQTTMessageInfo) -> bool:
    """Whether the broker has a block, or never will: the device asks again."""
    try:
        return bool(info.is_published())
    except (ValueError, RuntimeError):
        return True


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
