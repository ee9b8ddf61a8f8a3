"""Keeps a broker's lists of who is shut out up to date, and tells it.

A Mosquitto reads its revocation list and access rules anew at SIGHUP: the list refuses new connections of a revoked
device, the rules take everything from one that stands. The signal goes only to a process that is a Mosquitto.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fleet.broker.mosquitto import access_rules
from fleet.identity.ca import Authority
from fleet.store.database import Store
from fleet.store.devices import ShutOut
from mien.errors import ConfigError
from mien.files import write_text

_log = logging.getLogger(__name__)
_PROGRAM = "mosquitto"
NOT_KEPT = (
    "the service keeps no list of this broker (no mqtt.folder); where a Mosquitto runs: mien fleet broker refresh"
)


class BrokerFolder:
    """What ``mien fleet broker config`` wrote.

    Args:
        folder: where.

    Raises:
        ConfigError: nothing of that kind is there.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "mosquitto.conf").is_file():
            raise ConfigError(
                f"there is no broker's configuration in {folder}",
                wanted="the folder that 'mien fleet broker config' wrote (--out, and mqtt.folder in the settings)",
                remedy=f"mien fleet broker config --out {folder} --host NAME",
            )
        self._crl, self._acl = folder / "live" / "crl.pem", folder / "live" / "acl"
        self._pid = folder / "data" / "mosquitto.pid"

    def keep(self, authority: Authority, shut_out: Sequence[ShutOut], *, at: dt.datetime) -> bool:
        """Write the lists where they say something else; whether they did."""
        standing, rules = _text(self._crl), access_rules(item.device_id for item in shut_out)
        serials = frozenset(item.serial for item in shut_out)
        signed = authority.signed_list(standing) if standing else None
        if signed == serials and _text(self._acl) == rules:
            return False
        before = standing if signed is not None else None
        self.write(authority.revocation_list(serials, at=at, before=before), rules)
        return True

    def write(self, crl_pem: str, rules: str) -> None:
        """Put lists in place.

        Raises:
            UnavailableError: the folder cannot be written to.
        """
        write_text(self._acl, rules)
        write_text(self._crl, crl_pem)

    def tell(self) -> str:
        """Have the broker read its lists; says in words how that went."""
        pid = _text(self._pid).strip()
        if not pid.isdigit() or _text(Path(f"/proc/{pid}/comm")).strip() != _PROGRAM:
            return "no Mosquitto runs here with this folder; it reads the lists when it starts"
        try:
            os.kill(int(pid), signal.SIGHUP)
        except PermissionError:
            return "this user may not signal the Mosquitto; have it reload (docs/runbooks/broker.md says how by itself)"
        except ProcessLookupError:
            return "the Mosquitto ended; it reads the lists when it starts"
        return "the broker was told"


class Doorkeeper:
    """Brings what the store says about revoked devices to the broker.

    Args:
        store: what is true.
        authority: signs the list.
        folder: of the broker, when it runs on this machine.
        clock: Unix seconds.
    """

    def __init__(
        self, store: Store, authority: Authority, folder: BrokerFolder | None, *, clock: Callable[[], float]
    ) -> None:
        self._store, self._authority, self._folder, self._clock = store, authority, folder, clock
        self._lock = threading.Lock()
        self._told = False

    def run(self) -> str:
        """Write what has changed and tell the broker; the first call tells it anyway: a kill may have come between.

        Raises:
            UnavailableError: the folder cannot be written to; the store refuses the device all the same.
        """
        if self._folder is None:
            return NOT_KEPT
        with self._lock:
            now = self._clock()
            with self._store.read() as work:
                shut_out = work.devices.shut_out(now=now)
            changed = self._folder.keep(self._authority, shut_out, at=dt.datetime.fromtimestamp(now, dt.timezone.utc))
            if self._told and not changed:
                return "the broker knows"
            self._told = False
            told = self._folder.tell()
            self._told = True
        _log.info("revoked certificates: %d; %s", len(shut_out), told)
        return told


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
