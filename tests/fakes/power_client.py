"""Reads a power source and prints what it read, one JSON line for each line on stdin. Runs as a program of its own.

Arguments: the source's name, and optionally a user id to become first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict

from edge.power.chooser import open_power
from edge.power.interface import PowerError


def main() -> None:
    """Open, then answer."""
    if len(sys.argv) > 2:
        for name in ("jtop", "multiprocessing.synchronize"):
            importlib.import_module(name)  # that user may not be able to read it
        os.setgroups([])
        os.setgid(int(sys.argv[2]))
        os.setuid(int(sys.argv[2]))
    try:
        source = open_power(sys.argv[1], interval_s=0.2)
    except PowerError as error:
        _say(error.as_dict())
        return
    _say({"name": source.name})
    for _ in sys.stdin:
        sample = source.read()
        _say({"name": source.name, "sample": asdict(sample) if sample else None})
    source.close()


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
