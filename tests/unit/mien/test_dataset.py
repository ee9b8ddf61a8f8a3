"""A YOLO data set is found, its labels are parsed, and its hash changes with its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.dataset import LabelBox, hash_of, label_of, parse_label_line, read_dataset, read_labels
from mien.errors import ConfigError, DataError


@pytest.fixture
def data(tmp_path):
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "images" / split / "1.jpg").write_bytes(split.encode())
        (tmp_path / "labels" / split / "1.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: a, 1: b}\n")
    return tmp_path


def test_images_and_labels_are_found(data):
    """Each image knows where its label lies."""
    dataset = read_dataset(data)
    assert dataset.names == ("a", "b")
    boxes, faults = read_labels(dataset.split("val")[0].label, 2)
    assert boxes[0].xyxy(100, 100) == pytest.approx((40, 30, 60, 70))
    assert not faults


def test_the_hash_is_stable_and_sees_a_changed_label(data):
    """Same bytes, same version; one changed label, another version."""
    before = hash_of(read_dataset(data))
    assert before == hash_of(read_dataset(data))
    (data / "labels" / "val" / "1.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    assert before != hash_of(read_dataset(data))


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        ("train: images/train\n", DataError, "no class names"),
        ("name: [a]\ntrain: images/train\n", DataError, "a key 'name'"),
        ("names: {0: a, 2: b}\ntrain: images/train\n", DataError, "gaps"),
        ("names: [a]\ntrain: images/none\n", DataError, "does not exist"),
        ("names: [a]\n", DataError, "no split"),
        ("- a\n", DataError, "not a data set"),
        ("names: [", ConfigError, "not YAML"),
    ],
)
def test_a_broken_description_says_what_is_wrong(data, content, error, text):
    """Each fault of data.yaml has its own sentence."""
    (data / "data.yaml").write_text(content)
    with pytest.raises(error, match=text):
        read_dataset(data)


def test_an_empty_split_is_refused_when_it_is_used(data):
    """Asking for a split without images, or one that is not declared, is an error."""
    (data / "images" / "val" / "1.jpg").unlink()
    dataset = read_dataset(data)
    for split in ("val", "test"):
        with pytest.raises(DataError):
            dataset.split(split)


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.2",
        "2 0.5 0.5 0.2 0.2",
        "-1 0.5 0.5 0.2 0.2",
        "0 1.5 0.5 0.2 0.2",
        "0 0.5 0.5 0 0.2",
        "0 nan 0.5 0.2 0.2",
        "a b c d e",
        "0.5 0.5 0.5 0.1 0.1",
    ],
)
def test_a_bad_line_is_a_reason_not_a_box(line):
    """Wrong counts, classes, numbers and boxes are all named."""
    assert isinstance(parse_label_line(line, 2), str)


@given(st.text(max_size=80))
def test_any_text_is_a_box_or_a_reason(line):
    """The parser never raises."""
    assert isinstance(parse_label_line(line, 3), (LabelBox, str))


def test_only_the_last_images_folder_becomes_labels(tmp_path):
    """A data set below a folder called images still finds its labels."""
    image = tmp_path / "images" / "set" / "images" / "train" / "1.png"
    assert label_of(image) == tmp_path / "images" / "set" / "labels" / "train" / "1.txt"
