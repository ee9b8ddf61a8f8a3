"""Detectors that find something: one of random numbers, one trained for a moment, and what it was trained on."""

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
def weights(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A YOLOv8n that was trained for a moment, until it finds the squares of :func:`data`."""
    prepare()
    from ultralytics import YOLO

    root = tmp_path_factory.mktemp("weights")
    yolo = YOLO("yolov8n.yaml", verbose=False)
    settings = {"imgsz": 96, "epochs": 18, "batch": 8, "workers": 0, "device": "cpu", "cache": "ram", "seed": 0}
    pace = {"optimizer": "AdamW", "lr0": 0.002, "warmup_epochs": 1, "mosaic": 0.5, "close_mosaic": 8}
    quiet = {"plots": False, "val": False, "amp": False, "verbose": False, "project": str(root)}
    yolo.train(data=str(data), **settings, **pace, **quiet)
    return Path(yolo.trainer.last)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, photographs: list[np.ndarray]) -> Path:
    """Red, blue and green squares on crops of photographs: 64 images to train with, 24 to judge with."""
    root = tmp_path_factory.mktemp("data")
    dice = np.random.default_rng(0)
    for split, count in (("train", 64), ("val", 24)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for index in range(count):
            image, labels = _squares(photographs[index % len(photographs)], dice)
            cv2.imwrite(str(root / "images" / split / f"{index:02}.png"), image)
            (root / "labels" / split / f"{index:02}.txt").write_text("\n".join(labels))
    (root / "data.yaml").write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\nnames: [class0, class1, class2]\n"
    )
    return root / "data.yaml"


_COLOURS = ((40, 40, 230), (230, 60, 40), (40, 220, 60))


def _squares(photo, dice):
    """A crop with two coloured squares, and their label lines."""
    top, left = (int(dice.integers(0, side - 300)) for side in photo.shape[:2])
    image = cv2.resize(photo[top : top + 300, left : left + 300], (96, 96))
    labels = []
    for half in range(2):
        name, side = int(dice.integers(0, 3)), int(dice.integers(20, 36))
        x, y = 48 * half + int(dice.integers(0, 48 - side)), int(dice.integers(0, 96 - side))
        image[y : y + side, x : x + side] = np.array(_COLOURS[name]) + dice.integers(-20, 20, (side, side, 3))
        labels.append(f"{name} {(x + side / 2) / 96:.5f} {(y + side / 2) / 96:.5f} {side / 96:.5f} {side / 96:.5f}")
    return image, labels
