"""One picture of what a camera sees, for aiming and focusing it: a file on this machine, faces covered by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.api.covering import cover
from edge.camera.chooser import open_camera
from edge.camera.interface import Camera, CameraError, Frame, Image
from edge.camera.options import CameraOptions
from edge.engine.interface import infer_one
from edge.pipeline.model import LoadedModel
from edge.pipeline.pipeline import mean_luma
from edge.vision.decode import decode
from edge.vision.detections import Detections
from edge.vision.letterbox import Letterbox
from mien.errors import ConfigError, UnavailableError
from mien.files import replacing

_SETTLE_FRAMES = 10
"""A camera's exposure and white balance need some frames; of a file the first one will do."""
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_ENCODING = dict.fromkeys((".jpg", ".jpeg"), (cv2.IMWRITE_JPEG_QUALITY, 92))
"""PNG keeps every pixel as it is, and has no quality to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A picture, and what can be said of it."""

    image: Image
    """``uint8[H, W, 3]``, blue-green-red."""
    brightness: float
    """Mean, 0..255."""
    sharpness: float
    """Variance of the Laplacian (Pech-Pacheco et al., 2000): higher is sharper; compare pictures of one scene only."""
    faces: int | None
    """Found by the model; ``None`` without one."""
    camera: str
    agreed: str

    def facts(self) -> dict[str, Any]:
        """For a person or JSON."""
        height, width = self.image.shape[:2]
        return {
            "camera": self.camera,
            "format": self.agreed or None,
            "size": f"{width}×{height}",
            "brightness": round(self.brightness, 1),
            "sharpness": round(self.sharpness, 1),
            "faces": self.faces,
        }


def take(source: str, options: CameraOptions, model: LoadedModel | None, *, show_faces: bool) -> Snapshot:
    """Open the camera, let it settle, take one picture, close it.

    Args:
        source: a form that :func:`edge.camera.chooser.open_camera` knows.
        options: how to open it.
        model: finds the faces that are to be covered.
        show_faces: leave them as they are.

    Raises:
        ConfigError: faces are to be covered and there is no model that could find them.
        CameraError: the camera does not answer, or another program holds it.
    """
    if model is None and not show_faces:
        raise ConfigError(
            "faces cannot be covered without a model that finds them",
            remedy="name a release with --bundle, wait for the device's first release, or ask for --show-faces",
        )
    frame, camera = _settled(source, options)
    found = _detected(frame, model) if model is not None else None
    image = frame.image.copy()
    measured = frame.image
    if found is not None and not show_faces:
        cover(image, [tuple(map(float, box)) for box in found.boxes])  # type: ignore[misc]
    return Snapshot(
        image=image,
        brightness=mean_luma(measured),
        sharpness=float(cv2.Laplacian(cv2.cvtColor(measured, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var()),
        faces=len(found) if found is not None else None,
        camera=camera.name,
        agreed=camera.description,
    )


def write(snapshot: Snapshot, path: Path) -> None:
    """Write the picture; only its owner may read it.

    Raises:
        ConfigError: the name says no picture format.
        UnavailableError: it cannot be written.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{path} names no picture", wanted=", ".join(sorted(_SUFFIXES)), remedy="name it so")
    suffix = path.suffix.lower()
    done, content = cv2.imencode(suffix, snapshot.image, _ENCODING.get(suffix, ()))
    if not done:
        raise UnavailableError(f"the picture could not be encoded for {path}")
    with replacing(path, mode=0o600) as stream:
        stream.write(content.tobytes())


def _settled(source: str, options: CameraOptions) -> tuple[Frame, Camera]:
    camera = open_camera(source, options)
    try:
        frame = camera.read()
        for _ in range(_SETTLE_FRAMES if camera.live else 0):
            frame = camera.read() or frame
    finally:
        camera.close()
    if frame is None:
        raise CameraError(f"camera {camera.name} gave no frame", remedy="run 'mien edge doctor'")
    return frame, camera


def _detected(frame: Frame, model: LoadedModel) -> Detections:
    size = model.input
    letterboxed = np.empty((size.height, size.width, 3), np.uint8)
    geometry = Letterbox(size.width, size.height, size.pad_value).apply(frame.image, letterboxed)
    return decode(infer_one(model.engine, letterboxed), model.outputs, geometry)
