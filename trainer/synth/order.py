"""Which of its three jobs ``mien train synth`` was asked for: a data set, a video or a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.console import Progress
from mien.errors import ConfigError
from trainer.synth.dataset_writer import DatasetOrder, write_dataset
from trainer.synth.preview import write_preview
from trainer.synth.scene import PEOPLE
from trainer.synth.video import VideoOrder, write_video

_SMALLEST_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewOrder:
    """A contact sheet."""

    out: Path
    seed: int


Order = DatasetOrder | VideoOrder | PreviewOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command's options as they were given."""

    out: Path | None
    video: Path | None
    preview: Path | None
    size: str
    train: int
    val: int
    seconds: float
    fps: int
    seed: int
    jobs: int
    faces: str = "1-3"


def parse_order(options: Options) -> Order:
    """Turn options into one order.

    Raises:
        ConfigError: none or several of --out, --video and --preview were given, or a size or a number of faces
            that cannot be rendered.
    """
    targets = {"--out": options.out, "--video": options.video, "--preview": options.preview}
    given = [name for name, target in targets.items() if target is not None]
    if len(given) != 1:
        raise ConfigError(
            "say what to render",
            found=" and ".join(given) or "nothing",
            wanted="exactly one of --out, --video, --preview",
        )
    if options.preview is not None:
        return PreviewOrder(out=options.preview, seed=options.seed)
    width, height = _parse_size(options.size, square=options.video is None)
    if options.video is not None:
        return VideoOrder(
            out=options.video, seconds=options.seconds, fps=options.fps, width=width, height=height, seed=options.seed
        )
    return DatasetOrder(
        out=options.out or Path(),
        train=options.train,
        val=options.val,
        size=width,
        seed=options.seed,
        jobs=options.jobs,
        faces=_parse_faces(options.faces),
    )


def render(order: Order, progress: Progress) -> dict[str, Any]:
    """Carry out an order; says what was written."""
    if isinstance(order, DatasetOrder):
        return write_dataset(order, progress)
    if isinstance(order, VideoOrder):
        return write_video(order, progress)
    return write_preview(order.out, seed=order.seed)


def _parse_faces(text: str) -> tuple[int, int]:
    fewest, most = PEOPLE
    parts = text.split("-")
    counts = [int(part) for part in parts if part.isdigit()]
    if len(counts) != len(parts) or len(parts) > 2 or not fewest <= counts[0] <= counts[-1] <= most:  # noqa: PLR2004
        raise ConfigError(
            f"'{text}' is no number of faces", wanted=f"{fewest} to {most}, such as 2, or a range such as 1-3"
        )
    return (counts[0], counts[-1])


def _parse_size(text: str, *, square: bool) -> tuple[int, int]:
    parts = text.lower().split("x")
    wanted = "one number, such as 160" if square else "WIDTHxHEIGHT, such as 640x360, both even"
    sides = [int(part) for part in parts if part.isdigit()]
    fits = len(sides) == len(parts) and (len(parts) == 1 or (len(parts) == 2 and not square))  # noqa: PLR2004
    if not fits or min(sides, default=0) < _SMALLEST_PX or any(side % 2 for side in sides):
        raise ConfigError(f"'{text}' is no size", wanted=f"{wanted}, at least {_SMALLEST_PX}")
    return (sides[0], sides[-1])
