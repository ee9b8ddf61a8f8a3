"""A YOLO detection data set as it lies on disk: ``data.yaml``, ``images/<split>/``, ``labels/<split>/``.

Decides where images and labels are and what a label line means. Leaves decoding images and judging the data to
others. Format: https://docs.ultralytics.com/datasets/detect/ (one line a box: class, then centre x, centre y, width
and height as fractions of the image).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.config import nearest, read_yaml
from mien.console import SILENT, Progress
from mien.errors import DataError
from mien.files import sha256_of

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
SPLITS = ("train", "val", "test")
_FIELDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBox:
    """One labelled object; coordinates are fractions of the image's width and height."""

    class_index: int
    centre_x: float
    centre_y: float
    width: float
    height: float

    def xyxy(self, image_width: int, image_height: int) -> tuple[float, float, float, float]:
        """Corners in pixels of an image of the given size."""
        return (
            (self.centre_x - self.width / 2) * image_width,
            (self.centre_y - self.height / 2) * image_height,
            (self.centre_x + self.width / 2) * image_width,
            (self.centre_y + self.height / 2) * image_height,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image and the place of its label file, which need not exist (an image without objects)."""

    image: Path
    label: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A data set's names and samples; ``splits`` holds only splits that the file declares."""

    yaml: Path
    names: tuple[str, ...]
    splits: dict[str, tuple[Sample, ...]]

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split.

        Raises:
            DataError: the split is not declared or holds no images.
        """
        if name not in self.splits:
            raise DataError(
                f"{self.yaml} declares no split '{name}'",
                found=", ".join(self.splits) or "none",
                wanted=f"a line '{name}: images/{name}'",
            )
        if not self.splits[name]:
            raise DataError(f"split '{name}' of {self.yaml} holds no images", remedy=f"add images to '{name}'")
        return self.splits[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFault:
    """A label line that could not be taken, with its number counted from one."""

    line: int
    reason: str


def read_dataset(path: Path) -> Dataset:
    """Read a ``data.yaml`` and list its images.

    Args:
        path: the file, or the folder that holds a ``data.yaml``.

    Raises:
        ConfigError: the file is missing or not YAML.
        DataError: it has no class names, or a split's folder does not exist.
    """
    yaml = path / "data.yaml" if path.is_dir() else path
    content = read_yaml(yaml)
    if not isinstance(content, dict):
        raise DataError(f"{yaml} is not a data set description", wanted="keys path, train, val, names")
    root = _root_of(yaml, content)
    names = _names_of(yaml, content)
    splits = {name: _samples(yaml, root, content[name]) for name in SPLITS if content.get(name)}
    if not splits:
        raise DataError(f"{yaml} declares no split", found=", ".join(map(str, content)), wanted="train and val")
    return Dataset(yaml=yaml, names=names, splits=splits)


def read_labels(path: Path, class_count: int) -> tuple[tuple[LabelBox, ...], tuple[LabelFault, ...]]:
    """Parse a label file into boxes and faults; a file that does not exist is an image without objects."""
    if not path.exists():
        return (), ()
    boxes: list[LabelBox] = []
    faults: list[LabelFault] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        parsed = parse_label_line(line, class_count)
        if isinstance(parsed, LabelBox):
            boxes.append(parsed)
        else:
            faults.append(LabelFault(line=number, reason=parsed))
    return tuple(boxes), tuple(faults)


def parse_label_line(line: str, class_count: int) -> LabelBox | str:
    """One label line as a box, or the reason why it is none."""
    fields = line.split()
    if len(fields) != _FIELDS:
        return f"{len(fields)} fields, wanted {_FIELDS}: class x y width height"
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return f"not numbers: {line.strip()[:60]}"
    class_value, *geometry = values
    if not all(math.isfinite(value) for value in values):
        return "not finite"
    if class_value != int(class_value) or not 0 <= class_value < class_count:
        return f"class index {fields[0]} out of range 0..{class_count - 1}"
    centre_x, centre_y, width, height = geometry
    if not (0 <= centre_x <= 1 and 0 <= centre_y <= 1 and 0 < width <= 1 and 0 < height <= 1):
        return f"box outside the image: {line.strip()[:60]}"
    return LabelBox(class_index=int(class_value), centre_x=centre_x, centre_y=centre_y, width=width, height=height)


def hash_of(dataset: Dataset, splits: Sequence[str] = SPLITS, progress: Progress = SILENT) -> str:
    """SHA-256 over names, relative paths and contents of images and labels: the data set's version."""
    progress.start("data set's version", sum(len(dataset.splits.get(name, ())) for name in splits))
    digest = hashlib.sha256("\n".join(dataset.names).encode())
    root = dataset.yaml.parent.resolve()
    for name in splits:
        for sample in dataset.splits.get(name, ()):
            image = sample.image.resolve()
            shown = image.relative_to(root) if image.is_relative_to(root) else Path(image.name)
            digest.update(f"\n{name} {shown.as_posix()} {sha256_of(sample.image)} ".encode())
            digest.update((sha256_of(sample.label) if sample.label.exists() else "none").encode())
            progress.advance()
    return digest.hexdigest()


def _root_of(yaml: Path, content: dict[Any, Any]) -> Path:
    root = Path(str(content.get("path", ".")))
    return root if root.is_absolute() else (yaml.parent / root)


def _names_of(yaml: Path, content: dict[Any, Any]) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, dict) and names:
        keys = sorted(names, key=str) if any(not isinstance(key, int) for key in names) else sorted(names)
        if keys != list(range(len(keys))):
            raise DataError(f"class indices of {yaml} have gaps", found=str(keys[:20]), wanted="0, 1, 2, …")
        return tuple(str(names[key]) for key in keys)
    if isinstance(names, list) and names:
        return tuple(str(name) for name in names)
    alike = nearest("names", [str(key) for key in content], most=1)
    raise DataError(
        f"{yaml} has no class names",
        found=f"a key '{alike[0]}'" if alike else ", ".join(map(str, content)),
        wanted="names: {0: first, 1: second, …}",
    )


def _samples(yaml: Path, root: Path, declared: object) -> tuple[Sample, ...]:
    folders = declared if isinstance(declared, list) else [declared]
    images: list[Path] = []
    for folder in folders:
        place = root / str(folder)
        if place.is_file() and place.suffix == ".txt":
            images += [_listed(root, place, line) for line in place.read_text().splitlines() if line.strip()]
        elif place.is_dir():
            images += [found for found in place.rglob("*") if found.suffix.lower() in IMAGE_SUFFIXES]
        else:
            raise DataError(
                f"{yaml} names a folder that does not exist",
                found=str(place),
                wanted="a folder of images or a .txt list",
                remedy="mend 'path' and the split's line, or make the folder",
            )
    return tuple(Sample(image=image, label=label_of(image)) for image in sorted(images))


def _listed(root: Path, listing: Path, line: str) -> Path:
    path = Path(line.strip())
    if path.is_absolute():
        return path
    return listing.parent / path if line.startswith("./") else root / path


def label_of(image: Path) -> Path:
    """Where the label file of an image lies: the last folder ``images`` in its path becomes ``labels``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
