"""A broker for a demo on one machine: iotcore (rumqttd) as a child process, MQTT 5 on loopback, by password.

It keeps nothing on the disk and knows no access rules between devices, so it is no broker for a site; the service says
so when it starts. The child ends with its parent, however that ends.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fleet.broker.interface import BrokerAccess
from fleet.paths import DataFolder
from mien.errors import UnavailableError
from mien.files import write_text

_log = logging.getLogger(__name__)

_SERVICE, _DEVICES = "mien-fleet", "mien-device"
_CONFIG = """\
id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[v5.1]
name = "mqtt5"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 100
[v5.1.connections.auth]
{auth}
"""


class EmbeddedBroker:
    """Starts and ends the child process.

    Args:
        data: where its configuration and passwords are kept (0600).
        host: a loopback address.
        port: where it listens.
    """

    def __init__(self, data: DataFolder, host: str, port: int) -> None:
        self._folder = data.broker
        self._host, self._port = host, port
        self._passwords = {name: self._password(name) for name in (_SERVICE, _DEVICES)}
        self._child: Any = None

    def start(self) -> None:
        """Start the child and wait until it accepts connections.

        Raises:
            UnavailableError: the port is taken, or the child ended.
        """
        from iotcore import Broker

        config = self._folder / "rumqttd.toml"
        auth = "\n".join(f'"{name}" = "{password}"' for name, password in self._passwords.items())
        write_text(config, _CONFIG.format(host=self._host, port=self._port, auth=auth), mode=0o600)
        try:
            self._child = Broker(config_path=str(config)).start()
        except (OSError, RuntimeError) as error:
            raise UnavailableError(
                f"the embedded broker did not start on {self._host}:{self._port}",
                found=str(error),
                remedy="choose a free port with --mqtt-port",
            ) from error
        _log.warning("embedded broker on %s:%d: for a demo only; a site runs Mosquitto", self._host, self._port)

    def stop(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    @property
    def for_service(self) -> BrokerAccess:
        """How the fleet service connects."""
        return self._access(_SERVICE)

    @property
    def for_devices(self) -> BrokerAccess:
        """What devices are told."""
        return self._access(_DEVICES)

    def _access(self, name: str) -> BrokerAccess:
        return BrokerAccess(host=self._host, port=self._port, username=name, password=self._passwords[name])

    def _password(self, name: str) -> str:
        path = self._folder / f"{name}.password"
        if not path.exists():
            write_text(path, secrets.token_urlsafe(24), mode=0o600)
        return path.read_text().strip()
