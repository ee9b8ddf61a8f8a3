"""Where the parts of a face are: curves in a head's own coordinates, moved by action units, then posed into pixels.

Head coordinates: the origin lies between eyes and mouth, x to the right of the picture, y down, one unit is half the
face's height. Depth is what yaw and pitch turn: the nose stands out, the ears lie back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.synth.action_units import Units
from trainer.synth.person import Person, Pose

Points = npt.NDArray[np.float64]
_SIDES = (-1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eye:
    """One eye's curves; ``[N, 2]`` points."""

    white: Points
    iris: Points
    pupil: Points
    upper_lid: Points
    brow: Points
    lens: Points
    crow_feet: tuple[Points, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mouth:
    """The mouth's curves."""

    lips: Points
    opening: Points
    teeth: Points
    tongue: Points
    openness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """All curves of one face, with the intensities that decide how strongly folds are drawn."""

    outline: Points
    ears: tuple[Points, Points]
    eyes: tuple[Eye, Eye]
    mouth: Mouth
    nose_ridge: Points
    nostrils: tuple[Points, Points]
    nose_base: Points
    folds: tuple[tuple[Points, float], ...]
    moustache: Points
    beard: Points


def _curve(points: list[tuple[float, float]], count: int = 24) -> Points:
    """A smooth curve through points (centripetal enough for faces: Catmull–Rom with repeated ends)."""
    anchors = np.asarray([points[0], *points, points[-1]], dtype=np.float64)
    steps = np.linspace(0, len(points) - 1, count)
    index = np.minimum(steps.astype(int), len(points) - 2)
    t = (steps - index)[:, None]
    p0, p1, p2, p3 = (anchors[index + offset] for offset in range(4))
    value = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return np.asarray(value / 2)


def _closed(upper: list[tuple[float, float]], lower: list[tuple[float, float]]) -> Points:
    return np.concatenate([_curve(upper), _curve(lower)[::-1]])


def _ellipse(x: float, y: float, rx: float, ry: float, count: int = 28) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def build_face(person: Person, units: Units) -> Face:
    """Place every part of a face, still unposed."""

    def au(name: str) -> float:
        return units.get(name, 0.0)

    jaw = 0.20 * au("AU26")
    return Face(
        outline=_outline(person, jaw),
        ears=tuple(_ellipse(side * (person.face_width + 0.03), 0.0, 0.10, 0.20) for side in _SIDES),  # type: ignore[arg-type]
        eyes=tuple(_eye(person, units, side) for side in _SIDES),  # type: ignore[arg-type]
        mouth=_mouth(person, units),
        nose_ridge=_curve([(0.05, -0.18), (0.09, 0.05), (0.11 * person.nose_width, _nose_y(person, units) - 0.04)]),
        nostrils=tuple(
            _ellipse(side * 0.085 * person.nose_width, _nose_y(person, units) + 0.005, 0.04 + 0.015 * au("AU9"), 0.022)
            for side in _SIDES
        ),  # type: ignore[arg-type]
        nose_base=_curve(
            [
                (-0.16 * person.nose_width, _nose_y(person, units) - 0.05),
                (-0.10 * person.nose_width, _nose_y(person, units) + 0.03),
                (0.0, _nose_y(person, units) + 0.045),
                (0.10 * person.nose_width, _nose_y(person, units) + 0.03),
                (0.16 * person.nose_width, _nose_y(person, units) - 0.05),
            ]
        ),
        folds=_folds(person, units),
        moustache=_closed(
            [(-0.26, 0.44), (-0.12, 0.36), (0, 0.37), (0.12, 0.36), (0.26, 0.44)],
            [(-0.26, 0.48), (-0.12, 0.435), (0, 0.43), (0.12, 0.435), (0.26, 0.48)],
        ),
        beard=_beard(person, jaw),
    )


def _outline(person: Person, jaw: float) -> Points:
    width, jaw_width, chin = person.face_width, person.face_width * person.jaw_width, person.chin + jaw
    right = [
        (0.0, -1.0),
        (width * 0.62, -0.90),
        (width * 0.95, -0.52),
        (width, -0.05),
        (width * 0.94, 0.32),
        (jaw_width * 0.92, 0.66 + 0.5 * jaw),
        (jaw_width * 0.50, chin - 0.09),
        (0.0, chin),
    ]
    left = [(-x, y) for x, y in right]
    return np.concatenate([_curve(right, 40), _curve(left, 40)[::-1]])


def _nose_y(person: Person, units: Units) -> float:
    return 0.27 * person.nose_length - 0.045 * units.get("AU9", 0.0) - 0.02 * units.get("AU10", 0.0)


def _eye(person: Person, units: Units, side: int) -> Eye:
    def au(name: str) -> float:
        return units.get(name, 0.0)

    centre, half = side * person.eye_distance, 0.145 * person.eye_size
    top = 0.072 * person.eye_size * (1 + 0.9 * au("AU5") - 0.35 * au("AU7") - 0.35 * au("AU6") - 0.95 * au("AU43"))
    top -= 0.02 * au("AU9") * person.eye_size
    bottom = 0.05 * person.eye_size * (1 - 0.55 * au("AU7") - 0.75 * au("AU6") - 0.5 * au("AU9") + 0.15 * au("AU5"))
    top, bottom, y = max(top, 0.006), max(bottom, 0.006), -0.12
    inner, outer = centre - side * half, centre + side * half
    tilt = 0.015 * au("AU1") - 0.012 * au("AU4")
    upper = [(inner, y + 0.012 - tilt), (centre - side * 0.4 * half, y - 0.9 * top), (centre, y - top),
             (centre + side * 0.5 * half, y - 0.8 * top), (outer, y - 0.008 + tilt)]  # fmt: skip
    lower = [(inner, y + 0.012 - tilt), (centre, y + bottom), (outer, y - 0.008 + tilt)]
    iris = 0.068 * person.eye_size
    middle = y + 0.25 * (bottom - top)
    crow = tuple(
        _curve([(outer + side * 0.03, y + 0.01 + dy), (outer + side * 0.13, y + 0.01 + 2.4 * dy)], 6)
        for dy in (-0.022, 0.012, 0.04)
    )
    return Eye(
        white=_closed(upper, lower),
        iris=_ellipse(centre, middle, iris, iris),
        pupil=_ellipse(centre, middle, iris * 0.5, iris * 0.5),
        upper_lid=_curve(upper),
        brow=_brow(person, units, side),
        lens=_ellipse(centre, y + 0.02, 0.24, 0.19, 36),
        crow_feet=crow,
    )


def _brow(person: Person, units: Units, side: int) -> Points:
    def au(name: str) -> float:
        return units.get(name, 0.0)

    centre = side * person.eye_distance
    down = 0.14 * au("AU4") + 0.07 * au("AU9") + 0.02 * au("AU6")
    inner_y = -0.30 - 0.185 * au("AU1") + down + 0.02 * au("AU4")
    middle_y = -0.345 - 0.09 * au("AU1") - 0.12 * au("AU2") + 0.75 * down
    outer_y = -0.295 - 0.15 * au("AU2") + 0.25 * down + 0.03 * au("AU1") * (1 - au("AU2"))
    together = side * (0.055 * au("AU4"))
    thick = 0.035 * person.brow_thickness
    upper = [(centre - side * 0.17 - together, inner_y - thick), (centre + side * 0.02, middle_y - thick),
             (centre + side * 0.21, outer_y)]  # fmt: skip
    lower = [(centre - side * 0.17 - together, inner_y + thick), (centre + side * 0.02, middle_y + 0.7 * thick),
             (centre + side * 0.21, outer_y + 0.01)]  # fmt: skip
    return _closed(upper, lower)


def _mouth(person: Person, units: Units) -> Mouth:
    def au(name: str) -> float:
        return units.get(name, 0.0)

    half = (
        0.245
        * person.mouth_width
        * (1 + 0.40 * au("AU12") + 0.44 * au("AU20") - 0.22 * au("AU23") - 0.20 * au("AU26") - 0.05 * au("AU10"))
    )
    y = 0.56 + 0.03 * au("AU26") - 0.02 * au("AU17")
    corner = {side: y - 0.145 * au("AU12") + 0.15 * au("AU15") + 0.04 * au("AU20") for side in _SIDES}
    reach = dict.fromkeys(_SIDES, half)
    one = person.contempt_side
    corner[one] -= 0.19 * au("AU14")
    reach[one] += 0.13 * au("AU14")
    fullness = 0.052 * person.lip_fullness * (1 - 0.7 * au("AU23") - 0.3 * au("AU12") * (1 - au("AU25")))
    gap = 0.085 * au("AU25") + 0.30 * au("AU26") + 0.02 * au("AU10")
    lift = 0.10 * au("AU10") + 0.03 * au("AU12") * au("AU25")
    sag = 0.045 * au("AU12") * (0.4 + au("AU25"))
    upper_y, lower_y = y - 0.35 * gap - lift, y + 0.65 * gap + sag - 0.045 * au("AU17") - 0.02 * au("AU15")
    lower_y = max(lower_y, upper_y + 0.012)
    left, right = (-reach[-1], corner[-1]), (reach[1], corner[1])
    bow = 0.55 * fullness

    def line(middle: float, bulge: float) -> list[tuple[float, float]]:
        shoulder = 0.55 * half
        near = {side: corner[side] + 0.72 * (middle - corner[side]) + bulge for side in _SIDES}
        return [left, (-shoulder, near[-1]), (0.0, middle), (shoulder, near[1]), right]

    peak = {side: upper_y - fullness - bow + 0.25 * (corner[side] - upper_y) for side in _SIDES}
    top = [left, (-0.45 * half, peak[-1]), (0.0, upper_y - fullness), (0.45 * half, peak[1]), right]
    bottom = line(lower_y + 1.35 * fullness, 0.3 * fullness)
    inner_top, inner_bottom = line(upper_y, 0.0), line(lower_y, 0.0)
    shows = 0.55 * min(gap, 0.11) + 0.3 * lift
    teeth = line(min(upper_y + shows, lower_y), 0.0)
    return Mouth(
        lips=_closed(top, bottom),
        opening=_closed(inner_top, inner_bottom),
        teeth=_closed(inner_top, teeth),
        tongue=_ellipse(0.0, lower_y - 0.02, 0.5 * half, 0.25 * gap + 0.001),
        openness=lower_y - upper_y,
    )


def _folds(person: Person, units: Units) -> tuple[tuple[Points, float], ...]:
    def au(name: str) -> float:
        return units.get(name, 0.0)

    folds: list[tuple[Points, float]] = []
    wide = 0.30 * person.mouth_width
    for side in _SIDES:
        one_sided = au("AU14") if side == person.contempt_side else 0.0
        strength = min(1.0, 0.25 + 0.75 * au("AU12") + 0.7 * au("AU10") + 0.5 * au("AU9"))
        nose = _nose_y(person, units)
        folds.append(
            (_curve([(side * 0.18, nose - 0.03), (side * (wide + 0.04), 0.42), (side * (wide + 0.07), 0.56)]), strength)
        )
        if one_sided:
            x = side * (wide + 0.16)
            folds.append((_curve([(x, 0.36), (x + side * 0.05, 0.45), (x, 0.55)], 10), one_sided))
        folds.append((_curve([(side * 0.06, -0.36), (side * 0.05, -0.22)], 6), au("AU4")))
        cheek = [(side * 0.16, 0.05), (side * 0.30, 0.08), (side * 0.44, 0.04)]
        folds.append((_curve(cheek, 10), 0.8 * au("AU6")))
    for row in range(3):
        y = -0.13 + 0.055 * row
        folds.append((_curve([(-0.10, y + 0.02), (0.0, y - 0.012), (0.10, y + 0.02)], 8), au("AU9")))
        y = -0.60 - 0.09 * row
        raised = min(1.0, 0.7 * au("AU1") + 0.5 * au("AU2"))
        folds.append((_curve([(-0.34, y + 0.03), (0.0, y), (0.34, y + 0.03)], 12), raised))
    folds.append((_curve([(-0.10, 0.80), (0.0, 0.76), (0.10, 0.80)], 8), au("AU17")))
    return tuple(folds)


def _beard(person: Person, jaw: float) -> Points:
    width = person.face_width * person.jaw_width
    outer = [(-width * 0.99, 0.25), (-width * 0.9, 0.68 + jaw / 2), (-width * 0.45, person.chin + jaw - 0.08),
             (0.0, person.chin + jaw - 0.005), (width * 0.45, person.chin + jaw - 0.08), (width * 0.9, 0.68 + jaw / 2),
             (width * 0.99, 0.25)]  # fmt: skip
    inner = [(-width * 0.90, 0.22), (-0.46, 0.62), (-0.3, 0.78 + jaw), (0.0, 0.80 + jaw), (0.3, 0.78 + jaw),
             (0.46, 0.62), (width * 0.90, 0.22)]  # fmt: skip
    return _closed(outer, inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A head in a picture: its centre and half its face's height in pixels, and its pose."""

    x: float
    y: float
    half_height: float
    pose: Pose

    def pixels(self, points: Points, *, depth: float = 0.0) -> Points:
        """Pose head coordinates into pixels; ``depth`` is how far a part stands out of the plane of the face."""
        yaw, pitch, roll = np.radians([self.pose.yaw_deg, self.pose.pitch_deg, self.pose.roll_deg])
        bulge = 0.30 * (1 - np.clip((points[:, 0] / 0.9) ** 2 + (points[:, 1] / 1.2) ** 2, 0, 1)) + depth
        x = points[:, 0] * np.cos(yaw) + bulge * np.sin(yaw)
        y = points[:, 1] * np.cos(pitch) - bulge * np.sin(pitch)
        cos, sin = np.cos(roll), np.sin(roll)
        posed = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
        return np.asarray(posed * self.half_height + (self.x, self.y))
