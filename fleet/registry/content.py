"""Signed files under their content's name: ``dir/HASH.name``, as clients of a consistent snapshot ask for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from tuf.api.metadata import TargetFile

from mien.files import replacing


def target_place(folder: Path, target: TargetFile) -> Path:
    """Where a signed file lies."""
    directory, _, name = target.path.rpartition("/")
    return folder / directory / f"{target.hashes['sha256']}.{name}"


def copy_target(source: Path, folder: Path, target: TargetFile) -> None:
    """Copy a file to its place, durably; one that lies there already has the same bytes."""
    place = target_place(folder, target)
    if place.exists():
        return
    with source.open("rb") as stream, replacing(place) as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
