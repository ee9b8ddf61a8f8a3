"""Writes a Mosquitto configuration for a site: TLS with client certificates, each device in its own subtree.

A device's name is the CN of its certificate (``use_identity_as_username``), and the access rules are built from that
name, so no device reads or writes for another. The broker's and the service's certificates come from the fleet's own
authority. See mosquitto.conf(5).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleet.identity.ca import Authority
from mien.files import write_bytes, write_text
from mien.topics import COMMAND, DESIRED, FROM_DEVICE, ROOT

SERVICE_NAME = "mien-fleet"
_SESSIONS_KEPT = "7d"
_CONFIG = """\
# Mosquitto (2.0) for a fleet of mien. Give this folder to the user that the broker runs as (chown -R mosquitto), then
# start it with: mosquitto -c {folder}/mosquitto.conf
# It listens to TLS only and takes only clients with a certificate of this fleet's authority; the name in the
# certificate is the user name. Revoked devices are refused by the fleet service; to shut one out of the broker too,
# list its certificate in a crlfile.
per_listener_settings false
listener {port}
protocol mqtt
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {folder}/acl

# Messages survive a restart of the broker; sessions of devices are kept for {kept}.
persistence true
persistence_location {folder}/data/
autosave_interval 60
persistent_client_expiration {kept}

# Bounds: the largest message of mien, what waits for one client, and how much is under way.
max_packet_size 270000
max_queued_messages 10000
max_inflight_messages 100
max_keepalive 600
"""


def write_configuration(folder: Path, authority: Authority, *, hosts: Sequence[str], port: int) -> list[Path]:
    """Write configuration, access rules, and certificates for the broker and the fleet service.

    Args:
        folder: where; the configuration names it by its absolute path.
        authority: the fleet's.
        hosts: names and addresses under which the broker is reached.
        port: where it listens.

    Returns:
        The files that were written.
    """
    place = folder.resolve()
    server, server_key = authority.issue_party("mien-broker", hosts)
    service, service_key = authority.issue_party(SERVICE_NAME, ())
    (place / "data").mkdir(parents=True, exist_ok=True)
    write_text(place / "mosquitto.conf", _CONFIG.format(folder=place, port=port, kept=_SESSIONS_KEPT))
    write_text(place / "acl", access_rules())
    write_text(place / "ca.pem", authority.pem)
    write_text(place / "server.pem", server.pem)
    write_bytes(place / "server.key", server_key, mode=0o600)
    write_text(place / "fleet.pem", service.pem)
    write_bytes(place / "fleet.key", service_key, mode=0o600)
    names = ("mosquitto.conf", "acl", "ca.pem", "server.pem", "server.key", "fleet.pem", "fleet.key")
    return [place / name for name in names]


def access_rules() -> str:
    """The access rules: the service everywhere under the root, a device only where it has something to say or read."""
    lines = [
        "# The fleet service reads and writes for all devices; the broker fills in a device's name for %u.",
        f"user {SERVICE_NAME}",
        f"topic readwrite {ROOT}/#",
        "",
        *(f"pattern write {ROOT}/%u/{channel}" for channel in FROM_DEVICE),
        f"pattern read {ROOT}/%u/{DESIRED}",
        f"pattern readwrite {ROOT}/%u/{COMMAND}/#",
    ]
    return "\n".join(lines) + "\n"
