"""A validation split without labelled objects is refused before anything is done with it."""

import pytest

from mien.dataset import read_dataset
from mien.errors import DataError, ExitCode
from optimize.evaluate.run import check_labelled


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "images" / "val").mkdir(parents=True)
    for index in range(3):
        (tmp_path / "images" / "val" / f"{index}.png").write_bytes(b"")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: [happy, sad]\n")
    return read_dataset(tmp_path)


def test_a_missing_folder_of_labels_is_named(dataset):
    """How many images there are, that nothing is labelled, and which folder is not there; code 4."""
    with pytest.raises(DataError) as caught:
        check_labelled(dataset)
    assert caught.value.found == "3 validation images, 0 labelled objects (no folder labels/val)"
    assert caught.value.exit_code == ExitCode.DATA


def test_empty_label_files_are_no_labels_and_one_line_is(dataset):
    """A folder that is there is not called missing; one object in one image is enough."""
    labels = dataset.yaml.parent / "labels" / "val"
    labels.mkdir(parents=True)
    (labels / "1.txt").write_text("\n")
    with pytest.raises(DataError) as caught:
        check_labelled(dataset)
    assert caught.value.found == "3 validation images, 0 labelled objects"
    (labels / "1.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    check_labelled(dataset)
