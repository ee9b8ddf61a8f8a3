"""Two-person approval: who may say yes to what another one began. Pure."""

from __future__ import annotations

from collections.abc import Collection

from fleet.people.roles import LOCAL

APPROVALS = ("rollout.start", "rollout.approve")
"""What the rule can be set for."""


def may_approve(creator: str | None, approver: str, rule: str, *, rules: Collection[str]) -> str | None:
    """Why somebody may not approve something; ``None`` when they may.

    Args:
        creator: who began it; ``None`` for what is older than the names.
        approver: who would say yes.
        rule: what for, one of :data:`APPROVALS`.
        rules: what two persons are asked for here (``people.two_person`` of the settings).
    """
    if rule not in rules:
        return None
    if LOCAL in {creator, approver} or creator is None:
        return f"{rule} takes two persons here, and the data folder's token names none; use a login or an API token"
    if creator == approver:
        return f"{rule} takes two persons here, and {creator} began this"
    return None
