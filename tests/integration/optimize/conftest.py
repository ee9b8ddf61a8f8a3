"""Detectors that find something without having been trained, and a small data set that they find it in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.vision.letterbox import Letterbox
from optimize.torch_runtime import prepare


def lively(description: str, *, classes: int, path: Path, size: tuple[int, int] = (96, 96), seed: int = 1) -> Path:
    """Weights with random numbers, scaled so that scores spread over 0 … 1 on photographs."""
    prepare()
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(seed)
    yolo = YOLO(description, verbose=False)
    yolo.model = DetectionModel(description, nc=classes, verbose=False)
    for layer in yolo.model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.uniform_(0.8, 1.6)
            layer.bias.data.normal_(0, 0.3)
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.1, 0.4)
    last = [branch[-1] for branch in yolo.model.model[-1].cv3]
    for layer in last:
        layer.bias.data.zero_()
    logits = _logits(yolo.model, *size)
    for layer in last:
        layer.weight.data *= 1.5 / logits.std()
        layer.bias.data.fill_(-0.6 - float(logits.quantile(0.9)) * 1.5 / float(logits.std()))
    yolo.model.names = {index: f"class{index}" for index in range(classes)}
    yolo.model.args = {"imgsz": 96}
    yolo.save(path)
    return path


def _logits(model, height, width):
    """Best class logit of each anchor on a photograph."""
    import torch
    from ultralytics.utils import ASSETS

    image = np.empty((height, width, 3), np.uint8)
    Letterbox(width, height).apply(cv2.imread(str(ASSETS / "bus.jpg")), image)
    with torch.no_grad():
        scores = model.eval()(torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255)[1]["scores"]
    return scores.amax(dim=1)


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Real photographs that ultralytics ships."""
    prepare()
    from ultralytics.utils import ASSETS

    return [cv2.imread(str(path)) for path in sorted(Path(ASSETS).glob("*.jpg"))]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n of three classes."""
    return lively("yolov8n.yaml", classes=3, path=tmp_path_factory.mktemp("weights") / "lively.pt")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    """Crops of photographs: 40 to calibrate with, 12 to judge with, one box each."""
    root = tmp_path_factory.mktemp("data")
    dice = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 12)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for index in range(count):
            photo = photographs[index % len(photographs)]
            top, left = (int(dice.integers(0, side - 200)) for side in photo.shape[:2])
            crop = cv2.resize(photo[top : top + 200, left : left + 200], (120, 96))
            cv2.imwrite(str(root / "images" / split / f"{index:02}.jpg"), crop)
            (root / "labels" / split / f"{index:02}.txt").write_text(f"{index % 3} 0.5 0.5 0.4 0.6\n")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [class0, class1, class2]\n")
    return root / "data.yaml"
