"""What a copy of the registry lacks, and the order in which it gets it. Pure.

A client asks for the next root, then the timestamp, then what that leads to. So a copy gets signed files first, then
the documents that speak of them, the timestamp after all that it leads to, and new roots last (ADR 11 says why): who
reads in the middle sees the registry as it was or as it is. Everything but the timestamp has its version or its hash in
its name and never changes under it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

METADATA, TARGETS = "metadata", "targets"
TIMESTAMP = f"{METADATA}/timestamp.json"
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
"""Keep it if you like, and ask before each use whether it is still the same (RFC 9111, 5.2.2.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTarget:
    """A signed file, by its name in the repository."""

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The registry at one moment."""

    targets: tuple[SignedTarget, ...]
    documents: Mapping[str, bytes]
    """Targets, engines and snapshot that are in force, in the order in which they may appear."""
    timestamp: bytes
    timestamp_version: int
    roots: Mapping[str, bytes]
    """All roots, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An object that the copy holds."""

    size_bytes: int
    e_tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One object to put, and how it may be cached."""

    key: str
    cache_control: str
    content_type: Literal["application/json", "application/octet-stream"]
    content: bytes | None = None
    """``None``: a signed file, from its place in the repository."""
    target: SignedTarget | None = None

    @property
    def size_bytes(self) -> int:
        """Of the object."""
        return len(self.content) if self.content is not None else self.target.size_bytes if self.target else 0


def plan(picture: Picture, held: Mapping[str, Held]) -> tuple[Upload, ...]:
    """What to put, in order. Nothing where the copy is as the registry is.

    Args:
        picture: the registry.
        held: what the copy holds, by key.
    """
    first_root, *roots = picture.roots.items()
    ordered = [first_root, *picture.documents.items(), (TIMESTAMP, picture.timestamp), *roots]
    documents = [_document(key, content) for key, content in ordered if not _is_there(held.get(key), content)]
    lacking = (target for target in picture.targets if not _is_whole(held.get(target.key), target))
    return (*(_file(target) for target in lacking), *documents)


def _is_there(held: Held | None, content: bytes) -> bool:
    """Whether an object has this content, as far as its tag tells: a store that makes others gets small files anew."""
    if held is None or held.size_bytes != len(content) or held.e_tag is None:
        return False
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return held.e_tag.strip('"') == digest


def _is_whole(held: Held | None, target: SignedTarget) -> bool:
    """A put is all or nothing, and the name has the hash: what has the length is the file."""
    return held is not None and held.size_bytes == target.size_bytes


def _document(key: str, content: bytes) -> Upload:
    cache = ASK_AGAIN if key == TIMESTAMP else FOR_EVER
    return Upload(key=key, content=content, cache_control=cache, content_type="application/json")


def _file(target: SignedTarget) -> Upload:
    return Upload(key=target.key, target=target, cache_control=FOR_EVER, content_type="application/octet-stream")
