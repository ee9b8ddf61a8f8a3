"""Files of another kind than an option takes: says what they are, and what was probably meant. Opens none of them."""

from __future__ import annotations

import shlex
from pathlib import Path

from mien.errors import BundleError, ConfigError, ModelError
from mien.release import MANIFEST

WEIGHTS = "a YOLOv8 or YOLO11 detector (.pt) trained with ultralytics"
GRAPH = "a graph (.onnx) that 'mien optimize export' or 'run' wrote"
DETECTORS = "name a detector's weights, such as weights/final.pt of 'mien train run'"
_LIKELY = ("final.pt", "best.pt", "last.pt", "early.pt")
_MOST_NAMED = 4
_YAML = {".yaml", ".yml"}


def check_pair(option: str, model: Path, data: Path) -> None:
    """Make sure that a model and a data set did not change places.

    Args:
        option: that the model was given with.
        model: what was given as weights or graph.
        data: what was given as data set.

    Raises:
        ConfigError: what was given as data set is weights or a graph.
    """
    if data.suffix not in {".pt", ".onnx"}:
        return
    kind = "weights" if data.suffix == ".pt" else "a graph"
    if model.suffix in _YAML or (model / "data.yaml").is_file():
        raise ConfigError(
            f"{option} and --data seem to have changed places",
            found=f"{option} {model}, --data {data}",
            wanted=f"{kind} with {option}, and a data.yaml with --data",
            remedy=f"give {option} {_word(data)} --data {_word(model)}",
        )
    raise ConfigError(
        f"{data} is no data set",
        found=kind,
        wanted="the data.yaml of the data set, or the folder that holds it",
        remedy="name the data.yaml that the weights were trained on with --data",
    )


def check_weights(path: Path) -> None:
    """Make sure that a path can be weights, as far as its name tells.

    Raises:
        ModelError: a folder (the weights in it are named), a graph, a description, or no such file.
    """
    if path.is_dir():
        inside = _weights_in(path)
        named = f"name one of those in it: {', '.join(map(_word, inside))}" if inside else DETECTORS
        raise ModelError(f"{path} is no checkpoint", found="a folder", wanted=WEIGHTS, remedy=named)
    if not path.exists():
        raise ModelError(f"could not open {path}", found="no such file", wanted=WEIGHTS, remedy=DETECTORS)
    if path.suffix == ".pt":
        return
    remedies = {
        ".onnx": "name the .pt that it was exported from; a graph goes to: mien optimize calibrate, quantize or build",
        ".yaml": f"{DETECTORS}; a data set goes with --data, and an architecture is trained first: mien train run",
    }
    raise ModelError(
        f"{path} is no checkpoint",
        found=f"a file named *{path.suffix}",
        wanted=WEIGHTS,
        remedy=remedies.get(path.suffix.replace(".yml", ".yaml"), DETECTORS),
    )


def check_graph(path: Path) -> None:
    """Make sure that a path can be a graph, as far as its name tells; what has another name is left to its reader.

    Raises:
        ModelError: weights, a description of data, or a folder.
    """
    if path.suffix == ".pt":
        graph = path.with_name(f"{path.stem}.fp32.onnx")
        raise ModelError(
            f"{path} is weights, not a graph",
            wanted=GRAPH,
            remedy=f"export it first: mien optimize export --weights {_word(path)} --out {_word(graph)}; "
            f"then give --model {_word(graph)}",
        )
    if path.suffix in _YAML:
        raise ModelError(
            f"{path} is no graph",
            found="a YAML file",
            wanted=GRAPH,
            remedy="a data set goes with --data, a graph with --model",
        )
    if path.is_dir():
        inside = sorted(path.glob("*.onnx"))[:_MOST_NAMED]
        what = "a release bundle" if (path / MANIFEST).is_file() else "a folder"
        named = f"name one of those in it: {', '.join(map(_word, inside))}" if inside else "name a file (.onnx)"
        raise ModelError(f"{path} is no graph", found=what, wanted=GRAPH, remedy=named)


def check_bundle(path: Path) -> None:
    """Make sure that a path can be a bundle or its archive, as far as its name tells.

    Raises:
        BundleError: weights or a graph.
    """
    kinds = {
        ".pt": ("weights", f"mien optimize run --weights {_word(path)} --data DATA --out BUNDLE"),
        ".onnx": ("a graph", "mien optimize run --weights WEIGHTS --data DATA --out BUNDLE"),
    }
    if path.is_dir() or path.suffix not in kinds:
        return
    kind, command = kinds[path.suffix]
    raise BundleError(
        f"{path} is {kind}, not a bundle",
        wanted="the folder of a release bundle, or its archive (.tar.zst)",
        remedy=f"make a bundle with: {command}",
    )


def _weights_in(folder: Path) -> list[Path]:
    """The weights that a folder or a training's output holds, the most likely first."""
    found = [path for pattern in ("*.pt", "weights/*.pt", "*/weights/*.pt") for path in folder.glob(pattern)]
    rank = {name: place for place, name in enumerate(_LIKELY)}
    return sorted(found, key=lambda path: (rank.get(path.name, len(rank)), str(path)))[:_MOST_NAMED]


def _word(path: Path) -> str:
    return shlex.quote(str(path))
