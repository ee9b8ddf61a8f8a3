"""Makes a simulated fleet from a profile: who is what and where, who is enrolled, and how the broker is reached.

Everything about a device is drawn from the seed and its name, so the same command line means the same fleet.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from fleet.client import FleetClient, find_authority, find_token
from fleet.config import FleetSettings
from fleet.paths import DataFolder
from fleet.simulator.chance import Chance
from fleet.simulator.checks import Asking, Checker
from fleet.simulator.device import Memory, VirtualDevice
from fleet.simulator.identities import IdentityFolder, Member, enrol_in_store, enrol_over_api
from fleet.simulator.interface import Checked
from fleet.simulator.link import BrokerAddress
from fleet.simulator.profile import HardwareProfile, SimulationProfile, SiteProfile
from fleet.simulator.room import make_room
from fleet.simulator.run import Simulation
from fleet.store.database import open_store
from mien.console import SILENT, Progress
from mien.errors import ConfigError
from mien.topics import valid_device_id

_TIMEOUT_S = 30.0
Way = Literal["api", "store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be simulated."""

    devices: int
    profile: SimulationProfile
    url: str
    state: Path
    """Where identities are kept."""
    data: Path
    """The service's data folder, for the operator token."""
    token: str | None = None
    """The operator's; ``None``: the data folder's."""
    prefix: str = "sim"
    seed: int = 0
    enrol: Way = "api"
    database_url: str | None = None
    """The service's, where it is not SQLite in the data folder; for enrolment in the store."""


@dataclass(slots=True)
class Fleet:
    """A simulated fleet, ready to run."""

    simulation: Simulation
    devices: Sequence[VirtualDevice]
    folder: IdentityFolder
    away: int

    def close(self, *, politely: bool = True) -> None:
        """End all connections, and keep what the devices would."""
        self.simulation.close(politely=politely)
        self.folder.remember({device.id: device.memory for device in self.devices})


def prepare(plan: Plan, *, pace: Callable[[], float] = lambda: 1.0, progress: Progress = SILENT) -> Fleet:
    """Enrol who is not enrolled, and set up the rest.

    Raises:
        ConfigError: a name, a folder or the service's address cannot be used.
        UnsupportedError: this process may not open so many connections.
        UnavailableError: the service does not answer.
    """
    if not valid_device_id(_name(plan, plan.devices)):
        raise ConfigError(
            f"--prefix {plan.prefix} cannot begin a device's name", wanted="lower-case letters, digits and hyphens"
        )
    make_room(plan.devices)
    folder = IdentityFolder(plan.state)
    places = [_place(plan, _name(plan, number)) for number in range(1, plan.devices + 1)]
    _enrol(plan, folder, [Member(device_id=name, group=site.name) for name, _, site in places], progress)
    told = folder.fleet
    if told is None:
        raise ConfigError(f"{plan.state} holds certificates and not their fleet", remedy="name another with --state")
    memories = folder.memories()
    chance = Chance(plan.seed)
    devices = [
        VirtualDevice(
            name,
            plan.profile,
            hardware,
            site,
            seed=plan.seed,
            memory=memories.get(name) or Memory(release=str(plan.profile.release) if plan.profile.release else None),
            pace=pace,
            verifies=chance.share("verifies", name) < plan.profile.verified,
        )
        for name, hardware, site in places
    ]
    away = {d.id: plan.profile.returns_after_s for d in devices if chance.share("away", d.id) < plan.profile.offline}
    simulation = Simulation(
        [(device, folder.identity(device.id)) for device in devices],
        _broker(told),
        plan.profile.reconnect,
        seed=plan.seed,
        checker=_checker(plan, told) if plan.profile.verified > 0 else None,
        away=away,
    )
    return Fleet(simulation=simulation, devices=devices, folder=folder, away=len(away))


def _name(plan: Plan, number: int) -> str:
    return f"{plan.prefix}-{number:05d}"


def _place(plan: Plan, name: str) -> tuple[str, HardwareProfile, SiteProfile]:
    chance = Chance(plan.seed, name)
    hardware = {one.name: one for one in plan.profile.hardware}
    sites = {one.name: one for one in plan.profile.sites}
    board = chance.pick({one.name: one.share for one in hardware.values()}, "hardware")
    site = chance.pick({one.name: one.share for one in sites.values()}, "site")
    return name, hardware[board], sites[site]


def _enrol(plan: Plan, folder: IdentityFolder, members: Sequence[Member], progress: Progress) -> None:
    """Over the API; where the store is asked for, the first one all the same: its answer tells of broker and trust."""
    missing = folder.missing(members)
    if not missing:
        return
    progress.start(f"enrol {len(missing)} devices", len(missing))
    ca = find_authority(plan.data) if plan.url.startswith("https:") else None
    over_api = missing if plan.enrol == "api" else missing[:1]
    with (
        FleetClient(plan.url, plan.token or find_token(plan.data), ca=ca) as fleet,
        httpx.Client(base_url=plan.url, verify=_trust(ca)) as http,
    ):
        enrol_over_api(fleet, http, folder, over_api, progress)
    if plan.enrol == "store":
        url = FleetSettings(data=plan.data, database_url=plan.database_url).database
        store = open_store(url)
        try:
            enrol_in_store(store, DataFolder(plan.data), folder, missing[1:], progress)
        finally:
            store.close()


def _broker(told: dict[str, Any]) -> BrokerAddress:
    mqtt = told["mqtt"]
    return BrokerAddress(
        host=mqtt["host"],
        port=mqtt["port"],
        tls=mqtt["tls"],
        ca=told["ca_pem"],
        username=mqtt["username"],
        password=mqtt["password"],
    )


def _checker(plan: Plan, told: dict[str, Any]) -> Callable[[Callable[[Asking, Checked], None]], Checker]:
    trust = _trust(find_authority(plan.data)) if plan.url.startswith("https:") else True
    return lambda answered: Checker(plan.url, told, trust, answered)


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=str(ca)) if ca is not None else True
