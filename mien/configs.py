"""Where the configurations that come with mien are, and the one way to find one of them by name or by path.

They lie in ``configs/`` of a checkout. An installation keeps those that a device needs (JetPack versions, device
classes, settings, service file) under ``share/mien/configs`` of its environment; a name that is not there is refused,
with a sentence that asks for a path.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mien.config import nearest
from mien.errors import ConfigError, UnsupportedError

_CHECKOUT = Path(__file__).resolve().parents[1] / "configs"
_INSTALLED = Path(sys.prefix) / "share" / "mien" / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() and not _CHECKOUT.is_dir() else _CHECKOUT
_SEPARATORS = re.compile(r"[\s_-]+")


def find_config(given: str, folder: Path, *, what: str, option: str) -> Path:
    """The file that a name or a path means.

    Args:
        given: a path to a YAML file, or the stem of one in ``folder``.
        folder: where the named ones lie, such as ``CONFIGS / "devices"``.
        what: what the file describes, for the message.
        option: the option that it was given with, for the message.

    Raises:
        ConfigError: no such name; says which are most like it, and all that there are.
        UnsupportedError: a name was given, and mien was installed without its checkout.
    """
    path = Path(given)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    known = config_names(folder)
    if given in known:
        return folder / f"{given}.yaml"
    if not known:
        raise UnsupportedError(
            f"{what} '{given}' cannot be looked up by name: mien was installed without its checkout",
            found=f"no {folder}",
            remedy=f"give the path of a YAML file: {option} PATH.yaml",
        )
    alike = suggestions(given, known)
    raise ConfigError(
        f"there is no {what} '{given}'" + (f"; did you mean {' or '.join(alike)}?" if alike else ""),
        wanted=f"a YAML file, or one of {', '.join(known)}",
        remedy=f"name one of these with {option}, or give the path of a YAML file",
    )


def suggestions(given: str, known: Sequence[str]) -> list[str]:
    """The names that somebody who typed ``given`` may have meant.

    Case, blanks and underscores do not count, nor does the order of words: every name is given that has a word
    beginning with each word of ``given``. Where there is none, those most alike in spelling.
    """
    words = _SEPARATORS.split(given.lower().strip())
    fitting = [name for name in known if all(any(own.startswith(word) for own in name.split("-")) for word in words)]
    return fitting if any(words) and fitting else nearest("-".join(words), known)


def config_names(folder: Path) -> list[str]:
    """The names that lie in a folder of configurations; none where there is no checkout."""
    return sorted(entry.stem for entry in folder.glob("*.yaml"))
