"""A contact sheet: every expression on several people, large and small, with its name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mien.errors import UnavailableError
from mien.expressions import EXPRESSIONS
from trainer.synth.action_units import sample
from trainer.synth.dataset_writer import generator_of
from trainer.synth.geometry import Placement
from trainer.synth.paint import Light, paint_face
from trainer.synth.person import sample_person, sample_pose
from trainer.synth.scene import background, compose, upright

_COLUMNS, _CELL, _LARGE, _SMALL = 8, 140, 46, 24
_PREVIEW_SPLIT = 3


def write_preview(out: Path, *, seed: int) -> dict[str, str]:
    """Write the sheet as a picture; columns are people, rows are expressions.

    Raises:
        UnavailableError: the file cannot be written.
    """
    rows = []
    for row, expression in enumerate(EXPRESSIONS):
        cells = []
        for column in range(_COLUMNS):
            person_rng, face_rng = (
                generator_of(seed, _PREVIEW_SPLIT, column),
                generator_of(seed, _PREVIEW_SPLIT, column, row),
            )
            person = sample_person(person_rng)
            half = _SMALL if column >= _COLUMNS - 2 else _LARGE
            pose = upright() if column < 3 else sample_pose(face_rng)  # noqa: PLR2004 - three people look straight ahead
            cell = background(person_rng, _CELL, _CELL, ())
            place = Placement(x=_CELL / 2, y=_CELL / 2, half_height=half, pose=pose)
            compose(cell, paint_face(person, sample(expression, face_rng), place, Light(x=0.6, y=-0.5, hardness=0.5)))
            cells.append(cell)
        strip = np.hstack(cells)
        cv2.putText(strip, expression, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 3, cv2.LINE_AA)
        cv2.putText(strip, expression, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
        rows.append(strip)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), np.vstack(rows)):
        raise UnavailableError(f"could not write {out}", remedy="name a .png file in a writable folder")
    return {"preview": str(out)}
