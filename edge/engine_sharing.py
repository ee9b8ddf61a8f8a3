"""Builds what offers engines to the fleet from the device's settings; nothing where the site shares none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from edge.config import UpdateSettings
from edge.identity.store import IdentityStore
from edge.transport.fleet_http import EngineStanding, FleetHttp
from edge.update.engine_offer import EngineOffers
from edge.update.journal import Journal
from edge.update.slots import SlotStore
from mien.facts import DeviceFacts


class SignedWay:
    """The signed HTTPS way to the fleet, with the identity as it is now.

    Args:
        identities: where the identity is kept.
    """

    def __init__(self, identities: IdentityStore) -> None:
        self._identities = identities

    def offer(self, engine_id: str, record: bytes) -> EngineStanding:
        """See :class:`edge.update.engine_offer.OfferWay`."""
        identity = self._identities.load()
        with FleetHttp(identity.fleet_url, ca_pem=identity.pinned_ca) as http:
            return http.offer_engine(identity.key, identity.device_id, engine_id, record)

    def send(self, place: str, offset: int, piece: bytes) -> EngineStanding:
        """See :class:`edge.update.engine_offer.OfferWay`."""
        identity = self._identities.load()
        with FleetHttp(identity.fleet_url, ca_pem=identity.pinned_ca) as http:
            return http.send_engine(identity.key, identity.device_id, place, offset, piece)


def sharing(
    settings: UpdateSettings,
    identities: IdentityStore,
    slots: SlotStore,
    journal: Journal,
    facts: DeviceFacts,
    *,
    tell: Callable[[str, str, str, Sequence[tuple[str, str]]], None],
    undo: ExitStack,
) -> EngineOffers | None:
    """What offers engines, running until ``undo``; ``None`` where the site shares none."""
    if not settings.share_engines:
        return None
    offers = EngineOffers(
        slots,
        journal,
        facts,
        identities.load().device_id,
        SignedWay(identities),
        tell=tell,
        max_bytes_per_s=settings.max_bytes_per_s,
    )
    undo.callback(offers.close)
    offers.start()
    return offers
