"""Holds the classes of weights or of a graph against those of a data set: same names, same order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.errors import ModelError

_MOST_SHOWN = 12


def check_classes(what: str, path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Make sure that a model and the data it is used with mean the same by a class's number.

    Args:
        what: the model is, such as ``weights``, for the message.
        path: of the model.
        names: its classes.
        wanted: those of the data set.

    Raises:
        ModelError: number, names or order differ.
    """
    if tuple(names) == tuple(wanted):
        return
    raise ModelError(
        f"{path} and the data set know different classes",
        found=f"{what}: {_shown(names)}",
        wanted=f"data set: {_shown(wanted)}",
        remedy="use the data set that the weights were trained on, or train again",
    )


def _shown(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names[:_MOST_SHOWN])}{' …' if len(names) > _MOST_SHOWN else ''}"
