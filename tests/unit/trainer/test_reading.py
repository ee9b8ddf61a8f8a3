"""Reading a data set for its check: every image is decoded, every label parsed."""

import cv2
import numpy as np
import pytest

from mien.dataset import read_dataset
from trainer.data.reading import read_for_check

NOISE = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A data set of one image in each split."""
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (tmp_path / part / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "images" / split / "a.jpg"), NOISE)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    return tmp_path


def first(folder, name="a.jpg"):
    (found,) = [i for i in read_for_check(read_dataset(folder)).images if i.split == "train" and i.name == name]
    return found


def test_a_sound_image_is_read_with_its_labels(folder):
    """Size, hashes and boxes are those of the files."""
    image = first(folder)
    assert (image.width, image.height, image.unreadable) == (80, 64, "")
    assert len(image.boxes) == 1
    assert len(image.sha256) == 64


def test_a_truncated_jpeg_is_unreadable(folder):
    """Some versions of OpenCV fill what is missing with grey; training on that would be training on nothing."""
    path = folder / "images" / "train" / "a.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert first(folder).unreadable


def test_bytes_after_a_jpeg_do_no_harm(folder):
    """Some cameras append data of their own; the picture is whole."""
    path = folder / "images" / "train" / "a.jpg"
    path.write_bytes(path.read_bytes() + b"maker's notes")
    assert first(folder).unreadable == ""


@pytest.mark.parametrize(("content", "reason"), [(b"", "0 bytes"), (b"no picture at all", "corrupt")])
def test_what_is_no_image_is_unreadable(folder, content, reason):
    """Empty and foreign files are found by decoding, not by their names."""
    (folder / "images" / "train" / "a.jpg").write_bytes(content)
    assert first(folder).unreadable == reason


def test_a_missing_label_file_is_told_from_an_empty_one(folder):
    """Both mean no boxes; only one of them may have been forgotten."""
    (folder / "labels" / "train" / "a.txt").write_text("")
    assert first(folder).has_label
    (folder / "labels" / "train" / "a.txt").unlink()
    assert not first(folder).has_label


def test_labels_without_an_image_are_listed(folder):
    """A label whose image was deleted or renamed is named with its split."""
    (folder / "labels" / "train" / "gone.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert read_for_check(read_dataset(folder)).orphan_labels == ("train/gone.txt",)
