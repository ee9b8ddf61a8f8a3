"""Painting one face: curves become pixels on a supersampled patch with its own coverage mask.

Leaves where the face stands and what lies behind it to ``scene``. Colours are BGR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trainer.synth.action_units import Units
from trainer.synth.geometry import Eye, Face, Placement, Points, build_face
from trainer.synth.person import HAIR_COLOURS, SKIN_TONES, Person

Image = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]

_SHIFT = 4
_REACH = 1.95
"""A patch covers this many half-heights around the face: hair, neck and shoulders."""
_LARGE_PX = 60.0
"""Faces with a greater half-height are painted as they are; antialiased curves suffice there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A painted face: BGR pixels, coverage 0..1, its place in the scene, and the face's box there (xyxy, pixels)."""

    pixels: Image
    coverage: npt.NDArray[np.float32]
    left: int
    top: int
    box: tuple[float, float, float, float]


class _Canvas:
    """A supersampled patch that takes scene coordinates."""

    def __init__(self, placement: Placement) -> None:
        reach = int(np.ceil(_REACH * placement.half_height)) + 2
        self.left, self.top = int(placement.x) - reach, int(placement.y) - reach
        self.size = 2 * reach
        self.scale = 1 if placement.half_height > _LARGE_PX else 2
        self.placement = placement
        side = self.size * self.scale
        self.pixels: Image = np.zeros((side, side, 3), np.uint8)
        self.mask: Image = np.zeros((side, side), np.uint8)

    def place(self, points: Points, depth: float = 0.0) -> npt.NDArray[np.int32]:
        """Head coordinates to fixed-point patch pixels."""
        posed = self.placement.pixels(points, depth=depth)
        own = (posed - (self.left, self.top)) * self.scale
        return np.asarray(np.round(own * (1 << _SHIFT)), np.int32)

    def fill(self, points: Points, colour: Colour, *, depth: float = 0.0, solid: bool = True) -> None:
        fixed = [self.place(points, depth)]
        cv2.fillPoly(self.pixels, fixed, colour, cv2.LINE_AA, _SHIFT)
        if solid:
            cv2.fillPoly(self.mask, fixed, 255.0, cv2.LINE_AA, _SHIFT)

    def stroke(self, points: Points, colour: Colour, width: float, *, depth: float = 0.0, closed: bool = False) -> None:
        """Draw a line; ``width`` is a fraction of half the face's height."""
        thick = max(1, round(width * self.placement.half_height * self.scale))
        cv2.polylines(self.pixels, [self.place(points, depth)], closed, colour, thick, cv2.LINE_AA, _SHIFT)

    def inside(self, points: Points, shapes: Sequence[tuple[Points, Colour]], *, depth: float = 0.0) -> None:
        """Fill shapes one over the other, but only inside a closed curve."""
        fixed = self.place(points, depth)
        x, y, width, height = cv2.boundingRect(fixed >> _SHIFT)
        left, top = max(0, x - 1), max(0, y - 1)
        region = self.pixels[top : y + height + 2, left : x + width + 2]
        origin = np.array([left, top], np.int32) << _SHIFT
        inner, mask = region.copy(), np.zeros(region.shape[:2], np.uint8)
        for shape, colour in shapes:
            cv2.fillPoly(inner, [self.place(shape, depth) - origin], colour, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(mask, [fixed - origin], 255.0, cv2.LINE_AA, _SHIFT)
        share = mask[..., None].astype(np.float32) / 255.0
        region[:] = (inner * share + region * (1 - share)).astype(np.uint8)

    def multiply(self, factor: npt.NDArray[np.float32]) -> None:
        self.pixels[:] = np.minimum(self.pixels * factor[..., None], 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Where light comes from (unit direction in the picture), how hard it is (0..1)."""

    x: float
    y: float
    hardness: float


def paint_face(person: Person, units: Units, placement: Placement, light: Light) -> Patch:
    """Paint a person who shows the given action units."""
    face, canvas = build_face(person, units), _Canvas(placement)
    skin = _exposed(_bgr(SKIN_TONES[person.skin_tone - 1]))
    hair = _bgr(HAIR_COLOURS[person.hair_colour])
    _paint_behind(canvas, person, skin, hair)
    for ear in face.ears:
        canvas.fill(ear, _mix(skin, (40, 40, 90), 0.12), depth=-0.15)
    canvas.fill(face.outline, skin)
    _shade(canvas, light)
    _paint_folds(canvas, face, skin)
    _paint_beard(canvas, face, person, hair, skin)
    _paint_mouth(canvas, face, skin)
    for eye in face.eyes:
        _paint_eye(canvas, eye, person, skin, units)
    _paint_nose(canvas, face, skin)
    for eye in face.eyes:
        canvas.fill(eye.brow, _mix(hair, (20, 20, 20), 0.45), solid=False, depth=0.02)
    if person.facial_hair == "moustache":
        canvas.fill(face.moustache, _mix(hair, (20, 20, 20), 0.25), solid=False, depth=0.05)
    _paint_hair(canvas, person, hair)
    _paint_glasses(canvas, face, person)
    return _finish(canvas, face)


def _paint_behind(canvas: _Canvas, person: Person, skin: Colour, hair: Colour) -> None:
    neck = np.array([(-0.36, 0.5), (0.36, 0.5), (0.42, 1.5), (-0.42, 1.5)])
    shoulders = np.array([(-0.5, 1.22), (0.5, 1.22), (1.25, 1.48), (1.5, 2.2), (-1.5, 2.2), (-1.25, 1.48)])
    if person.hair_style == "long":
        canvas.fill(_blob(0.0, 0.1, person.face_width + 0.24, 1.28), hair, depth=-0.2)
    elif person.hair_style == "headscarf":
        canvas.fill(_blob(0.0, 0.15, person.face_width + 0.22, 1.3), _bgr(person.cloth), depth=-0.2)
    elif person.hair_style == "curly":
        canvas.fill(_blob(0.0, -0.32, person.face_width + 0.26, 0.92), hair, depth=-0.2)
    canvas.fill(neck, _mix(skin, (30, 30, 50), 0.28), depth=-0.25)
    canvas.fill(shoulders, _bgr(person.cloth), depth=-0.25)


def _shade(canvas: _Canvas, light: Light) -> None:
    """Darken the side that is turned away, and the rim of the face."""
    side = canvas.pixels.shape[0]
    half = canvas.placement.half_height * canvas.scale
    centre_x = (canvas.placement.x - canvas.left) * canvas.scale
    centre_y = (canvas.placement.y - canvas.top) * canvas.scale
    x = ((np.arange(side, dtype=np.float32) - centre_x) / half)[None, :]
    y = ((np.arange(side, dtype=np.float32) - centre_y) / half)[:, None]
    slope = 1 + light.hardness * 0.45 * (x * light.x + y * light.y)
    rim = 1 - 0.22 * np.clip((x / 0.85) ** 2 + (y / 1.1) ** 2 - 0.35, 0, 1)
    canvas.multiply(np.clip(slope * rim, 0.45, 1.12).astype(np.float32))


def _paint_folds(canvas: _Canvas, face: Face, skin: Colour) -> None:
    for points, strength in face.folds:
        if strength > 0.05:  # noqa: PLR2004 - too faint to see
            canvas.stroke(points, _crease(skin, 0.18 + 0.42 * strength), 0.012 + 0.018 * strength)


def _paint_beard(canvas: _Canvas, face: Face, person: Person, hair: Colour, skin: Colour) -> None:
    if person.facial_hair == "beard":
        canvas.fill(face.beard, _mix(hair, (20, 20, 20), 0.2), solid=False)
    elif person.facial_hair == "stubble":
        canvas.fill(face.beard, _mix(skin, hair, 0.3), solid=False)


def _paint_mouth(canvas: _Canvas, face: Face, skin: Colour) -> None:
    mouth = face.mouth
    canvas.fill(mouth.lips, _mix(skin, (70, 60, 175), 0.48), solid=False, depth=0.06)

    interior = (
        (mouth.opening, (28.0, 20.0, 52.0)),
        (mouth.tongue, (88.0, 84.0, 180.0)),
        (mouth.teeth, (232.0, 238.0, 240.0)),
    )
    if mouth.openness > 0.03:  # noqa: PLR2004 - closed lips show a line only
        canvas.inside(mouth.opening, interior, depth=0.06)
    else:
        middle = (mouth.opening[:24] + mouth.opening[24:][::-1]) / 2
        canvas.stroke(middle, _mix(skin, (20, 14, 50), 0.75), 0.03, depth=0.06)


def _paint_eye(canvas: _Canvas, eye: Eye, person: Person, skin: Colour, units: Units) -> None:
    ball = (
        (eye.white, (238.0, 240.0, 242.0)),
        (eye.iris, _bgr(person.eye_colour)),
        (eye.pupil, (12.0, 12.0, 12.0)),
    )
    canvas.inside(eye.white, ball)
    canvas.stroke(eye.upper_lid, _mix(skin, (14, 12, 18), 0.8), 0.026)
    crinkle = units.get("AU6", 0.0)
    if crinkle > 0.2:  # noqa: PLR2004 - crow's feet come with raised cheeks
        for line in eye.crow_feet:
            canvas.stroke(line, _crease(skin, 0.2 + 0.4 * crinkle), 0.014)


def _paint_nose(canvas: _Canvas, face: Face, skin: Colour) -> None:
    dark = _mix(skin, (22, 22, 44), 0.42)
    canvas.stroke(face.nose_ridge, _mix(skin, (22, 22, 44), 0.16), 0.03, depth=0.14)
    canvas.stroke(face.nose_base, dark, 0.022, depth=0.14)
    for nostril in face.nostrils:
        canvas.fill(nostril, _mix(skin, (16, 12, 30), 0.72), solid=False, depth=0.14)


def _paint_hair(canvas: _Canvas, person: Person, hair: Colour) -> None:
    width = person.face_width
    if person.hair_style == "bald":
        return
    if person.hair_style == "headscarf":
        ring = np.concatenate([_arc(width + 0.2, 1.2, -200, 20), _arc(width - 0.05, 0.86, -200, 20)[::-1]])
        canvas.fill(ring, _bgr(person.cloth), depth=0.0)
        return
    if person.hair_style == "cap":
        cloth = _bgr(person.cloth)
        canvas.fill(
            np.concatenate([_arc(width + 0.08, 1.14, -180, 0), np.array([(width, -0.5), (-width, -0.5)])]), cloth
        )
        canvas.fill(_blob(0.0, -0.52, width + 0.1, 0.12), _mix(cloth, (10, 10, 10), 0.35), depth=0.2)
        return
    hairline = {"short": -0.66, "side": -0.60, "long": -0.64, "curly": -0.58, "fringe": -0.46}[person.hair_style]
    sides = {"short": -0.30, "side": -0.22, "long": 0.55, "curly": 0.0, "fringe": -0.10}[person.hair_style]
    lean = 0.16 if person.hair_style == "side" else 0.0
    top = _arc(width + 0.09, 1.13, -180, 0)
    inner = np.array(
        [(width + 0.07, sides), (width * 0.97, sides + 0.02), (width * 0.86, -0.42), (width * 0.45, hairline - lean),
         (0.0, hairline), (-width * 0.45, hairline + lean), (-width * 0.86, -0.42), (-width * 0.97, sides + 0.02),
         (-width - 0.07, sides)]
    )  # fmt: skip
    canvas.fill(np.concatenate([top, inner]), hair, depth=0.03)


def _paint_glasses(canvas: _Canvas, face: Face, person: Person) -> None:
    if person.glasses == "none":
        return
    colour, width = ((40, 36, 34), 0.05) if person.glasses == "thick" else ((120, 118, 116), 0.024)
    for eye in face.eyes:
        canvas.stroke(eye.lens, colour, width, depth=0.1, closed=True)
    bridge = np.array([(-0.10, -0.12), (0.0, -0.15), (0.10, -0.12)])
    canvas.stroke(bridge, colour, width, depth=0.14)


def _finish(canvas: _Canvas, face: Face) -> Patch:
    size = (canvas.size, canvas.size)
    pixels = cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA)
    coverage = cv2.resize(canvas.mask, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    # Edges were drawn over black; undo that, so that a half-covered pixel has the face's full colour.
    pixels = np.clip(pixels / np.maximum(coverage, 1e-3)[..., None], 0, 255).astype(np.uint8)
    outline = canvas.placement.pixels(face.outline)
    low, high = outline.min(axis=0), outline.max(axis=0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Patch(pixels=pixels, coverage=coverage, left=canvas.left, top=canvas.top, box=box)


def _blob(x: float, y: float, rx: float, ry: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _arc(rx: float, ry: float, start_deg: float, end_deg: float) -> Points:
    angle = np.radians(np.linspace(start_deg, end_deg, 30))
    return np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=1)


def _exposed(skin: Colour) -> Colour:
    """A tone as a camera that meters for the face shows it: dark tones are lifted more than light ones."""
    blue, green, red = (255 * (channel / 255) ** 0.78 for channel in skin)
    return (blue, green, red)


def _crease(skin: Colour, share: float) -> Colour:
    """The shadow in a fold; on dark skin it is deeper, so that it is seen there as well as on light skin."""
    darkness = 1 - sum(skin) / (3 * 255)
    return _mix(skin, (12, 12, 22), min(0.92, share + 0.35 * darkness))


def _bgr(rgb: tuple[int, int, int]) -> Colour:
    return (float(rgb[2]), float(rgb[1]), float(rgb[0]))


def _mix(one: Colour, other: tuple[float, float, float], share: float) -> Colour:
    return (
        one[0] * (1 - share) + other[0] * share,
        one[1] * (1 - share) + other[1] * share,
        one[2] * (1 - share) + other[2] * share,
    )
