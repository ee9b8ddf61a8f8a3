"""Weights that cannot become a release are refused, with what was found."""

import pytest

from mien.errors import ModelError
from optimize.graph.weights import open_weights
from optimize.torch_runtime import prepare


def save(description, path):
    prepare()
    from ultralytics import RTDETR, YOLO

    (RTDETR if "rtdetr" in description else YOLO)(description).save(path)
    return path


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ("yolov8n-seg.yaml", "Segment"),
        ("yolov8n-pose.yaml", "Pose"),
        ("yolov8n-cls.yaml", "Classify"),
        ("yolov8n-obb.yaml", "OBB"),
        ("yolov10n.yaml", "v10Detect"),
        ("yolo26n.yaml", "end to end"),
    ],
)
def test_other_models_are_named(tmp_path, description, found):
    """Segmentation, pose, classification, rotated and end-to-end models are no detectors of ours."""
    with pytest.raises(ModelError, match="no detector") as caught:
        open_weights(save(description, tmp_path / "w.pt"))
    assert found in caught.value.found


def test_weights_that_are_not_finite(tmp_path, weights):
    """One number that is not a number is enough, and its tensor is named."""
    prepare()
    from ultralytics import YOLO

    yolo = YOLO(weights)
    yolo.model.model[3].conv.weight.data[0, 0, 0, 0] = float("nan")
    yolo.save(tmp_path / "nan.pt")
    with pytest.raises(ModelError, match="not finite") as caught:
        open_weights(tmp_path / "nan.pt")
    assert "model.3.conv.weight" in caught.value.found


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04" + bytes(100)])
def test_other_files_are_no_checkpoint(tmp_path, content):
    """An empty file, text and a broken archive are told as such."""
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ModelError, match="no checkpoint"):
        open_weights(tmp_path / "w.pt")


def test_a_cut_checkpoint_is_told_in_words(tmp_path, weights):
    """What the libraries say of it is long and of their own remedies; ours says that it is cut, and to copy it again."""
    whole = weights.read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError) as caught:
        open_weights(tmp_path / "w.pt")
    assert "cut off or damaged" in caught.value.found
    assert caught.value.remedy.startswith("copy it again")


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    """A pickle that would call something is refused before it does."""
    import torch

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"model": Trap()}, tmp_path / "w.pt")
    with pytest.raises(ModelError):
        open_weights(tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()
