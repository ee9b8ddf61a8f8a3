"""What ultralytics is told, and what is refused before it is asked."""

from pathlib import Path

import pytest

from mien.errors import ModelError, UnsupportedError
from trainer.recipe import Augmentation, Recipe
from trainer.ultralytics_adapter import arguments, open_model


def told(recipe, device="cpu"):
    return arguments(recipe, Path("d/data.yaml"), Path("work"), seed=3, device=device)


def test_a_recipe_reaches_ultralytics():
    """Every setting with a name of theirs is passed on, ours are not."""
    given = told(Recipe(epochs=7, imgsz=96, augmentation=Augmentation(mosaic=0.25)))
    assert (given["epochs"], given["imgsz"], given["mosaic"], given["seed"]) == (7, 96, 0.25, 3)
    assert not {"augmentation", "early_fraction", "validate_every", "model"} & set(given)


def test_no_worker_processes_on_a_cpu():
    """There, loading in the same process leaves both cores to the training."""
    assert told(Recipe())["workers"] == 0
    assert told(Recipe(), device="0")["workers"] > 0


def test_nothing_is_fetched_for_a_precision_check():
    """Mixed precision would make ultralytics download a model to try it with."""
    assert told(Recipe(), device="0")["amp"] is False


@pytest.mark.parametrize("name", ["yolov8s.pt", "yolo11n.pt"])
def test_weights_that_would_be_downloaded_are_refused(name):
    """The remedy names the flag and the way without a network."""
    with pytest.raises(UnsupportedError) as caught:
        open_model(name, allow_download=False)
    assert "--allow-download" in caught.value.remedy
    assert Path(name).stem in caught.value.remedy


@pytest.mark.parametrize("name", ["rtdetr-l.yaml", "resnet.pt", "no/such/weights.pt", "yolo26n.yaml"])
def test_an_unknown_model_is_refused(name):
    """With or without leave to download: the name says what is not ours to train."""
    for allow in (False, True):
        with pytest.raises(ModelError):
            open_model(name, allow_download=allow)
