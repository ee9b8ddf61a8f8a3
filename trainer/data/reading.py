"""Reading a data set for its check: every image is really decoded, on every core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

from mien.console import SILENT, Progress
from mien.dataset import Dataset, Sample, read_labels
from mien.endings import end_with_parent
from mien.files import sha256_of
from trainer.data.check import ReadDataset, ReadImage
from trainer.data.leakage import HASH_HEIGHT, HASH_WIDTH, dhash

_CHUNK = 64
_FEW = 128
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def read_for_check(dataset: Dataset, progress: Progress = SILENT) -> ReadDataset:
    """Decode all images and parse all labels of a data set."""
    jobs = [(split, sample) for split, samples in dataset.splits.items() for sample in samples]
    progress.start("reading images and labels", len(jobs))
    images = []
    for image in _read_all(jobs, len(dataset.names)):
        images.append(image)
        progress.advance()
    return ReadDataset(
        names=dataset.names,
        images=tuple(images),
        splits=tuple(dataset.splits),
        orphan_labels=tuple(_orphans(dataset)),
    )


def read_image(class_count: int, job: tuple[str, Sample]) -> ReadImage:
    """One image with its labels; an image that cannot be decoded is a value, not an error."""
    import cv2
    import numpy as np

    split, sample = job
    boxes, faults = read_labels(sample.label, class_count)
    found = ReadImage(split=split, name=sample.image.name, boxes=boxes, faults=faults, has_label=sample.label.exists())
    try:
        content = np.fromfile(sample.image, dtype=np.uint8)
    except OSError as error:
        return replace(found, unreadable=error.strerror or "cannot be read")
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    reason = _unreadable(content.tobytes()) if pixels is not None else "corrupt" if content.size else "0 bytes"
    if pixels is None or reason:
        return replace(found, unreadable=reason)
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (HASH_WIDTH, HASH_HEIGHT), interpolation=cv2.INTER_AREA)
    return replace(
        found,
        width=pixels.shape[1],
        height=pixels.shape[0],
        sha256=sha256_of(sample.image),
        dhash=dhash(small.astype(np.uint8)),
    )


def _unreadable(content: bytes) -> str:
    """Why an image that OpenCV has decoded is broken all the same; it fills a truncated JPEG with grey."""
    if not content.startswith(_JPEG_START) or content.endswith(_JPEG_END):
        return ""
    from PIL import Image

    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
    except OSError as error:
        return str(error)
    return ""


def _read_all(jobs: list[tuple[str, Sample]], class_count: int) -> Iterator[ReadImage]:
    read = partial(read_image, class_count)
    if len(jobs) < _FEW:
        yield from map(read, jobs)
        return
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        yield from pool.map(read, jobs, chunksize=_CHUNK)


def _orphans(dataset: Dataset) -> Iterator[str]:
    for samples in dataset.splits.values():
        known = {sample.label for sample in samples}
        folders: set[Path] = {sample.label.parent for sample in samples}
        for folder in sorted(folders):
            yield from (f"{folder.name}/{label.name}" for label in sorted(folder.glob("*.txt")) if label not in known)
