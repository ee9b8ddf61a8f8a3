"""Renewal: a new certificate for the same key, over the channel that the key opens, before the old one ends."""

from __future__ import annotations

import logging

from edge.identity.certificate import check_certificate, validity_of
from edge.identity.store import Identity, IdentityStore
from edge.transport.fleet_http import FleetHttp
from mien.renewal import Renewal, decide

_log = logging.getLogger(__name__)
_DAY_S = 86400


def renew_if_due(fleet: FleetHttp, identity: Identity, identities: IdentityStore, *, now: float) -> Identity | None:
    """Renew the certificate when two thirds of its life are over; ``None`` when there was nothing to do.

    How long after its end it may be renewed is the fleet's to say, so one that has expired is always tried.

    Args:
        fleet: the service.
        identity: as it is.
        identities: where the new certificate is kept.
        now: Unix seconds.

    Raises:
        TrustError: the fleet refuses, or answers with a certificate that is not this device's.
        UnavailableError: the service did not answer.
    """
    if decide(validity_of(identity), now=now, grace_s=float("inf")) is Renewal.KEEP:
        return None
    pem = fleet.renew(identity.key, identity.device_id)
    if pem == identity.files.certificate.read_text():
        return None
    check_certificate(pem, identity.key, identity.device_id, identity.ca_pem)
    renewed = identities.save_certificate(pem)
    days = (validity_of(renewed).ends_at - now) / _DAY_S
    _log.info("the certificate was renewed; it is good for %.0f days", days)
    return renewed
