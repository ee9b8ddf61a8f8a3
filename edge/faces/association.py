"""Which detection is which expected face. Pure.

Detections and expected boxes are paired by their overlap, as in SORT (A. Bewley et al., *Simple Online and Realtime
Tracking*, ICIP 2016, arXiv:1602.00763), in two rounds, strong detections before weak ones, as in ByteTrack (Y. Zhang et
al., *ByteTrack: Multi-Object Tracking by Associating Every Detection Box*, ECCV 2022, arXiv:2110.06864). Unlike both, a
pair is the best one left rather than part of the best whole: a handful of faces needs no assignment solver. The class
plays no part, since a face changes its expression.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Overlap = npt.NDArray[np.float32]


def pair(
    overlap: Overlap, scores: list[float], settled: list[bool], *, strong_score: float, least_iou: float
) -> dict[int, int]:
    """Detection → expected face, by overlap, best first; equal ones by their order.

    Args:
        overlap: ``[detections, faces]``.
        scores: of the detections.
        settled: of the faces: whether it is more than a guess. Only such a face is continued by a weak detection.
        strong_score: from here on a detection is strong.
        least_iou: smaller overlaps are no pair.
    """
    rows, columns = np.nonzero(overlap >= least_iou)
    values = overlap[rows, columns].tolist()
    candidates = sorted(zip((-value for value in values), rows.tolist(), columns.tolist(), strict=True))
    face_of: dict[int, int] = {}
    taken: set[int] = set()
    for strong in (True, False):
        for _, row, column in candidates:
            fits = (scores[row] >= strong_score) is strong and (strong or settled[column])
            if fits and row not in face_of and column not in taken:
                face_of[row] = column
                taken.add(column)
    return face_of


def doubles(overlap: Overlap, face_of: dict[int, int], *, double_iou: float) -> dict[int, int]:
    """Detection → the detection whose double it is: one that overlaps it much, whatever their classes.

    A detector suppresses such boxes within a class only. A detection that continues a face of its own is no double, so
    two faces that pass each other stay two.

    Args:
        overlap: ``[detections, detections]``, strongest detection first.
        face_of: detection → face, as :func:`pair` gave it.
        double_iou: overlaps from here on are doubles.
    """
    double_of: dict[int, int] = {}
    for row, near in enumerate((overlap >= double_iou).tolist()):
        if row in face_of:
            continue
        for other, is_near in enumerate(near):
            stands = other in face_of or (other < row and other not in double_of)
            if is_near and other != row and stands:
                double_of[row] = other
                break
    return double_of
