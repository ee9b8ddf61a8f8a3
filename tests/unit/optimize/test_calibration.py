"""Which images calibrate."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.dataset import read_dataset
from mien.errors import DataError
from mien.files import sha256_of
from optimize.calibration.images import calibration_set, count_for, evenly, hash_of_samples, notes_on
from optimize.calibration.select import Candidate, choose
from optimize.graph.export import GraphSpec

SPEC = GraphSpec(height=32, width=32, top_k=10)
CANDIDATES = st.lists(
    st.builds(
        lambda classes, brightness: Candidate(classes=frozenset(classes), brightness=brightness),
        st.sets(st.integers(0, 4), max_size=2),
        st.floats(0, 255),
    ),
    min_size=1,
    max_size=60,
)


@pytest.fixture
def write_data(tmp_path):
    def write(count, make):
        for folder in ("images/train", "labels/train", "images/val"):
            (tmp_path / folder).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(tmp_path / f"images/train/{index:03}.png"), make(index))
            (tmp_path / f"labels/train/{index:03}.txt").write_text(f"{index % 2} 0.5 0.5 0.2 0.2\n")
        cv2.imwrite(str(tmp_path / "images/val/0.png"), make(0))
        (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [happy, sad]\n")
        return read_dataset(tmp_path)

    return write


def tmp_file(dataset, name):
    return next(sample.image for sample in dataset.split("train") if sample.image.name == name)


def noise(index):
    return np.random.default_rng(index).integers(0, 256, (40, 32, 3), np.uint8)


@given(CANDIDATES, st.integers(1, 60), st.integers(0, 99))
def test_choice_has_the_right_size_and_no_repeats(candidates, count, seed):
    """As many as wanted or as there are, each once, rising, and the same for the same seed."""
    chosen = choose(candidates, count, seed=seed)
    assert len(chosen) == min(count, len(candidates))
    assert chosen == sorted(set(chosen))
    assert chosen == choose(candidates, count, seed=seed)


def test_rare_class_is_served():
    """Two images of a rare class among a hundred are both taken when eight are wanted."""
    common = [Candidate(classes=frozenset({0}), brightness=float(n)) for n in range(100)]
    rare = [Candidate(classes=frozenset({0, 1}), brightness=5.0)] * 2
    assert {100, 101} <= set(choose([*common, *rare], 8, seed=1))


def test_dark_and_bright_are_both_served():
    """Within a class the choice spreads over brightness."""
    candidates = [Candidate(classes=frozenset({0}), brightness=float(n)) for n in range(100)]
    chosen = choose(candidates, 4, seed=1)
    assert [index // 25 for index in chosen] == [0, 1, 2, 3]


def test_set_is_letterboxed_and_named_by_its_content(write_data):
    """Frames have the input's size; the hash follows the images, not the run."""
    dataset = write_data(40, noise)
    first, second = (calibration_set(dataset, SPEC, count=32, seed=seed) for seed in (0, 0))
    assert first.frames.shape == (32, 32, 32, 3)
    assert first.sha256 == second.sha256
    assert first.sha256 != calibration_set(dataset, SPEC, count=33, seed=0).sha256


def test_list_and_hash_belong_together(write_data):
    """The list names each frame's image and content, and the hash is that of the list."""
    dataset = write_data(40, noise)
    chosen = calibration_set(dataset, SPEC, count=32, seed=0)
    assert len(chosen.samples) == len(chosen.frames) == 32
    assert hash_of_samples(chosen.samples) == chosen.sha256
    assert sha256_of(tmp_file(dataset, chosen.samples[3].name)) == chosen.samples[3].sha256


def test_images_to_compare_on_are_others(write_data):
    """No frame that a scale is found with is held out, each has its labels, and too few are not held out at all."""
    dataset = write_data(48, noise)
    chosen = calibration_set(dataset, SPEC, count=32, seed=0, held_out=64)
    assert chosen.held_out
    assert len(chosen.compared) == 16
    assert all(len(one.truth.classes) == 1 for one in chosen.compared)
    seen = {frame.tobytes() for frame in chosen.frames}
    assert not seen & {one.frame.tobytes() for one in chosen.compared}
    alone = calibration_set(dataset, SPEC, count=44, seed=0, held_out=64)
    assert not alone.held_out
    assert [one.frame.tobytes() for one in alone.compared] == [frame.tobytes() for frame in alone.frames]
    assert calibration_set(dataset, SPEC, count=32, seed=0).compared == ()


def test_a_faulty_label_of_an_image_to_compare_on_is_named(write_data):
    """What is not a label is no truth to compare with."""
    dataset = write_data(48, noise)
    for sample in dataset.split("train"):
        sample.label.write_text("0 0.5 0.5 0.2\n")
    with pytest.raises(DataError, match="no labels"):
        calibration_set(dataset, SPEC, count=32, seed=0, held_out=64)


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_few_are_taken_at_even_steps(images, count):
    """As many as wanted or as there are, each once, in their order."""
    taken = evenly(list(range(images)), count)
    assert len(taken) == min(count, images)
    assert list(taken) == sorted(set(taken))


@pytest.mark.parametrize(("images", "asked"), [(31, 128), (40, 31)])
def test_too_few_images_are_refused(write_data, images, asked):
    """Fewer than 32, in the data or asked for, do not calibrate."""
    with pytest.raises(DataError, match="too few") as caught:
        calibration_set(write_data(images, noise), SPEC, count=asked, seed=0)
    assert "31" in caught.value.found


def test_a_number_that_was_named_is_never_lowered(write_data):
    """More than there are is refused with what there is; without a number fewer than usual are taken, and it is said."""
    dataset = write_data(40, noise)
    assert count_for(dataset, 36) == 36
    with pytest.raises(DataError, match="not so many") as caught:
        count_for(dataset, 128)
    assert caught.value.found == "asked for 128, the training split has 40"
    assert count_for(dataset, None) == 40
    (note,) = notes_on(None, 40, "held-out training images")
    assert note.startswith("calibrated with 40 images")
    assert notes_on(36, 36, "held-out training images") == ()


def test_comparing_on_the_calibration_images_is_said(write_data):
    """Where too few others are left, the losses are measured on what the scales were found with."""
    chosen = calibration_set(write_data(36, noise), SPEC, count=32, seed=0, held_out=64)
    (note,) = notes_on(32, 32, chosen.compared_on)
    assert "on the calibration images themselves" in note


def test_black_images_are_refused(write_data):
    """Images of one colour cannot tell a range."""
    dataset = write_data(32, lambda _: np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="show nothing"):
        calibration_set(dataset, SPEC, count=32, seed=0)


def test_unreadable_image_is_named(write_data):
    """An image that cannot be decoded is named."""
    dataset = write_data(32, noise)
    dataset.split("train")[5].image.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"005\.png"):
        calibration_set(dataset, SPEC, count=32, seed=0)
