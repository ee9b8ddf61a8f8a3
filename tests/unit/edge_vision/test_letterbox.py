"""How a frame gets into the model's input, and boxes back out of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.letterbox import Geometry, Letterbox
from mien.errors import DataError

SIDES = st.integers(1, 300)
INPUTS = st.integers(1, 6).map(lambda n: 32 * n)


def frame(width, height, value=200):
    return np.full((height, width, 3), value, np.uint8)


def test_wide_frame_is_bordered_above_and_below():
    """A frame twice as wide as high fills the width and is centred in the height."""
    out = np.zeros((160, 160, 3), np.uint8)
    geometry = Letterbox(160, 160).apply(frame(320, 160), out)
    assert (geometry.pad_left, geometry.pad_top, geometry.scaled_height) == (0, 40, 80)
    assert (out[:40] == 114).all()
    assert (out[40:120] == 200).all()
    assert (out[120:] == 114).all()


def test_odd_border_is_smaller_above():
    """An odd border gives its smaller half to the top, as ultralytics does."""
    out = np.zeros((32, 32, 3), np.uint8)
    geometry = Letterbox(32, 32).apply(frame(32, 29), out)
    assert geometry.pad_top == 1
    assert (out[30:] == 114).all()
    assert (out[29] == 200).all()


def test_frame_of_the_right_size_is_copied_unchanged():
    """No pixel of a frame that fits already is touched."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    out = np.zeros_like(pixels)
    Letterbox(96, 64).apply(pixels, out)
    assert (out == pixels).all()


def test_buffer_holds_nothing_of_the_frame_before():
    """A buffer that held a high frame shows no trace of it around a wide one."""
    letterbox, out = Letterbox(64, 64), np.zeros((64, 64, 3), np.uint8)
    letterbox.apply(frame(10, 64, 255), out)
    letterbox.apply(frame(64, 10, 7), out)
    assert set(np.unique(out)) == {7, 114}


def test_same_size_gives_the_same_geometry_object():
    """Frames of one size make no new geometry."""
    letterbox, out = Letterbox(64, 64), np.zeros((64, 64, 3), np.uint8)
    assert letterbox.apply(frame(100, 50), out) is letterbox.apply(frame(100, 50), out)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_no_frames(wrong):
    """Grey pictures, floats and empty pictures are refused."""
    with pytest.raises(DataError, match="frame"):
        Letterbox(32, 32).apply(wrong, np.zeros((32, 32, 3), np.uint8))


def test_buffer_of_another_size_is_refused():
    """The buffer must have the input's size."""
    with pytest.raises(DataError, match="buffer"):
        Letterbox(32, 32).apply(frame(8, 8), np.zeros((16, 32, 3), np.uint8))


@given(SIDES, SIDES, INPUTS, INPUTS)
def test_frame_lies_inside_the_input(source_width, source_height, width, height):
    """Whatever the sizes, the scaled frame lies inside and touches two opposite borders."""
    g = Geometry.between(source_width, source_height, width, height)
    assert g.pad_left >= 0 <= g.pad_top
    assert g.pad_left + g.scaled_width <= width
    assert g.pad_top + g.scaled_height <= height
    assert g.scaled_width == width or g.scaled_height == height


@given(st.integers(20, 300), st.integers(20, 300), INPUTS, INPUTS)
def test_boxes_come_back_where_they_were(source_width, source_height, width, height):
    """A box laid into the input and taken back is the same box."""
    g = Geometry.between(source_width, source_height, width, height)
    boxes = np.array([[1, 2, source_width - 3, source_height - 4]], np.float32)
    assert np.allclose(g.to_source(g.to_input(boxes)), boxes, atol=1e-2)


def test_boxes_are_clipped_to_the_frame():
    """A box that reaches into the border ends at the frame's edge."""
    g = Geometry.between(320, 160, 160, 160)
    assert g.to_source(np.array([[-5, 0, 500, 500]], np.float32)).tolist() == [[0, 0, 320, 160]]
