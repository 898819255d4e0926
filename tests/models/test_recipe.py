"""The recipe builds, schedules and loses as its docstrings say."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from models.families import FAMILIES, build
from models.objective import GroupedCrossEntropy, Objective
from models.recipe import OPTIMIZERS, Recipe, WarmUp, compile_model, resolve_precision
from models.taxonomy import Taxonomy
from models.training import policy

MEMBERSHIP = np.array(Taxonomy.load().membership())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_family_maps_pixels_to_float32_logits(family: str, precision: str) -> None:
    """uint8 images in, float32 logits out, whatever the precision inside."""
    with policy(precision):
        model = build(family, 10, width=16, dropout=0.1)
    logits = model(np.zeros((3, 28, 28), np.uint8))
    assert model.input.dtype == "uint8" and tuple(logits.shape) == (3, 10)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_unknown_family_and_impossible_width_are_refused() -> None:
    """The message names what there is and what was asked for."""
    with pytest.raises(ValueError, match="Expected: plain, residual,.*Received: 'unet'"):
        build("unet", 10, width=16, dropout=0.1)
    with pytest.raises(ValueError, match="Received: width 13"):
        build("plain", 10, width=13, dropout=0.1)


def test_schedule_warms_up_to_the_peak_and_ends_at_zero() -> None:
    """A tenth of the steps rises, the rest falls to nothing."""
    schedule = WarmUp(0.01, 100)
    values = [float(schedule(step)) for step in range(101)]
    assert np.argmax(values) == 10 and max(values) == pytest.approx(0.01)
    assert values[100] == pytest.approx(0, abs=1e-9) and values[0] == pytest.approx(0.0005)


def test_recipe_ignores_other_hyperparameters() -> None:
    """A search may hold more than the recipe reads."""
    assert Recipe.from_values({"width": 32, "trial": 7}) == Recipe(width=32)


@pytest.mark.parametrize(("fall", "middle"), [("cosine", 0.005), ("linear", 0.005), ("constant", 0.01)])
def test_falls_of_the_learning_rate(fall: str, middle: float) -> None:
    """Half of the way after the warm-up, cosine and linear are at half of the peak."""
    assert float(WarmUp(0.01, 100, fall)(55)) == pytest.approx(middle)  # type: ignore[arg-type]


def test_recipe_goes_through_json_and_back() -> None:
    """The objective is a table inside the values."""
    recipe = Recipe(width=32, objective=Objective(output="hierarchy", focal=2.0))
    assert Recipe.from_values(json.loads(json.dumps(recipe.to_values()))) == recipe


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_compiled_model_trains_and_can_be_saved_and_loaded(optimizer: str, tmp_path: object) -> None:
    """With every optimiser a step runs; the loss and the schedule are part of the saved model."""
    path = f"{tmp_path}/model.keras"
    recipe = Recipe(family="quick", width=8, optimizer=optimizer, ema_momentum=0.9)
    model = compile_model(recipe, MEMBERSHIP, MEMBERSHIP.mean(axis=0), steps=10)
    targets = np.eye(10, dtype=np.float32)[:2]
    assert np.isfinite(model.train_on_batch(np.zeros((2, 28, 28), np.uint8), targets))
    model.save(path)
    assert isinstance(keras.models.load_model(path).loss, GroupedCrossEntropy)


def test_given_precision_is_taken() -> None:
    """Only "auto" looks at the processor."""
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("auto") in ("float32", "mixed_bfloat16")
