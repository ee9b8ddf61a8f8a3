"""Rendering a video of faces: people who drift, turn and change expression, with the truth of every frame beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.console import SILENT, Progress
from mien.errors import UnavailableError
from mien.expressions import EXPRESSIONS
from mien.files import write_json
from trainer.synth.action_units import Units, blend, expression_index, sample
from trainer.synth.dataset_writer import generator_of
from trainer.synth.geometry import Placement
from trainer.synth.paint import Light, paint_face
from trainer.synth.person import Person, Pose, sample_person
from trainer.synth.photographs import find_photographs, load_photograph
from trainer.synth.scene import (
    Conditions,
    FaceLabel,
    apply_conditions,
    background,
    clip,
    compose,
    face_attributes,
    sample_conditions,
)

_VIDEO_SPLIT = 2
_HOLD_S, _CHANGE_S = 2.2, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOrder:
    """What to render; the seed is never that of a data set's images, which use other places of the same sequence."""

    out: Path
    seconds: float
    fps: int
    width: int
    height: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actor:
    person: Person
    moods: tuple[tuple[str, Units], ...]
    home: Placement
    sway: tuple[float, float, float, float]
    offset_s: float


def write_video(order: VideoOrder, progress: Progress = SILENT) -> dict[str, Any]:
    """Render ``order.out`` (mp4) and its ground truth (json, boxes in pixels by frame).

    Raises:
        UnavailableError: the file cannot be written.
    """
    rng = generator_of(order.seed, _VIDEO_SPLIT)
    photographs = tuple(load_photograph(photograph) for photograph in find_photographs())
    backdrop = background(rng, order.width, order.height, photographs)
    conditions = _steady(sample_conditions(rng))
    actors = _cast(rng, order)
    order.out.parent.mkdir(parents=True, exist_ok=True)
    part = order.out.with_name(f".{order.out.stem}.part{order.out.suffix}")
    codec = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(part), codec, order.fps, (order.width, order.height))
    if not writer.isOpened():
        raise UnavailableError(
            f"could not write a video to {order.out}", remedy="name a .mp4 file in a writable folder"
        )
    frames = round(order.seconds * order.fps)
    progress.start("rendering a video", frames)
    truth = []
    for number in range(frames):
        pixels = backdrop.copy()
        faces = [_draw(pixels, actor, number / order.fps, conditions.light) for actor in actors]
        writer.write(apply_conditions(rng, pixels, conditions))
        truth.append([{"class": face.class_index, "box": [round(v, 1) for v in face.box]} for face in faces])
        progress.advance()
    writer.release()
    part.replace(order.out)
    write_json(order.out.with_suffix(".json"), {"fps": order.fps, "names": list(EXPRESSIONS), "frames": truth})
    return {"video": str(order.out), "frames": frames, "fps": order.fps, "seed": order.seed}


def _steady(conditions: Conditions) -> Conditions:
    """A camera somebody has set up: no defocus, moderate exposure."""
    return replace(conditions, blur_px=0.0, gain=float(np.clip(conditions.gain, 0.85, 1.1)))


def _cast(rng: np.random.Generator, order: VideoOrder) -> list[_Actor]:
    count = int(rng.integers(2, 4))
    half = min(0.28 * order.height, 0.21 * order.width)
    actors = []
    for place in range(count):
        shuffled = [str(name) for name in rng.permutation(EXPRESSIONS)]
        moods = tuple((name, sample(name, rng)) for name in shuffled)
        x = order.width * (place + 0.5) / count
        home = Placement(
            x=float(x),
            y=float(order.height * rng.uniform(0.46, 0.54)),
            half_height=float(half * rng.uniform(0.85, 1.05)),
            pose=Pose(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0),
        )
        sway = (
            float(rng.uniform(0.5, 1.1)),
            float(rng.uniform(0.3, 0.8)),
            float(rng.uniform(0, 6)),
            float(rng.uniform(0, 6)),
        )
        offset = float(rng.uniform(0, _HOLD_S))
        actors.append(_Actor(person=sample_person(rng), moods=moods, home=home, sway=sway, offset_s=offset))
    return actors


def _draw(pixels: np.typing.NDArray[np.uint8], actor: _Actor, time_s: float, light: Light) -> FaceLabel:
    expression, units = _mood(actor, time_s + actor.offset_s)
    quick, slow, phase, other = actor.sway
    wave, drift = np.sin(quick * time_s + phase), np.sin(slow * time_s + other)
    home = actor.home
    placement = Placement(
        x=float(home.x + 0.25 * home.half_height * drift),
        y=float(home.y + 0.10 * home.half_height * wave),
        half_height=home.half_height,
        pose=Pose(yaw_deg=float(14 * drift), pitch_deg=float(5 * wave), roll_deg=float(7 * wave * drift)),
    )
    patch = paint_face(actor.person, units, placement, light)
    compose(pixels, patch)
    height, width = pixels.shape[:2]
    return FaceLabel(
        class_index=expression_index(expression),
        box=clip(patch.box, width, height),
        attributes=face_attributes(actor.person, placement, expression, units),
    )


def _mood(actor: _Actor, time_s: float) -> tuple[str, Units]:
    """The expression at a moment: held, then blended into the next one; the label changes half-way."""
    beat, within = divmod(time_s, _HOLD_S + _CHANGE_S)
    name, units = actor.moods[int(beat) % len(actor.moods)]
    if within <= _HOLD_S:
        return name, units
    share = (within - _HOLD_S) / _CHANGE_S
    next_name, next_units = actor.moods[(int(beat) + 1) % len(actor.moods)]
    return (name if share < 0.5 else next_name), blend(units, next_units, share)  # noqa: PLR2004 - half-way
