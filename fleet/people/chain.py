"""The chain of the audit record: each entry carries a digest over itself and the digest before it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

START = "0" * 64
"""What stands before the first entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An entry as it is stored."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]
    prev_sha256: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last entry of a chain; ``id`` 0 is a chain without entries."""

    id: int = 0
    sha256: str = START


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a chain stands."""

    entries: int
    head: Head
    broken_at: int | None = None
    """The first entry that is not what was written."""
    why: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing was changed, left out or cut off."""
        return not self.why


def digest(prev: str, *, at: float, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> str:
    """The digest of an entry that follows the one with the digest ``prev``."""
    parts = [prev, float(at), actor, action, subject, details]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(entries: Iterable[Link], anchors: Iterable[Head]) -> Verdict:
    """Walk a chain from its start.

    Args:
        entries: all of them, oldest first.
        anchors: heads that were noted elsewhere; each must still be part of the chain.
    """
    wanted = {anchor.id: anchor.sha256 for anchor in anchors if anchor.id}
    head, count = Head(), 0
    for entry in entries:
        why = _fault(entry, head, wanted.pop(entry.id, None))
        if why:
            return Verdict(entries=count, head=head, broken_at=entry.id, why=why)
        head, count = Head(id=entry.id, sha256=entry.sha256), count + 1
    if wanted:
        return Verdict(entries=count, head=head, why=f"the record ends before entry {max(wanted)}, which was anchored")
    return Verdict(entries=count, head=head)


def _fault(entry: Link, head: Head, anchored: str | None) -> str:
    """What is wrong with an entry; empty when nothing is."""
    if entry.prev_sha256 != head.sha256:
        return f"it does not follow entry {head.id}: an entry was removed, put in, or changed with its digest"
    told = digest(
        entry.prev_sha256,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        details=entry.details,
    )
    if told != entry.sha256:
        return "its digest is not that of its content: it was changed"
    if anchored is not None and anchored != entry.sha256:
        return "another digest was anchored for it: the record was written anew"
    return ""
