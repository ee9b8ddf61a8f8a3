"""The name of a group of processes that share a subscription, which nobody else may know.

A Mosquitto lets any client join any group, picks it for a message in its turn, and only then finds that it may not read
it: the message is gone, and its sender was told that it arrived. So the name is made at random and kept in the data
folder, which all processes of a service share.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mien.files import write_text

_BYTES = 16


def secret_group(path: Path) -> str:
    """The name that is kept here (0600), made by whichever process comes first.

    Raises:
        OSError: the file can be neither made nor read.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = secrets.token_hex(_BYTES)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(made)
    except FileExistsError:
        found = path.read_text().strip()
        if len(found) == len(made):
            return found
        write_text(path, made, mode=0o600)  # of a process that was killed in between
    return made
