"""Writing a rendered data set in YOLO layout, each face's attributes beside its label. Same seed, same bytes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.console import SILENT, Progress
from mien.dataset import hash_of, read_dataset
from mien.endings import end_with_parent
from mien.errors import DataError
from mien.expressions import EXPRESSIONS
from mien.files import write_json, write_text
from trainer.synth.paint import Image
from trainer.synth.photographs import Photograph, find_photographs, load_photograph
from trainer.synth.scene import PEOPLE, FaceLabel, render_scene

VERSION = 1
"""Rises whenever the same seed would give other bytes."""
_QUALITY = 92
_SPLITS = {"train": 0, "val": 1}
_MARK = "synth.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOrder:
    """What to render: counts, side in pixels, seed, the fewest and most faces in an image; 0 jobs: one a core."""

    out: Path
    train: int
    val: int
    size: int
    seed: int
    jobs: int = 0
    faces: tuple[int, int] = PEOPLE


def write_dataset(order: DatasetOrder, progress: Progress = SILENT) -> dict[str, Any]:
    """Render a data set into ``order.out``.

    Raises:
        DataError: the folder holds something that this command did not write.
        UnavailableError: the disk is full or read-only.
    """
    _make_room(order.out)
    photographs = find_photographs()
    jobs = [(split, index) for split in _SPLITS for index in range(getattr(order, split))]
    progress.start("rendering faces", len(jobs))
    for _ in _run(partial(_render_one, order, photographs), jobs, order.jobs):
        progress.advance()
    names = "\n".join(f"  {index}: {name}" for index, name in enumerate(EXPRESSIONS))
    write_text(order.out / "data.yaml", f"train: images/train\nval: images/val\nnames:\n{names}\n")
    record = {
        "generator_version": VERSION,
        "seed": order.seed,
        "size": order.size,
        "faces": list(order.faces),
        "images": {split: getattr(order, split) for split in _SPLITS},
        "photographs": [{"name": p.name, "sha256": p.sha256} for p in photographs],
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }
    write_json(order.out / _MARK, record)
    return {"data": str(order.out / "data.yaml"), "sha256": hash_of(read_dataset(order.out)), **record}


def generator_of(seed: int, *place: int) -> np.random.Generator:
    """The generator that belongs to one place (split, index), whoever renders it and in which order."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *place])))


def _make_room(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).is_file():
            raise DataError(
                f"{out} is not empty and was not made by this command",
                wanted="an empty or new folder",
                remedy="name another folder with --out",
            )
        for part in ("images", "labels", "attributes"):
            shutil.rmtree(out / part, ignore_errors=True)
    for split in _SPLITS:
        for part in ("images", "labels", "attributes"):
            (out / part / split).mkdir(parents=True, exist_ok=True)


def _run(work: partial[None], jobs: list[tuple[str, int]], processes: int) -> Iterator[None]:
    if processes == 1:
        yield from map(work, jobs)
        return
    workers, context = processes or os.cpu_count(), get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(work, jobs, chunksize=16)


def _render_one(order: DatasetOrder, photographs: tuple[Photograph, ...], job: tuple[str, int]) -> None:
    cv2.setNumThreads(1)
    split, index = job
    rng = generator_of(order.seed, _SPLITS[split], index)
    first, backgrounds = index % len(EXPRESSIONS), _loaded(photographs)
    scene = render_scene(rng, order.size, order.size, backgrounds, first=first, people=order.faces)
    name = f"{index:06d}"
    image = order.out / "images" / split / f"{name}.jpg"
    if not cv2.imwrite(str(image), scene.pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        raise DataError(f"could not write {image}", remedy="look at the disk's free space")
    lines = [label_line(face, order.size, order.size) for face in scene.faces]
    (order.out / "labels" / split / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    attributes = json.dumps([face.attributes for face in scene.faces], sort_keys=True)
    (order.out / "attributes" / split / f"{name}.json").write_text(attributes + "\n")


def label_line(face: FaceLabel, width: int, height: int) -> str:
    """A face as a YOLO label line: class, centre, size, as fractions of the picture."""
    x0, y0, x1, y1 = face.box
    fractions = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join([str(face.class_index), *(f"{value:.6f}" for value in fractions)])


@lru_cache(maxsize=1)
def _loaded(photographs: tuple[Photograph, ...]) -> tuple[Image, ...]:
    return tuple(load_photograph(photograph) for photograph in photographs)
