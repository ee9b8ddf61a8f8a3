"""A broker that the site runs: Mosquitto, EMQX or any other of MQTT 5. The service only connects to it."""

from __future__ import annotations

import socket

from fleet.broker.interface import BrokerAccess
from fleet.config import MqttSettings
from mien.errors import ConfigError, UnavailableError

_TIMEOUT_S = 5.0


class ExternalBroker:
    """Addresses of a running broker.

    Args:
        settings: the ``mqtt`` section.

    Raises:
        ConfigError: the password file cannot be read.
    """

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._password = _read(settings)

    def start(self) -> None:
        """Check that something listens there.

        Raises:
            UnavailableError: nothing does.
        """
        where = (self._settings.host, self._settings.port)
        try:
            socket.create_connection(where, timeout=_TIMEOUT_S).close()
        except OSError as error:
            raise UnavailableError(
                f"no broker answers at {where[0]}:{where[1]}",
                found=error.strerror or str(error),
                remedy="start the broker, or correct mqtt.host and mqtt.port; 'mien fleet broker config' writes one",
            ) from error

    def stop(self) -> None:
        """Nothing to end: the broker is the site's."""

    @property
    def for_service(self) -> BrokerAccess:
        """How the fleet service connects."""
        given = self._settings
        return BrokerAccess(
            host=given.host,
            port=given.port,
            tls=given.tls,
            username=given.username,
            password=self._password,
            ca=given.ca,
            client_cert=given.client_cert,
            client_key=given.client_key,
        )

    @property
    def for_devices(self) -> BrokerAccess:
        """What devices are told: over TLS their certificate is their name, so there is no password to tell.

        Without TLS (a broker on this machine) they use what the service uses.
        """
        given = self._settings
        if given.tls:
            return BrokerAccess(host=given.host, port=given.port, tls=True)
        return BrokerAccess(host=given.host, port=given.port, username=given.username, password=self._password)


def _read(settings: MqttSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text().strip()
    except OSError as error:
        raise ConfigError("could not read mqtt.password_file", found=str(error)) from error
