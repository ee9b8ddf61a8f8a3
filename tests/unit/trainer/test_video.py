"""People in a video: their faces change smoothly, and the truth follows."""

import json

import cv2
import pytest

from trainer.synth.video import VideoOrder, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    out = tmp_path_factory.mktemp("video") / "v.mp4"
    write_video(VideoOrder(out=out, seconds=2.0, fps=6, width=160, height=96, seed=4))
    return out, json.loads(out.with_suffix(".json").read_text())


def test_frames_and_truth_have_the_same_length(video):
    """Every frame that can be read has its faces beside it."""
    out, truth = video
    capture = cv2.VideoCapture(str(out))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == len(truth["frames"]) == 12


def test_people_move_smoothly(video):
    """From one frame to the next no box jumps."""
    _, truth = video
    for before, after in zip(truth["frames"], truth["frames"][1:], strict=False):
        for one, other in zip(before, after, strict=True):
            assert max(abs(a - b) for a, b in zip(one["box"], other["box"], strict=True)) < 12


def test_nothing_half_written_is_left(video):
    """Only the video and its truth stand in the folder."""
    out, _ = video
    assert sorted(path.name for path in out.parent.iterdir()) == ["v.json", "v.mp4"]
