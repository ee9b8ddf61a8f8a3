"""Real training, as a user starts it: own class names, one class, another family, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
# A process of mien in which nobody may look up a name or open a connection.
OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    sys.stderr.write(f"NETWORK {args!r}\\n")
    raise OSError("no network in this test")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from mien.cli import main
main()
"""


def mien(*arguments, cwd):
    """Run a command of mien in a folder of its own, without a network."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


def shapes(folder, names, *, images=8, side=64):
    """A data set of coloured squares, one colour a class."""
    rng = np.random.default_rng(1)
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for number in range(images):
            index, x, y = number % len(names), int(rng.integers(4, 30)), int(rng.integers(4, 30))
            pixels = rng.integers(90, 160, (side, side, 3)).astype(np.uint8)
            pixels[y : y + 24, x : x + 24] = np.eye(3)[index % 3] * 255
            cv2.imwrite(str(folder / "images" / split / f"{number}.png"), pixels)
            line = f"{index} {(x + 12) / side} {(y + 12) / side} {24 / side} {24 / side}\n"
            (folder / "labels" / split / f"{number}.txt").write_text(line)
    listed = "".join(f"  {index}: {name}\n" for index, name in enumerate(names))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{listed}")
    return folder


QUICK = ("--imgsz", 64, "--epochs", 2, "--batch", 4, "--json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training on two classes of somebody else, started in another folder than the data's."""
    folder = tmp_path_factory.mktemp("training")
    shapes(folder / "data", ["crate", "forklift truck"])
    done = mien("train", "run", "--data", "data", "--model", "yolov8n.yaml", *QUICK, "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_stdout_is_one_json_document(trained):
    """Whatever ultralytics prints goes to the log, so that a script can read the record."""
    folder, done = trained
    assert json.loads(done.stdout) == json.loads((folder / "out" / "run.json").read_text())


def test_nothing_was_looked_up(trained):
    """No name was resolved and no connection opened."""
    assert "NETWORK" not in trained[1].stderr


def test_labels_come_from_the_data(trained):
    """Names of another domain reach the record and the weights."""
    from optimize.graph.weights import open_weights

    folder, done = trained
    assert json.loads(done.stdout)["labels"] == ["crate", "forklift truck"]
    assert open_weights(folder / "out" / "weights" / "final.pt").names == ("crate", "forklift truck")


def test_early_and_final_weights_differ_and_are_on_record(trained):
    """Two releases can be made of one training, and each file is the one that the record describes."""
    from mien.files import sha256_of

    folder, done = trained
    record = json.loads(done.stdout)
    assert record["early"]["metrics"]["epoch"] == 1
    assert record["early"]["sha256"] != record["final"]["sha256"]
    for weights in (record["early"], record["final"]):
        assert sha256_of(folder / "out" / weights["path"]) == weights["sha256"]
    assert cv2.imread(str(folder / "out" / "curves.png")) is not None


def test_nothing_is_left_outside_its_folder(trained):
    """The library's habit of writing into the working folder is not passed on."""
    assert sorted(path.name for path in trained[0].iterdir()) == ["data", "out"]


def test_one_class_of_another_family(tmp_path):
    """YOLO11 with a single class trains by the same command, and fine-tunes from its own weights."""
    shapes(tmp_path / "data", ["badge"], images=4)
    first = mien("train", "run", "--data", "data", "--model", "yolo11n.yaml", *QUICK, "--out", "a", cwd=tmp_path)
    assert first.returncode == 0, first.stderr[-3000:]
    again = mien("train", "run", "--data", "data", "--model", "a/weights/final.pt", *QUICK, "--out", "b", cwd=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]


def first_kernels(weights):
    """The first layer's numbers of a checkpoint, as one row."""
    import torch

    content = torch.load(weights, map_location="cpu", weights_only=False)
    return (content.get("ema") or content["model"]).model[0].conv.weight.detach().float().flatten()


def test_published_weights_with_other_classes_are_fine_tuned(tmp_path):
    """From a file of the published name and its 80 classes on disk: its body is kept, its head gets the data's classes."""
    import torch
    from ultralytics import YOLO

    from optimize.graph.weights import open_weights

    shapes(tmp_path / "data", ["crate", "forklift truck"])
    YOLO("yolov8n.yaml", verbose=False).save(tmp_path / "yolov8n.pt")
    assert len(open_weights(tmp_path / "yolov8n.pt").names) == 80
    done = mien("train", "run", "--data", "data", "--model", "yolov8n.pt", *QUICK, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "NETWORK" not in done.stderr
    tuned = tmp_path / "out" / "weights" / "final.pt"
    assert open_weights(tuned).names == ("crate", "forklift truck")
    alike = torch.nn.functional.cosine_similarity(first_kernels(tuned), first_kernels(tmp_path / "yolov8n.pt"), dim=0)
    assert alike > 0.9


def test_a_broken_data_set_is_not_trained_on(tmp_path):
    """The check comes first: exit code 4, every fault named, no weights written."""
    data = shapes(tmp_path / "data", ["crate"])
    (data / "labels" / "train" / "0.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    (data / "images" / "val" / "1.png").write_bytes(b"no picture")
    done = mien("train", "run", "--data", "data", *QUICK, "--out", "out", cwd=tmp_path)
    assert done.returncode == 4
    answer = json.loads(done.stdout)
    assert "class index 7" in answer["found"]
    assert "1.png" in answer["found"]
    assert not (tmp_path / "out" / "weights").exists()


@pytest.mark.parametrize("model", ["yolov8n-seg.yaml", "notes.pt"])
def test_what_is_no_detector_is_refused(tmp_path, model):
    """A segmentation model and a text file with a misleading name: exit code 5, nothing trained."""
    shapes(tmp_path / "data", ["crate"])
    (tmp_path / "notes.pt").write_text("milk, bread, eggs")
    done = mien("train", "run", "--data", "data", "--model", model, *QUICK, "--out", "out", cwd=tmp_path)
    assert done.returncode == 5, done.stderr[-2000:]
    assert json.loads(done.stdout)["wanted"]
    assert "Traceback" not in done.stderr
