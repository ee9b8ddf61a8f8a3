"""Where a person's password comes from at the command line: a file's first line, or a prompt that shows nothing."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from mien.errors import ConfigError


def known_password(file: Path | None, prompt: str) -> str:
    """A password that exists.

    Raises:
        ConfigError: the file cannot be read or is empty, or there is no terminal to ask at.
    """
    return _asked(prompt) if file is None else _first_line(file)


def new_password(file: Path | None, prompt: str) -> str:
    """A password to be; asked for twice.

    Raises:
        ConfigError: as :func:`known_password`, or it was not repeated alike.
    """
    given = known_password(file, prompt)
    if file is None and _asked("again") != given:
        raise ConfigError("the two passwords differ", remedy="try again")
    return given


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(
            "this needs a password", found="no terminal to ask at", remedy="name a file with --password-file"
        )
    return getpass.getpass(f"{prompt}: ")


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"could not read {file}", found=str(error)) from error
    if not lines or not lines[0]:
        raise ConfigError(f"{file} is empty", wanted="the password in its first line")
    return lines[0]
