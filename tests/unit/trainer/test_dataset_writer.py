"""A rendered data set on disk."""

import hashlib
import json
from dataclasses import replace

import pytest

from mien.dataset import read_dataset, read_labels
from mien.errors import DataError
from mien.expressions import EXPRESSIONS
from trainer.synth.dataset_writer import DatasetOrder, write_dataset


def contents(folder):
    """Hashes of every file by its place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    return DatasetOrder(out=tmp_path_factory.mktemp("synth") / "data", train=8, val=3, size=96, seed=5, jobs=1)


@pytest.fixture(scope="module")
def written(order):
    return write_dataset(order)


def test_it_is_a_yolo_data_set(order, written):
    """The project's own reader takes it, with every label sound and no class index out of place."""
    dataset = read_dataset(order.out)
    assert dataset.names == EXPRESSIONS
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 8, "val": 3}
    for samples in dataset.splits.values():
        for sample in samples:
            boxes, faults = read_labels(sample.label, len(EXPRESSIONS))
            assert boxes
            assert faults == ()


def test_attributes_stand_beside_labels_in_the_same_order(order, written):
    """The n-th entry tells about the n-th label line."""
    for label in (order.out / "labels" / "train").iterdir():
        entries = json.loads((order.out / "attributes" / "train" / f"{label.stem}.json").read_text())
        named = [EXPRESSIONS.index(entry["expression"]) for entry in entries]
        assert named == [int(line.split()[0]) for line in label.read_text().splitlines()]


def test_its_record_says_what_made_it(order, written):
    """Seed, generator and photographs decide about the bytes, so they are kept."""
    record = json.loads((order.out / "synth.json").read_text())
    assert record["seed"] == 5
    assert record["generator_version"] >= 1
    assert all(set(photograph) >= {"name", "sha256"} for photograph in record["photographs"])
    assert len(written["sha256"]) == 64


def test_the_same_seed_gives_the_same_bytes(order, written, tmp_path):
    """Rendered elsewhere, every file is the same."""
    write_dataset(replace(order, out=tmp_path / "again"))
    assert contents(tmp_path / "again") == contents(order.out)


def test_more_images_leave_the_first_ones_as_they_were(order, written, tmp_path):
    """An image belongs to its place, not to how many are rendered."""
    write_dataset(replace(order, out=tmp_path / "more", train=9, val=1))
    more = contents(tmp_path / "more")
    assert all(more[name] == digest for name, digest in contents(order.out).items() if "/train/" in name)


def test_another_seed_gives_other_images(order, written, tmp_path):
    """A seed is not decoration."""
    write_dataset(replace(order, out=tmp_path / "other", seed=6, train=1, val=1))
    place = "images/train/000000.jpg"
    assert contents(tmp_path / "other")[place] != contents(order.out)[place]


def test_a_folder_of_somebody_else_is_left_alone(order, tmp_path):
    """Only what this command wrote is ever replaced."""
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="was not made by this command"):
        write_dataset(replace(order, out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_rendering_again_replaces_all_of_an_older_data_set(order, tmp_path):
    """No image of a larger older set is left among the new ones."""
    out = tmp_path / "data"
    write_dataset(replace(order, out=out, train=3, val=1))
    write_dataset(replace(order, out=out, train=1, val=1))
    assert len(list((out / "images" / "train").iterdir())) == 1
