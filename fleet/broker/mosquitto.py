"""Writes a Mosquitto configuration for a site: TLS with client certificates, each device in its own subtree.

A device's name is the CN of its certificate. Mosquitto takes it as user name, from which the access rules are built,
and as client id, so that no device reads or writes for another, or takes over another's session. The broker's and the
service's certificates come from the fleet's own authority. See mosquitto.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.identity.ca import Authority
from mien.errors import ConfigError
from mien.files import write_bytes, write_text
from mien.topics import COMMAND, DESIRED, FROM_DEVICE, ROOT, STREAM_DATA, STREAM_GET, all_devices

SERVICE_NAME = "mien.fleet"
"""Has a dot, which no device's name can have: no device may be taken for the service."""
MOST_WORKERS = 16
_SESSIONS_KEPT = "7d"
_CONFIG = """\
# Mosquitto (2.0) for a fleet of mien; docs/runbooks/broker.md says who must own what. Start it with:
# mosquitto -c {folder}/mosquitto.conf
# It listens to TLS only and takes only clients with a certificate of this fleet's authority. The name in the
# certificate is user name and client id. Revoked certificates stand in live/crl.pem, revoked devices in live/acl; both
# are read anew at SIGHUP.
per_listener_settings false
listener {port}{address}
protocol mqtt
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
crlfile {folder}/live/crl.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {folder}/live/acl

# All that is retained or waits is written every few seconds, so it survives a broker that is killed, but for the last
# of these seconds; the fleet service and the devices say again what counts when they are back. Saving at every change
# (autosave_on_changes) would cost the broker nearly all of its speed. Sessions of devices are kept for {kept}.
persistence true
persistence_location {folder}/data/
autosave_interval {autosave_s}
persistent_client_expiration {kept}
pid_file {folder}/data/mosquitto.pid

# Bounds: how many may connect, the largest message of mien, what waits for one client, how much is under way.
max_connections {connections}
max_packet_size 270000
max_queued_messages 100000
max_queued_bytes 67108864
max_inflight_messages 100
max_keepalive 600
max_topic_alias 10
allow_zero_length_clientid false
set_tcp_nodelay true

log_type error
log_type warning
log_type notice
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteBroker:
    """How a site's broker is reached, and what it bears.

    Raises:
        ConfigError: a number out of its range.
    """

    hosts: Sequence[str]
    """Names and addresses under which devices and the service reach it."""
    port: int = 8883
    bind: str | None = None
    """The address to listen on; ``None``: all."""
    connections: int = 12_000
    workers: int = 1
    """How many processes of the service connect, each under a name of its own."""
    autosave_s: int = 5

    def __post_init__(self) -> None:
        """Refuse what Mosquitto or the access rules could not keep."""
        bounds = {
            "--port": (self.port, 1, 65535),
            "--max-connections": (self.connections, 1, 1_000_000),
            "--workers": (self.workers, 1, MOST_WORKERS),
            "--autosave": (self.autosave_s, 1, 3600),
        }
        faults = tuple(
            f"{name} {n}: from {low} to {high}" for name, (n, low, high) in bounds.items() if not low <= n <= high
        )
        if faults:
            raise ConfigError("the broker's configuration cannot be written", faults=faults)


def write_configuration(folder: Path, authority: Authority, site: SiteBroker, *, empty_list: str) -> list[Path]:
    """Write configuration, access rules, and certificates for the broker and the fleet service.

    Lists of revocations that stand there already, signed by the same authority, are kept.

    Args:
        folder: where; the configuration names it by its absolute path.
        authority: the fleet's.
        site: how the broker is reached.
        empty_list: a revocation list without entries, PEM.

    Returns:
        The files that were written.
    """
    place = folder.resolve()
    (place / "data").mkdir(parents=True, exist_ok=True)
    address = f" {site.bind}" if site.bind else ""
    written = [place / "mosquitto.conf", place / "ca.pem"]
    write_text(
        written[0],
        _CONFIG.format(
            folder=place,
            port=site.port,
            address=address,
            kept=_SESSIONS_KEPT,
            autosave_s=site.autosave_s,
            connections=site.connections,
        ),
    )
    write_text(written[1], authority.pem)
    written += _party(place, "server", authority, "mien-broker", site.hosts)
    for number in range(1, site.workers + 1):
        written += _party(place, worker_file(number), authority, worker_name(number), ())
    return written + _lists(place / "live", authority, empty_list)


def worker_name(number: int) -> str:
    """The name of the service's first, second … process, as its certificate bears it."""
    return SERVICE_NAME if number == 1 else f"{SERVICE_NAME}.{number}"


def stream_name(service: str) -> str:
    """The name under which a process of the service, which has this name, serves files in blocks."""
    return f"{service}.streams"


def worker_file(number: int) -> str:
    """What the certificate and key of that process are called, without their endings."""
    return "fleet" if number == 1 else f"fleet-{number}"


def access_rules(revoked: Iterable[str] = ()) -> str:
    """The access rules: the service everywhere under the root, a device only where it has something to say or read.

    Streams have names of their own, with which nothing can be ordered and nothing else be read.

    Args:
        revoked: devices which may do nothing at all any more, even over a connection that stands.
    """
    lines = [
        "# The fleet service reads and writes for all devices; the broker fills in a device's name for %u.",
        *(f"user {worker_name(number)}\ntopic readwrite {ROOT}/#\n" for number in range(1, MOST_WORKERS + 1)),
        *(
            f"user {stream_name(worker_name(number))}\ntopic read {all_devices(STREAM_GET)}\n"
            f"topic write {all_devices(STREAM_DATA)}\n"
            for number in range(1, MOST_WORKERS + 1)
        ),
        *(f"pattern write {ROOT}/%u/{channel}" for channel in (*FROM_DEVICE, STREAM_GET)),
        *(f"pattern read {ROOT}/%u/{channel}" for channel in (DESIRED, STREAM_DATA)),
        f"pattern readwrite {ROOT}/%u/{COMMAND}/#",
        *(f"\nuser {device_id}\ntopic deny #" for device_id in sorted(set(revoked))),
    ]
    return "\n".join(lines) + "\n"


def _party(place: Path, name: str, authority: Authority, common_name: str, hosts: Sequence[str]) -> list[Path]:
    issued, key = authority.issue_party(common_name, hosts)
    certificate_file, key_file = place / f"{name}.pem", place / f"{name}.key"
    write_text(certificate_file, issued.pem)
    write_bytes(key_file, key, mode=0o600)
    return [certificate_file, key_file]


def _lists(live: Path, authority: Authority, empty_list: str) -> list[Path]:
    files = [live / "crl.pem", live / "acl"]
    live.mkdir(exist_ok=True)
    standing = all(file.is_file() for file in files)
    if standing and authority.signed_list(files[0].read_text(errors="replace")) is not None:
        return []
    write_text(files[0], empty_list)
    write_text(files[1], access_rules())
    return files
