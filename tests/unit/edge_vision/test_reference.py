"""Reference frames survive the disk, and damage is told."""

import numpy as np
import pytest

from edge.vision.detections import Detections
from edge.vision.reference import ReferenceFrame, read_reference, write_reference
from mien.errors import BundleError


def some_frames():
    dice = np.random.default_rng(3)
    return [
        ReferenceFrame(
            frame=dice.integers(0, 256, (32, 64, 3), np.uint8),
            detections=Detections(
                boxes=dice.random((count, 4), np.float32),
                scores=dice.random(count, np.float32),
                classes=dice.integers(0, 8, count).astype(np.int32),
            ),
        )
        for count in (2, 0, 3)
    ]


def test_frames_come_back(tmp_path):
    """Frames with two, no and three detections come back as they were."""
    frames = some_frames()
    write_reference(tmp_path / "r.npz", frames)
    for wanted, found in zip(frames, read_reference(tmp_path / "r.npz"), strict=True):
        assert (wanted.frame == found.frame).all()
        assert (wanted.detections.boxes == found.detections.boxes).all()
        assert (wanted.detections.scores == found.detections.scores).all()
        assert (wanted.detections.classes == found.detections.classes).all()


def test_same_frames_same_bytes(tmp_path):
    """The file depends on its content alone."""
    for name in ("a.npz", "b.npz"):
        write_reference(tmp_path / name, some_frames())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_garbage_is_refused(tmp_path, content):
    """A file that is no archive is named."""
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(BundleError, match=r"r\.npz"):
        read_reference(tmp_path / "r.npz")


def test_pickled_objects_are_refused(tmp_path):
    """An archive with Python objects is never unpickled."""
    arrays = dict.fromkeys(("format", "frames", "counts", "boxes", "scores", "classes"), np.array([object()]))
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(BundleError, match="no reference frames"):
        read_reference(tmp_path / "r.npz")


def test_contradicting_counts_are_refused(tmp_path):
    """Counts that do not add up to the detections are told."""
    write_reference(tmp_path / "r.npz", some_frames())
    arrays = dict(np.load(tmp_path / "r.npz"))
    arrays["counts"] = np.array([2, 0, 4], np.int32)
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(BundleError) as caught:
        read_reference(tmp_path / "r.npz")
    assert "6 detections" in caught.value.found
