"""Which job the options of ``mien train synth`` name."""

from pathlib import Path

import pytest

from mien.errors import ConfigError
from trainer.synth.dataset_writer import DatasetOrder
from trainer.synth.order import Options, PreviewOrder, parse_order
from trainer.synth.video import VideoOrder


def options(**given):
    plain = {"out": None, "video": None, "preview": None, "size": "160", "train": 8, "val": 4}
    return Options(**{**plain, "seconds": 2.0, "fps": 5, "seed": 1, "jobs": 1, **given})


def test_a_folder_means_a_data_set():
    """--out renders images of one side."""
    order = parse_order(options(out=Path("d"), size="96"))
    assert order == DatasetOrder(out=Path("d"), train=8, val=4, size=96, seed=1, jobs=1)


def test_a_video_has_width_and_height():
    """--video takes WIDTHxHEIGHT."""
    order = parse_order(options(video=Path("v.mp4"), size="640x360"))
    assert isinstance(order, VideoOrder)
    assert (order.width, order.height) == (640, 360)


def test_a_preview_needs_no_size():
    """--preview renders a sheet of fixed size."""
    assert parse_order(options(preview=Path("p.png"))) == PreviewOrder(out=Path("p.png"), seed=1)


@pytest.mark.parametrize("given", [{}, {"out": Path("d"), "video": Path("v.mp4")}])
def test_exactly_one_job_is_asked_for(given):
    """None or two are refused, never guessed at."""
    with pytest.raises(ConfigError, match="say what to render"):
        parse_order(options(**given))


@pytest.mark.parametrize("size", ["", "big", "160x120", "63", "32", "161", "-160"])
def test_a_data_set_refuses_what_is_no_side(size):
    """Sizes that are no even number of at least 64 pixels are named and refused."""
    with pytest.raises(ConfigError, match="is no size"):
        parse_order(options(out=Path("d"), size=size))


@pytest.mark.parametrize(("text", "range_"), [("2", (2, 2)), ("1-3", (1, 3)), ("2-3", (2, 3))])
def test_faces_are_a_number_or_a_range(text, range_):
    """--faces takes one number or the fewest and the most."""
    assert parse_order(options(out=Path("d"), faces=text)).faces == range_


@pytest.mark.parametrize("text", ["", "0-2", "3-1", "1-4", "1-2-3", "few"])
def test_faces_that_cannot_be_rendered_are_refused(text):
    """A range that is empty, reversed or too large is refused."""
    with pytest.raises(ConfigError, match="no number of faces"):
        parse_order(options(out=Path("d"), faces=text))


@pytest.mark.parametrize("size", ["640x", "640x361", "640x360x3", "640×360"])
def test_a_video_refuses_what_is_no_size(size):
    """Videos need even sides; anything else is refused before a frame is drawn."""
    with pytest.raises(ConfigError, match="is no size"):
        parse_order(options(video=Path("v.mp4"), size=size))
