"""Connections of many devices in one loop: TCP and TLS without waiting, then paho on the finished socket.

paho's client is what real devices use; here it is driven by an outer loop, as its documentation describes, and is
handed a socket whose handshake is done. Measured: a client takes 4 KB and is made in 7 µs, a TLS context 13 KB besides
its certificates (docs/adr/0021-simulated-devices.md).
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet.simulator.identities import Identity
from fleet.simulator.interface import Say
from mien import topics

_KEEPALIVE_S = 30
_SESSION_EXPIRY_S = 3600
_MOST_WAITING = 2000
"""Messages of a device that is cut off; later ones are given up."""
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class LinkEvents(Protocol):
    """Who hears of a connection."""

    def connected(self) -> None:
        """The broker accepted the device."""

    def received(self, payload: bytes) -> None:
        """``desired`` arrived."""

    def lost(self, why: str) -> None:
        """The connection is gone, or could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is, and who it must prove to be."""

    host: str
    port: int
    tls: bool
    ca: str | None = None
    username: str | None = None
    password: str | None = None


class Link:
    """One device's connection.

    Args:
        identity: the device's name and certificate.
        broker: where.
        will: what the broker says when the device vanishes.
        selector: the loop's.
        events: who hears of it.
    """

    def __init__(
        self,
        identity: Identity,
        broker: BrokerAddress,
        will: bytes,
        *,
        selector: selectors.BaseSelector,
        events: LinkEvents,
    ) -> None:
        self._identity, self._broker, self._selector, self._events = identity, broker, selector, events
        self._context: ssl.SSLContext | None = None
        self._socket: socket.socket | None = None
        self._watched = 0
        self._step: Callable[[], None] = self._serve
        self.denied = 0
        """Publications and subscriptions that the broker refused."""
        self._client = _Handed(identity.device_id)
        self._client.will_set(topics.topic(identity.device_id, topics.STATUS), will, qos=1, retain=True)
        self._client.max_queued_messages_set(_MOST_WAITING)
        if broker.username is not None:
            self._client.username_pw_set(broker.username, broker.password)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_EXPIRY_S
        self._client.connect_async(broker.host, broker.port, _KEEPALIVE_S, clean_start=False, properties=session)

    @property
    def is_open(self) -> bool:
        """Whether the broker has accepted the device."""
        return self._socket is not None and bool(self._client.is_connected())

    def open(self) -> None:
        """Begin to connect."""
        self._socket = socket.socket(socket.AF_INET6 if ":" in self._broker.host else socket.AF_INET)
        self._socket.setblocking(False)
        self._step = self._reach
        try:
            self._socket.connect((self._broker.host, self._broker.port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._give_up(str(error))
            return
        self._watch(_WRITE)

    def say(self, says: tuple[Say, ...]) -> None:
        """Publish with QoS 1; what is not confirmed is sent again after a reconnection."""
        for one in says:
            self._client.publish(
                topics.topic(self._identity.device_id, one.channel), one.payload, qos=1, retain=one.retain
            )
        self._settle()

    def ready(self) -> None:
        """The selector says that the socket can be read or written."""
        self._step()

    def keep_alive(self) -> None:
        """Ping where it is due; to be called every few seconds."""
        if self._socket is not None and self._step == self._serve:
            self._client.loop_misc()
            self._settle()

    def close(self, *, politely: bool) -> None:
        """End the connection; without a word, the broker tells the device's will."""
        if self._socket is None:
            return
        if politely and self.is_open:
            self._client.disconnect()
            self._client.loop_write()
        self._forget()

    def _reach(self) -> None:
        fault = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if self._socket else 0
        if self._socket is None or fault:
            self._give_up(f"error {fault} when connecting")
            return
        if self._broker.tls:
            wrapped = self._secure().wrap_socket(
                self._socket, server_hostname=self._broker.host, do_handshake_on_connect=False
            )
            self._unwatch()
            self._socket = wrapped
            self._step = self._shake
            self._watch(_READ | _WRITE)
            self._shake()
        else:
            self._hand_over()

    def _shake(self) -> None:
        try:
            self._socket.do_handshake()  # type: ignore[union-attr]
        except ssl.SSLWantReadError:
            self._watch(_READ)
        except ssl.SSLWantWriteError:
            self._watch(_WRITE)
        except OSError as error:
            self._give_up(f"TLS: {error}")
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """From here on the socket is paho's."""
        self._step = self._serve
        self._client.handed = self._socket
        try:
            self._client.reconnect()
        except OSError as error:
            self._give_up(str(error))
            return
        self._settle()

    def _serve(self) -> None:
        while self._socket is not None:
            if self._client.loop_read() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._forget()
                return
            if not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
                break
        self._settle()

    def _settle(self) -> None:
        """Write what waits, and watch for what is left."""
        if self._socket is None or self._step != self._serve:
            return
        if self._client.want_write() and self._client.loop_write() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._forget()
            return
        if self._socket is not None:
            self._watch(_READ | (_WRITE if self._client.want_write() else 0))

    def _secure(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.load_verify_locations(cadata=self._broker.ca)
            self._context.load_cert_chain(self._identity.file)
        return self._context

    def _watch(self, events: int) -> None:
        if self._socket is None or events == self._watched:
            return
        if self._watched:
            self._selector.modify(self._socket, events, self)
        else:
            self._selector.register(self._socket, events, self)
        self._watched = events

    def _unwatch(self) -> None:
        if self._socket is not None and self._watched:
            self._selector.unregister(self._socket)
        self._watched = 0

    def _give_up(self, why: str) -> None:
        self._forget()
        self._events.lost(why)

    def _forget(self) -> None:
        """Let the socket go. paho may have closed it already; the selector knows it by its object still."""
        held, self._socket = self._socket, None
        if held is None:
            return
        if self._watched:
            self._selector.unregister(held)
        self._watched = 0
        held.close()

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            return  # the disconnection that follows tells it
        client.subscribe(
            [
                (topics.topic(self._identity.device_id, topics.DESIRED), 1),
                (topics.topic(self._identity.device_id, topics.COMMAND, "#"), 1),
            ]
        )
        self._events.connected()

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        self._forget()
        self._events.lost(str(reason))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        address = topics.parse(message.topic)
        if address is not None and address.channel == topics.DESIRED:
            self._events.received(bytes(message.payload))

    def _on_publish(self, _client: Client, _data: Any, _ticket: int, reason: ReasonCode, _properties: Any) -> None:  # noqa: ANN401
        self.denied += reason.is_failure


class _Handed(Client):
    """paho's client on sockets that it is handed."""

    handed: Any = None

    def __init__(self, device_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, device_id, protocol=MQTTProtocolVersion.MQTTv5)

    def _create_socket(self) -> Any:  # noqa: ANN401 - paho's socket-like
        return self.handed
