"""One picture: a background, one to three people, light, lens and noise; and the label of every face in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mien.expressions import EXPRESSIONS
from trainer.synth.action_units import Units, expression_index, sample
from trainer.synth.geometry import Placement
from trainer.synth.paint import Image, Light, Patch, paint_face
from trainer.synth.person import Person, Pose, sample_person, sample_pose

_MOST_OVERLAP = 0.05
_TRIES = 30
PEOPLE = (1, 3)
"""The fewest and the most people in a picture."""
_SHARE = {1: 0.30, 2: 0.35, 3: 0.35}
_HALF_HEIGHT = {1: (0.42, 0.19), 2: (0.28, 0.17), 3: (0.23, 0.15)}
"""Largest and smallest half height of a face by the number of people, as shares of the picture's shorter side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLabel:
    """A face's box in pixels (xyxy, clipped to the picture), its class index, and its attributes."""

    class_index: int
    box: tuple[float, float, float, float]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A rendered picture, BGR ``[H, W, 3]``, with the labels of its faces."""

    pixels: Image
    faces: tuple[FaceLabel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the light and the camera do to a whole picture."""

    light: Light
    gain: float
    warmth: float
    blur_px: float
    noise: float

    def attributes(self) -> dict[str, float]:
        """For the attributes beside each label, rounded."""
        values = {"gain": self.gain, "warmth": self.warmth, "blur_px": self.blur_px, "noise": self.noise}
        values |= {"light_x": self.light.x, "light_y": self.light.y, "light_hardness": self.light.hardness}
        return {name: round(value, 3) for name, value in values.items()}


def render_scene(
    rng: np.random.Generator,
    width: int,
    height: int,
    photographs: tuple[Image, ...],
    *,
    first: int | None = None,
    people: tuple[int, int] = (1, 3),
) -> Scene:
    """Render one picture.

    Args:
        rng: the picture's own generator; the same state gives the same bytes.
        width: in pixels.
        height: in pixels.
        photographs: decoded backgrounds to choose from; may be empty.
        first: class index of the first face, to balance classes over a data set; ``None`` draws it.
        people: the fewest and the most people, within :data:`PEOPLE`; where there is no room, fewer are drawn.
    """
    pixels = background(rng, width, height, photographs)
    conditions = sample_conditions(rng)
    faces: list[FaceLabel] = []
    for placement in _places(rng, width, height, people):
        drawn = int(rng.integers(len(EXPRESSIONS)))
        expression = EXPRESSIONS[first if first is not None and not faces else drawn]
        person, units = sample_person(rng), sample(expression, rng)
        patch = paint_face(person, units, placement, conditions.light)
        compose(pixels, patch)
        occlusion = occlude(rng, pixels, patch)
        attributes = face_attributes(person, placement, expression, units) | {"occlusion": occlusion}
        attributes |= conditions.attributes()
        faces.append(
            FaceLabel(
                class_index=expression_index(expression), box=clip(patch.box, width, height), attributes=attributes
            )
        )
    return Scene(pixels=apply_conditions(rng, pixels, conditions), faces=tuple(faces))


def face_attributes(person: Person, placement: Placement, expression: str, units: Units) -> dict[str, Any]:
    """What is written beside a label, for later audits."""
    pose = placement.pose
    return {
        "expression": expression,
        "action_units": {name: round(value, 3) for name, value in sorted(units.items())},
        **person.attributes(),
        "yaw_deg": round(pose.yaw_deg, 1),
        "pitch_deg": round(pose.pitch_deg, 1),
        "roll_deg": round(pose.roll_deg, 1),
        "face_height_px": round(2 * placement.half_height, 1),
    }


def sample_conditions(rng: np.random.Generator) -> Conditions:
    """Light and camera of one picture."""
    angle = rng.uniform(0, 2 * np.pi)
    light = Light(x=float(np.cos(angle)), y=float(np.sin(angle)), hardness=float(rng.uniform(0.1, 1.0)))
    return Conditions(
        light=light,
        gain=float(rng.uniform(0.75, 1.2)),
        warmth=float(rng.uniform(-0.12, 0.12)),
        blur_px=float(max(0.0, rng.normal(0.15, 0.35))),
        noise=float(rng.uniform(0, 6)),
    )


def apply_conditions(rng: np.random.Generator, pixels: Image, conditions: Conditions) -> Image:
    """Colour temperature, exposure, defocus and sensor noise, in that order."""
    tint = np.array([1 - conditions.warmth, 1.0, 1 + conditions.warmth], np.float32) * conditions.gain
    seen = pixels.astype(np.float32) * tint
    if conditions.blur_px > 0.2:  # noqa: PLR2004 - below a fifth of a pixel nothing is seen
        seen = cv2.GaussianBlur(seen, (0, 0), conditions.blur_px)
    seen += rng.normal(0, 1, seen.shape[:2]).astype(np.float32)[..., None] * conditions.noise
    return np.clip(seen, 0, 255).astype(np.uint8)


def compose(pixels: Image, patch: Patch) -> None:
    """Lay a painted face over a picture, clipped at its edges."""
    height, width = pixels.shape[:2]
    side = patch.coverage.shape[0]
    x0, y0 = max(0, patch.left), max(0, patch.top)
    x1, y1 = min(width, patch.left + side), min(height, patch.top + side)
    if x0 >= x1 or y0 >= y1:
        return
    own = (slice(y0 - patch.top, y1 - patch.top), slice(x0 - patch.left, x1 - patch.left))
    share = patch.coverage[own][..., None]
    region = pixels[y0:y1, x0:x1]
    region[:] = (region * (1 - share) + patch.pixels[own] * share).astype(np.uint8)


def occlude(rng: np.random.Generator, pixels: Image, patch: Patch) -> str:
    """Sometimes put something before a face: a bar, a hand-like blob at the chin, or a strand across."""
    chance = rng.random()
    left, top, right, bottom = patch.box
    width, height = right - left, bottom - top
    colour = tuple(float(c) for c in rng.integers(20, 230, 3))
    if chance < 0.04:  # noqa: PLR2004 - shares of pictures
        x = int(left + rng.uniform(-0.1, 0.9) * width)
        cv2.line(
            pixels, (x, int(top - 0.2 * height)), (x, int(bottom + 0.2 * height)), colour, max(2, int(0.10 * width))
        )
        return "bar"
    if chance < 0.08:  # noqa: PLR2004 - shares of pictures
        side = left if rng.random() < 0.5 else right  # noqa: PLR2004 - a coin
        centre = (int(side), int(bottom - 0.12 * height))
        cv2.ellipse(pixels, centre, (int(0.24 * width), int(0.2 * height)), 20, 0, 360, colour, -1, cv2.LINE_AA)
        return "hand"
    return "none"


def clip(box: tuple[float, float, float, float], width: int, height: int) -> tuple[float, float, float, float]:
    """A box cut at the picture's edges."""
    return (max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3]))


def background(rng: np.random.Generator, width: int, height: int, photographs: tuple[Image, ...]) -> Image:
    """A gradient, a room of rectangles, smooth noise, or a piece of a photograph."""
    kind = int(rng.integers(4 if photographs else 3))
    if kind == 3:  # noqa: PLR2004 - the last kind
        return _piece(rng, photographs[int(rng.integers(len(photographs)))], width, height)
    if kind == 0:
        corners = rng.integers(20, 235, (2, 2, 3)).astype(np.uint8)
        return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if kind == 1:
        cells = int(rng.integers(4, 24))
        noise = rng.integers(20, 235, (cells, cells, 3)).astype(np.uint8)
        return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    pixels = np.full((height, width, 3), rng.integers(60, 220, 3), np.uint8)
    for _ in range(int(rng.integers(3, 10))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        end = (x + int(rng.integers(8, max(9, width // 2))), y + int(rng.integers(8, max(9, height // 2))))
        cv2.rectangle(pixels, (x, y), end, tuple(float(c) for c in rng.integers(20, 235, 3)), -1)
    return pixels


def _piece(rng: np.random.Generator, photograph: Image, width: int, height: int) -> Image:
    rows, columns = photograph.shape[:2]
    share = rng.uniform(0.3, 0.9)
    tall = max(8, int(min(rows, columns * height / width) * share))
    wide = max(8, int(tall * width / height))
    y, x = int(rng.integers(max(1, rows - tall))), int(rng.integers(max(1, columns - wide)))
    piece = photograph[y : y + tall, x : x + wide]
    return np.asarray(cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _places(rng: np.random.Generator, width: int, height: int, people: tuple[int, int]) -> list[Placement]:
    """Heads that hardly cover each other, nearly all of each inside the picture."""
    counts = range(people[0], people[1] + 1)
    shares = np.array([_SHARE[count] for count in counts])
    count = int(rng.choice(counts, p=shares / shares.sum()))
    largest, smallest = _HALF_HEIGHT[count]
    boxes: list[npt.NDArray[np.float64]] = []
    places: list[Placement] = []
    for _ in range(_TRIES):
        half = float(rng.uniform(smallest, largest)) * min(width, height)
        reach_x, reach_y = 0.75 * half, 0.92 * half
        x = float(rng.uniform(min(reach_x, width / 2), max(width - reach_x, width / 2)))
        y = float(rng.uniform(min(reach_y, height / 2), max(height - reach_y, height / 2)))
        box = np.array([x - half, y - 1.15 * half, x + half, y + 1.2 * half])
        if all(_overlap(box, other) < _MOST_OVERLAP for other in boxes):
            boxes.append(box)
            places.append(Placement(x=x, y=y, half_height=half, pose=sample_pose(rng)))
        if len(places) == count:
            break
    return places


def _overlap(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    shared = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    smaller = min(float(np.prod(one[2:] - one[:2])), float(np.prod(other[2:] - other[:2])))
    return float(np.prod(shared)) / smaller


def upright() -> Pose:
    """A head that looks straight at the camera."""
    return Pose(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
