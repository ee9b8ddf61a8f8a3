"""Real photographs as backgrounds, where an installed package ships some.

Only parts without people are used: an unlabelled face in the background would teach the detector to overlook faces.
Which ones were found, with their hashes, is part of the data set's record, because another set gives other images.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mien.files import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A photograph that some package ships, and the rows of it (top, bottom) that show no people."""

    package: str
    file: str
    rows: tuple[int, int] | None = None


# Each was looked at. The street scene has people below row 380; above are a bus, a house front and trees.
_KNOWN = (
    Known(package="ultralytics", file="assets/bus.jpg", rows=(0, 380)),
    *(Known(package="sklearn", file=f"datasets/images/{name}.jpg") for name in ("china", "flower")),
    *(Known(package="skimage", file=f"data/{name}") for name in ("coffee.png", "rocket.jpg", "brick.png", "grass.png")),
    *(Known(package="skimage", file=f"data/{name}.png") for name in ("gravel", "coins", "chelsea")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A photograph on this machine."""

    name: str
    path: Path
    sha256: str
    rows: tuple[int, int] | None


def find_photographs() -> tuple[Photograph, ...]:
    """The known photographs that are installed here, in a fixed order."""
    found = []
    for known in _KNOWN:
        spec = find_spec(known.package)
        path = Path(spec.origin).parent / known.file if spec and spec.origin else None
        if path is not None and path.is_file():
            name = f"{known.package}/{known.file}"
            found.append(Photograph(name=name, path=path, sha256=sha256_of(path), rows=known.rows))
    return tuple(found)


def load_photograph(photograph: Photograph) -> npt.NDArray[np.uint8]:
    """Decode the part of one that shows no people, as BGR ``[H, W, 3]``."""
    pixels = np.asarray(cv2.imread(str(photograph.path), cv2.IMREAD_COLOR), np.uint8)
    return pixels[slice(*photograph.rows)] if photograph.rows else pixels
