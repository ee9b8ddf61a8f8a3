"""The message bus over MQTT 5 with paho: a session that outlives connections, acknowledgements after storing.

Telemetry and events may be shared by several processes, in any order. What tells a device's state goes to one of them,
number 1, the service itself: its order counts, and a broker gives retained messages to no shared subscription.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet.broker.interface import BrokerAccess
from fleet.ingest.interface import BusEvents, Incoming
from fleet.ingest.quick_client import QuickClient
from mien.topics import EVENT, FROM_DEVICE, WINDOW, all_devices

_log = logging.getLogger(__name__)

CLIENT_ID = "mien-fleet"
_KEEPALIVE_S = 30
_SESSION_EXPIRY_S = 24 * 3600
_MOST_UNACKNOWLEDGED = 12_000
_MOST_UNDER_WAY = 100
"""Orders that the broker has not confirmed yet; no more than it takes, see max_inflight_messages in its settings."""
_TICKETS = 1 << 16
"""Packet identifiers have 16 bits; the part above tells connections apart."""


class MqttBus:
    """One connection to the broker.

    Args:
        access: where, and as whom.
        worker: the number of this process among those that ingest.
        group: the secret name under which telemetry and events are shared with others
            (:mod:`fleet.broker.secret_group`); needed beyond the first. ``None``: all of them come here.
    """

    def __init__(self, access: BrokerAccess, *, worker: int = 1, group: str | None = None) -> None:
        self._access = access
        self._wanted, self._unwanted = subscriptions(worker, group=group)
        self._events: BusEvents | None = None
        self._connection = 0
        self._client = QuickClient(
            CallbackAPIVersion.VERSION2,
            CLIENT_ID if worker == 1 else f"{CLIENT_ID}-{worker}",
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
            quick=self._on_plain_message,
        )
        if access.username is not None:
            self._client.username_pw_set(access.username, access.password)
        if access.tls:
            self._client.tls_set(_text(access.ca), _text(access.client_cert), _text(access.client_key))
        self._client.reconnect_delay_set(1, 30)
        self._client.max_inflight_messages_set(_MOST_UNDER_WAY)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us."""
        return bool(self._client.is_connected())

    def start(self, events: BusEvents) -> None:
        """Begin connecting; reconnects by itself."""
        self._events = events
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_EXPIRY_S
        session.ReceiveMaximum = _MOST_UNACKNOWLEDGED
        self._client.connect_async(
            self._access.host, self._access.port, keepalive=_KEEPALIVE_S, clean_start=False, properties=session
        )
        self._client.loop_start()

    def leave(self) -> None:
        """Ask for nothing more; what the broker has for this session already still comes."""
        self._client.unsubscribe(list(self._wanted))

    def stop(self, *, forget: bool = False) -> None:
        """Disconnect; waits for the thread.

        Args:
            forget: have the broker end the session too, with all that waits in it.
        """
        last = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        if forget:
            last.SessionExpiryInterval = 0
        self._client.disconnect(properties=last)
        self._client.loop_stop()

    def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """Send PUBACK for stored messages; those of an earlier connection are sent again by the broker anyway."""
        first = self._connection * _TICKETS
        packets = [message.ticket - first for message in messages if message.qos > 0 and message.ticket >= first]
        if packets:
            self._client.acknowledge(packets)

    def publish_retained(self, messages: Sequence[tuple[str, bytes]], *, timeout_s: float) -> list[bool]:
        """Publish all, then wait for the broker's confirmations."""
        if not self.is_connected:
            return [False] * len(messages)
        sent = [self._client.publish(topic, payload, qos=1, retain=True) for topic, payload in messages]
        end = time.monotonic() + timeout_s
        return [_is_confirmed(one, end) for one in sent]

    def _on_connect(self, client: Client, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            _log.error("the broker refused the fleet service: %s", reason)
            return
        self._connection += 1
        client.subscribe([(name, 1) for name in self._wanted])
        if self._unwanted and flags.session_present:
            client.unsubscribe(list(self._unwanted))  # the session may be of other settings
        if self._events is not None:
            self._events.connected(fresh=not flags.session_present)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            _log.warning("the broker is gone (%s); connecting again", reason)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        if self._events is not None:
            ticket = self._connection * _TICKETS + message.mid
            self._events.received(
                Incoming(topic=message.topic, payload=bytes(message.payload), ticket=ticket, qos=message.qos)
            )

    def _on_plain_message(self, topic: str, payload: bytes, packet: int) -> None:
        if self._events is not None:
            ticket = self._connection * _TICKETS + packet
            self._events.received(Incoming(topic=topic, payload=payload, ticket=ticket, qos=1))


def _is_confirmed(sent: MQTTMessageInfo, end: float) -> bool:
    try:
        sent.wait_for_publish(max(0.0, end - time.monotonic()))
    except (ValueError, RuntimeError):
        return False
    return bool(sent.is_published())


def subscriptions(worker: int, *, group: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a process subscribes to, and what it may have subscribed to under other settings."""
    plain = tuple(all_devices(channel) for channel in FROM_DEVICE)
    bulk = tuple(all_devices(channel) for channel in (WINDOW, EVENT))
    if group is None:
        return plain, ()
    in_turns = tuple(f"$share/{group}/{name}" for name in bulk)
    if worker > 1:
        return in_turns, ()
    return (*(name for name in plain if name not in bulk), *in_turns), bulk


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
