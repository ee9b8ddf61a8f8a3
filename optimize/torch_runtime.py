"""Makes torch, torchvision and ultralytics ready in this process: quiet, private, without look-ups on the network.

Call :func:`prepare` before ultralytics is imported. It also mends one known mismatch: torchvision's wheels are built
for CUDA, and on a CPU-only torch ``import torchvision`` fails with "operator torchvision::nms does not exist". Then,
and only then, ``nms`` is declared and carried out in numpy. Where torchvision's own operators load, nothing is touched.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

_log = logging.getLogger(__name__)

_TRACKERS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
_declared: list[Any] = []  # torch drops a library's operators when the object goes


def prepare(*, offline: bool = True) -> None:
    """Set the environment for ultralytics and make sure that torchvision's ``nms`` works. May be called again.

    Args:
        offline: ultralytics asks the network for nothing, and installs nothing.
    """
    folder = _private_folder()
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    os.environ.setdefault("YOLO_AUTOINSTALL", "0")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")
    # OpenMP's threads spin while they wait for each other. With anything else on the cores that is ruinous: the
    # threads of one training burn each other's time. Spinning for moments only costs nothing on an idle machine
    # (measured, YOLOv8n at 160 px on two cores: 15 ms an image, as with endless spinning; without any 21 ms) and made
    # a training twice as fast on a busy one. It must be said before torch is imported; the second is libgomp's own.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if offline:
        os.environ.setdefault("YOLO_OFFLINE", "1")
        _place_font(Path(os.environ["YOLO_CONFIG_DIR"]) / "Ultralytics")
    ensure_nms()
    _silence()


def ensure_nms() -> bool:
    """Make ``torchvision.ops.nms`` work.

    Returns:
        Whether it had to be supplied; false where torchvision's own operators load.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        _supply_nms()
        return True
    return bool(_declared)


def greedy_nms(boxes: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], iou_threshold: float) -> list[int]:
    """Indices of the boxes ``[n, 4]`` xyxy that stay, by falling score (torchvision's definition of ``nms``)."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        upper_left = np.maximum(boxes[best, :2], boxes[rest, :2])
        lower_right = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        sides = np.maximum(lower_right - upper_left, 0)
        shared = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[rest] - shared
        order = rest[shared <= iou_threshold * union]
    return kept


def _supply_nms() -> None:
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    def nms(dets: Any, scores: Any, iou_threshold: float) -> Any:  # noqa: ANN401 - tensors
        kept = greedy_nms(dets.detach().float().numpy(), scores.detach().float().numpy(), iou_threshold)
        return torch.tensor(kept, dtype=torch.int64)

    library.impl("nms", nms, "CPU")
    _declared.append(library)
    importlib.import_module("torchvision")
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True  # noqa: SLF001 - its one switch
    _log.debug("torchvision's operators do not load with this torch; nms runs in numpy")


def _private_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "mien"


def _place_font(folder: Path) -> None:
    """Put a font where ultralytics would otherwise download one; matplotlib ships it."""
    target = folder / "Arial.ttf"
    if target.exists():
        return
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return
    source = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _silence() -> None:
    """No tracker that happens to be installed is fed, and no tip is printed."""
    ultralytics: Any = importlib.import_module("ultralytics")
    wanted = {name: False for name in (*_TRACKERS, "sync") if name in ultralytics.settings}
    if any(ultralytics.settings[name] for name in wanted):
        ultralytics.settings.update(wanted)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
