"""Recipes: files, faults, and which epochs matter."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.config import read_settings, settings_from
from mien.errors import ConfigError
from trainer.recipe import Recipe

RECIPES = sorted((Path(__file__).resolve().parents[3] / "configs" / "training").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_ship_are_read(path):
    """Every file under configs/training is a recipe."""
    assert read_settings(Recipe, path).epochs >= 2


def test_options_win_over_the_file():
    """What was given on the command line overrides the recipe."""
    assert read_settings(Recipe, RECIPES[0], {"epochs": 3, "model": None}).epochs == 3


@given(epochs=st.integers(2, 500), fraction=st.floats(0.001, 0.999))
def test_early_weights_are_early(epochs, fraction):
    """However the fraction is chosen, the early epoch comes before the last one, and is validated like it."""
    recipe = Recipe(epochs=epochs, early_fraction=fraction, validate_every=1000)
    assert 1 <= recipe.early_epoch() < epochs
    assert recipe.validates(recipe.early_epoch())
    assert recipe.validates(epochs)


def test_all_faults_come_in_one_report():
    """An unknown key gets its nearest name, and the other faults stand beside it."""
    with pytest.raises(ConfigError) as caught:
        settings_from(Recipe, {"epoch": 3, "imgsz": 100, "optimizer": "Best"}, source="r.yaml")
    assert len(caught.value.faults) == 3
    assert "did you mean epochs" in " ".join(caught.value.faults)


def test_one_epoch_is_refused():
    """With a single epoch, early and final weights would be the same."""
    with pytest.raises(ConfigError, match="fault"):
        settings_from(Recipe, {"epochs": 1}, source="the options")
