"""The shipped recipe builds, schedules and smooths as its docstrings say."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from models.batches import one_hot
from models.recipe import Recipe, SmoothedCrossEntropy, WarmUp, compile_network
from models.taxonomy import Taxonomy

MEMBERSHIP = np.array(Taxonomy.load().membership())
SHARES = MEMBERSHIP.mean(axis=0)


def test_schedule_warms_up_to_the_peak_and_ends_at_zero() -> None:
    """The rate rises over a tenth of the steps, and falls to zero over the rest."""
    schedule = WarmUp(0.01, 100)
    values = [float(schedule(step)) for step in range(101)]
    assert np.argmax(values) == 10 and max(values) == pytest.approx(0.01)
    assert values[100] == pytest.approx(0, abs=1e-9) and values[0] == pytest.approx(0.0005)
    assert values[55] == pytest.approx(0.005)


def test_recipe_ignores_other_hyperparameters() -> None:
    """A search may store more values than the recipe reads."""
    assert Recipe.from_values({"width": 32, "trial": 7}) == Recipe(width=32)


def test_recipe_goes_through_json_and_back() -> None:
    """The values that are the same for all recipes are written and not read."""
    recipe = Recipe(width=48, dropout=0.1)
    assert Recipe.from_values(json.loads(json.dumps(recipe.to_values()))) == recipe


def test_a_shipped_network_works_at_28_pixels_only() -> None:
    """Another size is a programming error."""
    with pytest.raises(ValueError, match="28 pixels a side only. Received: 14"):
        Recipe().build_network(MEMBERSHIP, 14)


def test_smoothing_inside_the_group_leaves_other_groups_nothing() -> None:
    """All that is spread stays with the garments of the group."""
    loss = Recipe(label_smoothing=0.2).make_loss(MEMBERSHIP, SHARES)
    targets = np.array(loss.get_config()["targets"])
    np.testing.assert_allclose(targets @ MEMBERSHIP, MEMBERSHIP, atol=1e-12)
    assert targets[0, 0] == pytest.approx(0.8 + 0.2 / 4) and targets[1, 1] == pytest.approx(1.0)


def test_loss_is_keras_s_own_on_smoothed_targets() -> None:
    """It is categorical cross-entropy against the smoothed distribution of each garment."""
    random = np.random.default_rng(0)
    targets, logits = one_hot(random.integers(0, 10, 40), 10), random.normal(size=(40, 10)).astype(np.float32)
    loss = Recipe(label_smoothing=0.1).make_loss(MEMBERSHIP, SHARES)
    losses = loss.call(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits))
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)
    smoothed = targets @ np.array(loss.get_config()["targets"], np.float32)
    np.testing.assert_allclose(np.asarray(losses), np.asarray(reference(smoothed, logits)), rtol=1e-5)


def test_the_optimiser_has_the_recipes_rates() -> None:
    """AdamW with the recipe's weight decay, along the schedule of the whole training."""
    optimizer = Recipe(peak_learning_rate=0.02, weight_decay=0.07).make_optimizer(50)
    assert type(optimizer) is keras.optimizers.AdamW and optimizer.weight_decay == 0.07
    schedule = WarmUp(0.02, 50)
    for step in (0, 3, 5, 30, 50):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(float(schedule(step)))


def test_a_short_training_has_a_schedule_too() -> None:
    """Of five steps the first is the warm-up; beyond the end the rate stays zero."""
    values = [float(WarmUp(0.01, 5)(step)) for step in range(7)]
    assert values[0] == pytest.approx(0.0005) and values[1] == pytest.approx(0.01)
    assert values[5:] == pytest.approx([0, 0], abs=1e-9) and values[1:6] == sorted(values[1:6], reverse=True)


def test_values_hold_what_all_shipped_recipes_have_in_common() -> None:
    """A reader of training.json sees the optimiser, the schedule and the loss beside the searched values."""
    values = Recipe(width=16).to_values()
    assert values["width"] == 16 and values["family"] == "compact" and values["peak_learning_rate"] == 6e-3
    assert (values["optimizer"], values["schedule"], values["ema_momentum"]) == ("adamw", "cosine", 0.0)
    assert (values["dropout"], values["weight_decay"], values["label_smoothing"]) == (0.0, 0.05, 0.05)
    assert values["objective"]["smooth"] == "group" and values["objective"]["output"] == "garments"


@pytest.mark.slow
def test_compiled_model_trains_and_can_be_saved_and_loaded(tmp_path: object) -> None:
    """A step runs; the loss and the schedule are part of the saved model."""
    path = f"{tmp_path}/model.keras"
    model = compile_network(Recipe(family="quick", width=8), MEMBERSHIP, SHARES, steps=10)
    targets = np.eye(10, dtype=np.float32)[:2]
    assert np.isfinite(model.train_on_batch(np.zeros((2, 28, 28), np.uint8), targets))
    model.save(path)
    assert isinstance(keras.models.load_model(path).loss, SmoothedCrossEntropy)
