"""Who is drawn: the traits that stay when the expression changes, and the pose of a head. Sampled, then frozen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Ten tones as sRGB, modelled on the Monk Skin Tone scale (E. Monk, 2019; skintone.google), index 1 lightest.
SKIN_TONES: tuple[tuple[int, int, int], ...] = (
    (246, 237, 228),
    (243, 231, 219),
    (247, 234, 208),
    (234, 218, 186),
    (215, 189, 150),
    (160, 126, 86),
    (130, 92, 67),
    (96, 65, 52),
    (58, 49, 42),
    (41, 36, 32),
)
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (28, 24, 22),
    "brown": (78, 52, 36),
    "auburn": (112, 58, 34),
    "blond": (196, 160, 96),
    "grey": (150, 148, 146),
    "white": (222, 220, 216),
}
HAIR_STYLES = ("bald", "short", "side", "long", "curly", "fringe", "cap", "headscarf")
FACIAL_HAIR = ("none", "none", "none", "stubble", "moustache", "beard")
EYE_COLOURS = ((60, 40, 28), (84, 60, 38), (74, 98, 124), (84, 110, 80))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Traits of one rendered person; lengths are fractions of half the face's height."""

    skin_tone: int
    face_width: float
    jaw_width: float
    chin: float
    eye_distance: float
    eye_size: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lip_fullness: float
    brow_thickness: float
    hair_style: str
    hair_colour: str
    facial_hair: str
    glasses: str
    eye_colour: tuple[int, int, int]
    cloth: tuple[int, int, int]
    contempt_side: int

    def attributes(self) -> dict[str, Any]:
        """What an audit may group by."""
        traits = asdict(self)
        return {key: traits[key] for key in ("skin_tone", "hair_style", "hair_colour", "facial_hair", "glasses")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How a head is turned, in degrees: yaw to its left, pitch up, roll clockwise."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def sample_person(rng: np.random.Generator) -> Person:
    """A person; every skin tone is equally likely, with every hair colour and style."""

    def pick(choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 - one of the choices
        return choices[int(rng.integers(len(choices)))]

    return Person(
        skin_tone=int(rng.integers(1, len(SKIN_TONES) + 1)),
        face_width=float(rng.uniform(0.68, 0.82)),
        jaw_width=float(rng.uniform(0.62, 0.88)),
        chin=float(rng.uniform(0.94, 1.06)),
        eye_distance=float(rng.uniform(0.30, 0.36)),
        eye_size=float(rng.uniform(1.05, 1.3)),
        nose_length=float(rng.uniform(0.9, 1.12)),
        nose_width=float(rng.uniform(0.85, 1.25)),
        mouth_width=float(rng.uniform(1.0, 1.22)),
        lip_fullness=float(rng.uniform(0.8, 1.35)),
        brow_thickness=float(rng.uniform(0.95, 1.4)),
        hair_style=pick(HAIR_STYLES),
        hair_colour=pick(tuple(HAIR_COLOURS)),
        facial_hair=pick(FACIAL_HAIR),
        glasses=pick(("none", "none", "none", "thin", "thick")),
        eye_colour=pick(EYE_COLOURS),
        cloth=(int(rng.integers(30, 220)), int(rng.integers(30, 220)), int(rng.integers(30, 220))),
        contempt_side=int(rng.choice((-1, 1))),
    )


def sample_pose(rng: np.random.Generator) -> Pose:
    """A head that looks roughly at the camera."""
    return Pose(
        yaw_deg=float(np.clip(rng.normal(0, 11), -28, 28)),
        pitch_deg=float(np.clip(rng.normal(0, 6), -14, 14)),
        roll_deg=float(np.clip(rng.normal(0, 8), -24, 24)),
    )
