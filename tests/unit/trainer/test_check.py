"""What a data set is refused for, and what is only said about it."""

from dataclasses import replace
from pathlib import Path

import pytest

from mien.dataset import Dataset, LabelBox, LabelFault
from mien.errors import DataError
from trainer.data.check import ReadDataset, ReadImage, judge, refuse_broken

BOX = LabelBox(class_index=0, centre_x=0.5, centre_y=0.5, width=0.4, height=0.4)
OTHER = replace(BOX, class_index=1)
SOMEWHERE = Dataset(yaml=Path("data.yaml"), names=("a", "b"), splits={})


def image(split, name, **given):
    """A readable image of 100 px with one box of each class."""
    known = {"width": 100, "height": 100, "sha256": f"{split}{name}", "dhash": 0}
    return ReadImage(split=split, name=name, **{**known, "boxes": (BOX, OTHER), **given})


def data(*images, names=("a", "b"), **given):
    return ReadDataset(names=names, images=images, splits=("train", "val"), **given)


def spread(*images):
    """Far-apart hashes, so that only a test that wants a near-duplicate has one."""
    return tuple(replace(one, dhash=(0xF << (8 * number)) & (2**64 - 1)) for number, one in enumerate(images))


SOUND = spread(image("train", "1.jpg"), image("train", "2.jpg"), image("val", "3.jpg"))


def kinds(read, severity):
    return {finding.kind for finding in judge(read).findings if finding.severity == severity}


def test_a_sound_data_set_has_no_findings():
    """Nothing is made up."""
    report = judge(data(*SOUND))
    assert report.ok
    assert report.findings == ()
    assert report.images == {"train": 2, "val": 1}
    assert report.boxes == {"train": {"a": 2, "b": 2}, "val": {"a": 1, "b": 1}}


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("unreadable", {"unreadable": "corrupt"}),
        ("class_range", {"faults": (LabelFault(line=1, reason="class index 9 out of range 0..1"),)}),
        ("label_line", {"faults": (LabelFault(line=2, reason="3 fields, wanted 5: class x y width height"),)}),
    ],
)
def test_a_broken_image_or_label_is_an_error(kind, broken):
    """One image that cannot be trained on stops the pipeline."""
    assert kinds(data(*SOUND, replace(SOUND[0], name="x.jpg", sha256="x", **broken)), "error") == {kind}


@pytest.mark.parametrize("missing", ["train", "val"])
def test_an_empty_split_is_an_error(missing):
    """Training needs images to learn from and images to judge by."""
    read = data(*(one for one in SOUND if one.split != missing))
    assert "empty_split" in kinds(read, "error")


def test_a_split_without_any_label_is_an_error():
    """A data set whose labels were forgotten is not a data set of empty images."""
    bare = tuple(replace(one, boxes=(), has_label=False) if one.split == "val" else one for one in SOUND)
    assert "no_labels" in kinds(data(*bare), "error")


def test_a_class_that_is_never_shown_is_an_error():
    """A name without a training box cannot be learnt."""
    report = judge(data(*SOUND, names=("a", "b", "ghost")))
    (finding,) = [finding for finding in report.findings if finding.kind == "absent_class"]
    assert finding.severity == "error"
    assert finding.examples == ("ghost",)


def test_the_same_image_in_two_splits_is_an_error():
    """Judged by what it was trained on, a model looks better than it is."""
    read = data(*SOUND, replace(SOUND[0], split="val", name="copy.jpg"))
    assert kinds(read, "error") == {"leakage"}


def test_a_near_duplicate_is_a_warning():
    """Two bits apart may be the same picture saved again, or chance: people decide."""
    near = replace(SOUND[0], split="val", name="near.jpg", sha256="other", dhash=SOUND[0].dhash ^ 0b1)
    assert kinds(data(*SOUND, near), "warning") == {"near_duplicate"}
    assert judge(data(*SOUND, near)).ok


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("unlabelled", {"boxes": (), "has_label": False}),
        ("tiny_box", {"boxes": (replace(BOX, width=0.02), OTHER)}),
        ("repeated_box", {"boxes": (BOX, BOX, OTHER)}),
    ],
)
def test_an_oddity_is_a_warning(kind, odd):
    """What may be meant is shown and does not stop the pipeline."""
    read = data(*SOUND[1:], replace(SOUND[0], **odd))
    assert kinds(read, "warning") == {kind}
    assert judge(read).ok


def test_labels_without_images_are_a_warning():
    """A label whose image is gone is named."""
    assert kinds(data(*SOUND, orphan_labels=("train/9.txt",)), "warning") == {"orphan_label"}


def test_a_rare_class_is_a_warning():
    """Ten times rarer than the most frequent class is worth knowing."""
    many = replace(SOUND[0], boxes=(*(replace(BOX, centre_x=0.3 + 0.01 * i) for i in range(40)), OTHER))
    assert kinds(data(*SOUND, replace(many, name="m.jpg", sha256="m")), "warning") == {"imbalance"}


def test_a_refusal_names_every_kind_of_error():
    """All faults stand in one report, each with an example."""
    read = data(
        *SOUND,
        image("train", "bad.jpg", unreadable="corrupt", dhash=1 << 60),
        replace(SOUND[1], split="val", name="copy.jpg"),
    )
    with pytest.raises(DataError) as caught:
        refuse_broken(judge(read), SOMEWHERE)
    assert "bad.jpg" in caught.value.found
    assert "copy.jpg" in caught.value.found
    assert "data check" in caught.value.remedy


def test_warnings_do_not_refuse():
    """Only errors stop the pipeline."""
    refuse_broken(judge(data(*SOUND, orphan_labels=("train/9.txt",))), SOMEWHERE)
