"""Passwords: what is asked of one, and argon2 for keeping it.

Few are computed at a time, since each takes the memory that makes guessing dear. Somebody who is not there costs the
same as somebody who is, so that time tells nobody which names exist.
"""

from __future__ import annotations

import secrets
from functools import cache
from threading import BoundedSemaphore

from mien.errors import ConfigError

SHORTEST, LONGEST = 12, 512
_AT_ONCE = BoundedSemaphore(2)


def check_new(password: str, name: str) -> None:
    """Refuse a password that would be guessed.

    Raises:
        ConfigError: it is too short or too long, or holds the name, or few different characters.
    """
    why = ""
    if not SHORTEST <= len(password) <= LONGEST:
        why = f"{len(password)} characters"
    elif name.casefold() in password.casefold():
        why = "it holds the user's name"
    elif len(set(password)) < SHORTEST // 3:
        why = "the same few characters again and again"
    if why:
        raise ConfigError(
            "this password will not do",
            found=why,
            wanted=f"{SHORTEST} to {LONGEST} characters without the name; some words that nobody would put together",
        )


def hashed(password: str) -> str:
    """The argon2id hash of a password, with its salt and parameters (those of RFC 9106 for little memory)."""
    from argon2 import PasswordHasher

    with _AT_ONCE:
        return PasswordHasher().hash(password)


def fits(password: str, known: str | None) -> bool:
    """Whether a password is the one that was hashed; takes as long for ``None``, which nothing fits."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    with _AT_ONCE:
        try:
            right = PasswordHasher().verify(known or _nobodys(), password[:LONGEST])
        except (VerificationError, InvalidHashError):
            return False
    return right and known is not None


@cache
def _nobodys() -> str:
    """A hash of what nobody knows."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(secrets.token_urlsafe(32))
