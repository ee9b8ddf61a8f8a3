"""Where the passphrase of offline keys comes from: a file, a file descriptor, or the terminal. Never the command line.

A passphrase is read when a key first asks for it, is kept in memory only, and stands in no message.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mien.errors import ConfigError, TrustError

DESCRIPTOR = "MIEN_KEYS_PASSPHRASE_FD"
"""The environment variable that holds the number of an open file descriptor."""
SHORTEST = 12

_HOW = (
    f"give its passphrase with --passphrase-file, through the descriptor whose number stands in {DESCRIPTOR},"
    " or at a terminal"
)


class Passphrase(Protocol):
    """What opens encrypted keys."""

    def to_open(self, name: str) -> bytes:
        """The passphrase for a key that is encrypted.

        Raises:
            TrustError: there is none.
        """

    def for_a_new_key(self) -> bytes | None:
        """What to encrypt a new key with; ``None`` leaves it in the clear.

        Raises:
            TrustError: it is too short, or was not repeated alike.
        """


class _None:
    def to_open(self, name: str) -> bytes:
        raise TrustError(f"the key {name} is encrypted", found="no passphrase", remedy=_HOW)

    def for_a_new_key(self) -> bytes | None:
        return None


NO_PASSPHRASE: Passphrase = _None()


class GivenPassphrase:
    """A passphrase from a file or a descriptor, or else asked for.

    Args:
        file: the file whose first line it is.
        encrypt: encrypt new keys even if neither file nor descriptor was given: ask.
        environment: where the descriptor's number stands.
    """

    def __init__(self, file: Path | None, *, encrypt: bool, environment: Mapping[str, str]) -> None:
        self._file, self._encrypt = file, encrypt
        self._descriptor = environment.get(DESCRIPTOR)
        self._known: bytes | None = None

    def to_open(self, name: str) -> bytes:
        """See :class:`Passphrase`."""
        if self._known is None:
            self._known = self._given()
        if self._known is None:
            if not sys.stdin.isatty():
                raise TrustError(f"the key {name} is encrypted", found="no passphrase", remedy=_HOW)
            self._known = getpass.getpass(f"Passphrase of {name}: ").encode()
        return self._known

    def for_a_new_key(self) -> bytes | None:
        """See :class:`Passphrase`."""
        if self._known is None:
            self._known = self._given()
        if self._known is None and self._encrypt:
            self._known = _asked_twice()
        if self._known is not None and len(self._known) < SHORTEST:
            raise TrustError(
                "the passphrase is too short for a key that outlives years",
                found=f"{len(self._known)} characters",
                wanted=f"{SHORTEST} or more",
                remedy="choose several random words",
            )
        return self._known

    def _given(self) -> bytes | None:
        if self._file is not None:
            return _read_file(self._file)
        if self._descriptor is None:
            return None
        try:
            with os.fdopen(int(self._descriptor), "rb", closefd=False) as stream:
                return _first_line(stream.read(), f"descriptor {self._descriptor}")
        except (OSError, ValueError) as error:
            raise ConfigError(
                "the passphrase cannot be read from its descriptor",
                found=f"{DESCRIPTOR}={self._descriptor}: {error}",
                wanted="the number of a descriptor that is open for reading",
                remedy=f"for example: {DESCRIPTOR}=3 mien fleet keys … 3< FILE",
            ) from error


def _read_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "the passphrase file cannot be read", found=f"{path}: {error.strerror}", remedy="check --passphrase-file"
        ) from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise TrustError(
            "others can read the passphrase file",
            found=f"{path} has mode {stat.S_IMODE(mode):o}",
            wanted="mode 600",
            remedy=f"chmod 600 {path}, and think about who may have read it",
        )
    return _first_line(content, str(path))


def _first_line(content: bytes, where: str) -> bytes:
    line = content.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise ConfigError("the passphrase is empty", found=where, wanted="one line")
    return line


def _asked_twice() -> bytes:
    if not sys.stdin.isatty():
        raise TrustError("new keys are to be encrypted", found="no passphrase", remedy=_HOW)
    first = getpass.getpass("Passphrase for the new keys: ")
    if getpass.getpass("The same again: ") != first:
        raise TrustError("the two passphrases differ", remedy="run the command again")
    return first.encode()
