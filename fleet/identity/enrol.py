"""Enrolment: a token and a certificate request become an accepted device."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from fleet.errors import ConflictError
from fleet.identity.ca import Authority, read_request
from fleet.identity.tokens import check_token, read_token
from fleet.store.work import Work
from mien.errors import ConfigError
from mien.topics import valid_device_id

_LONGEST_GROUP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A device's new identity."""

    device_id: str
    group: str
    certificate_pem: str


def enrol(
    work: Work, authority: Authority, token_text: str, csr_pem: str, *, wanted_id: str | None, now: float
) -> Enrolled:
    """Enrol a device, in the caller's transaction.

    Raises:
        TrustError: the token is refused.
        ConfigError: the request or the wanted name cannot be used.
        ConflictError: another device has, or had, that name.
    """
    token_id, secret = read_token(token_text)
    token = check_token(work.tokens.find(token_id), secret, now=now)
    request = read_request(csr_pem)
    device_id = _name(work, token.group, wanted_id)
    issued = authority.issue_device(request, device_id)
    work.tokens.use(token.id)
    work.devices.add(device_id, token.group, issued, at=now)
    work.audit.note("device.enrol", device_id, at=now, actor="token:" + token.id, group=token.group)
    return Enrolled(device_id=device_id, group=token.group, certificate_pem=issued.pem)


def check_group(group: str) -> None:
    """Refuse a group whose name could not begin a device id.

    Raises:
        ConfigError: it has other characters, or is too long.
    """
    if not valid_device_id(group) or len(group) > _LONGEST_GROUP:
        raise ConfigError(
            f"'{group}' cannot name a group",
            wanted=f"lower-case letters, digits and hyphens, at most {_LONGEST_GROUP}",
        )


def _name(work: Work, group: str, wanted: str | None) -> str:
    if wanted is None:
        return f"{group}-{secrets.token_hex(3)}"
    if not valid_device_id(wanted):
        raise ConfigError(
            f"'{wanted[:80]}' cannot name a device", wanted="lower-case letters, digits and hyphens, at most 63"
        )
    known = work.devices.find(wanted)
    if known is not None:
        raise ConflictError(
            f"the name '{wanted}' is taken",
            found=f"a device that is {known.state}",
            remedy="choose another with --device-id, or let the fleet choose",
        )
    return wanted
