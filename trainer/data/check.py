"""Judging a data set: errors stop the pipeline, warnings are shown. Pure; it judges what ``reading`` has read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.dataset import Dataset, LabelBox, LabelFault
from mien.errors import DataError
from trainer.data.leakage import near_duplicates

MIN_SIDE_PX = 4
BALANCE_RATIO = 10
MOST_SHOWN = 5
EDGE_SLACK = 0.01
"""Boxes may reach beyond an image by this share of its side: rounding of label files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """What was found of one image and its label file."""

    split: str
    name: str
    width: int = 0
    height: int = 0
    unreadable: str = ""
    sha256: str = ""
    dhash: int = 0
    boxes: tuple[LabelBox, ...] = ()
    faults: tuple[LabelFault, ...] = ()
    has_label: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDataset:
    """All of a data set, as it was read."""

    names: tuple[str, ...]
    images: tuple[ReadImage, ...]
    splits: tuple[str, ...]
    orphan_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of the data: what, how often, where for example."""

    severity: str
    kind: str
    count: int
    what: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdict and its figures."""

    findings: tuple[Finding, ...]
    images: dict[str, int]
    boxes: dict[str, dict[str, int]]
    ok: bool = field(default=True)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "ok": self.ok,
            "images": self.images,
            "boxes": self.boxes,
            "findings": [
                {"severity": f.severity, "kind": f.kind, "count": f.count, "what": f.what, "examples": list(f.examples)}
                for f in self.findings
            ],
        }


def judge(data: ReadDataset) -> Report:
    """Find every fault of a data set."""
    findings = tuple(finding for rule in _RULES for finding in rule(data))
    images = Counter(image.split for image in data.images)
    boxes = {split: dict.fromkeys(data.names, 0) | _by_class(data, split) for split in data.splits}
    return Report(
        findings=findings,
        images={split: images[split] for split in data.splits},
        boxes=boxes,
        ok=not any(finding.severity == "error" for finding in findings),
    )


def refuse_broken(report: Report, dataset: Dataset) -> None:
    """Stop on errors.

    Raises:
        DataError: naming every kind of error with examples.
    """
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        raise DataError(
            f"{dataset.yaml} is not fit to train on",
            found="; ".join(f"{e.what} ({e.count}): {', '.join(e.examples)}" if e.examples else e.what for e in errors),
            remedy=f"mend these, then look again with: mien train data check {dataset.yaml}",
        )


def _by_class(data: ReadDataset, split: str) -> dict[str, int]:
    counts = Counter(
        data.names[box.class_index] for image in data.images if image.split == split for box in image.boxes
    )
    return dict(counts)


def _finding(severity: str, kind: str, what: str, where: Sequence[str]) -> Iterable[Finding]:
    if where:
        yield Finding(severity=severity, kind=kind, count=len(where), what=what, examples=tuple(where[:MOST_SHOWN]))


def _empty_splits(data: ReadDataset) -> Iterable[Finding]:
    held = {image.split for image in data.images}
    missing = [split for split in ("train", "val") if split not in held]
    yield from _finding("error", "empty_split", "split without images", missing)


def _unreadable(data: ReadDataset) -> Iterable[Finding]:
    where = [f"{i.split}/{i.name}: {i.unreadable}" for i in data.images if i.unreadable]
    yield from _finding("error", "unreadable", "images that cannot be decoded", where)


def _label_faults(data: ReadDataset) -> Iterable[Finding]:
    where = [f"{i.split}/{i.name} line {f.line}: {f.reason}" for i in data.images for f in i.faults]
    classes = [text for text in where if "class index" in text]
    others = [text for text in where if "class index" not in text]
    yield from _finding("error", "class_range", "class index out of range", classes)
    yield from _finding("error", "label_line", "label lines that are no boxes", others)


def _no_labels(data: ReadDataset) -> Iterable[Finding]:
    for split in data.splits:
        images = [image for image in data.images if image.split == split]
        if images and not any(image.boxes or image.faults for image in images):
            yield Finding(severity="error", kind="no_labels", count=len(images), what=f"split '{split}' has no labels")
        else:
            where = [f"{split}/{image.name}" for image in images if not image.has_label]
            yield from _finding("warning", "unlabelled", "images without a label file (taken as empty)", where)


def _orphans(data: ReadDataset) -> Iterable[Finding]:
    yield from _finding("warning", "orphan_label", "label files without an image", data.orphan_labels)


def _small_boxes(data: ReadDataset) -> Iterable[Finding]:
    where = [
        f"{image.split}/{image.name}"
        for image in data.images
        for box in image.boxes
        if image.width and min(box.width * image.width, box.height * image.height) < MIN_SIDE_PX
    ]
    yield from _finding("warning", "tiny_box", f"boxes under {MIN_SIDE_PX} px", where)


def _beyond_edges(data: ReadDataset) -> Iterable[Finding]:
    where = [f"{image.split}/{image.name}" for image in data.images if any(map(_leaves_image, image.boxes))]
    yield from _finding("warning", "beyond_edge", "images with a box that reaches beyond their edge", where)


def _leaves_image(box: LabelBox) -> bool:
    x0, y0, x1, y1 = box.xyxy(1, 1)
    return min(x0, y0) < -EDGE_SLACK or max(x1, y1) > 1 + EDGE_SLACK


def _repeated_boxes(data: ReadDataset) -> Iterable[Finding]:
    where = [f"{i.split}/{i.name}" for i in data.images if len(set(i.boxes)) != len(i.boxes)]
    yield from _finding("warning", "repeated_box", "images with the same box twice", where)


def _balance(data: ReadDataset) -> Iterable[Finding]:
    counts = _by_class(data, "train")
    absent = [name for name in data.names if name not in counts]
    if counts:
        yield from _finding("error", "absent_class", "classes without a training box", absent)
        most = max(counts.values())
        rare = [f"{name}: {count}" for name, count in counts.items() if count * BALANCE_RATIO < most]
        yield from _finding("warning", "imbalance", f"classes {BALANCE_RATIO} times rarer than the most frequent", rare)


def _leakage(data: ReadDataset) -> Iterable[Finding]:
    readable = [image for image in data.images if image.sha256]
    train = {image.sha256: image.name for image in readable if image.split == "train"}
    same = [
        f"{image.split}/{image.name} = train/{train[image.sha256]}"
        for image in readable
        if image.split != "train" and image.sha256 in train
    ]
    yield from _finding("error", "leakage", "images of train that stand in another split too", same)
    alike = near_duplicates(
        [(image.name, image.dhash) for image in readable if image.split == "train" and image.sha256],
        [(image.name, image.dhash) for image in readable if image.split != "train" and image.sha256 not in train],
    )
    where = [f"{other} ≈ train/{one}" for one, other in alike]
    yield from _finding("warning", "near_duplicate", "images much like one of train in another split", where)


_RULES = (
    *(_empty_splits, _unreadable, _label_faults, _no_labels, _orphans),
    *(_small_boxes, _beyond_edges, _repeated_boxes, _balance, _leakage),
)
