"""The studied recipe varies what the shipped one fixes, and agrees with it otherwise."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from models.augmentation import Augmentation
from models.recipe import Recipe, compile_network
from models.studied.augmentation import Shrink, StudiedAugmentation
from models.studied.families import FAMILIES, build
from models.studied.objectives import GroupedCrossEntropy, Objective
from models.studied.recipe import OPTIMIZERS, StudiedRecipe, StudiedWarmUp
from models.taxonomy import Taxonomy
from models.training import Plan, Task, make_batches, policy, train
from tests.models.test_training import StopAfter
from tests.synthetic import images_and_garments

pytestmark = pytest.mark.slow

MEMBERSHIP = np.array(Taxonomy.load().membership())
PROGRESSIVE = StudiedAugmentation(side=20, side_until=0.5)
RECIPE = StudiedRecipe(family="plain", width=8)


@pytest.fixture(scope="module")
def task() -> Task:
    """256 training images and 100 validation images."""
    return Task(*images_and_garments(256, 0), *images_and_garments(100, 1), MEMBERSHIP)


def plan(**changes: object) -> Plan:
    """Three epochs of batches of 32."""
    return Plan(**{"epochs": 3, "batch_size": 32, "seed": 5, **changes})  # type: ignore[arg-type]


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    """Whether all weights are equal to the bit."""
    return all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(one.weights, other.weights, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_family_maps_pixels_to_float32_logits(family: str, precision: str) -> None:
    """uint8 images in, float32 logits out, whatever the precision inside."""
    with policy(precision):
        model = build(family, 10, width=16, dropout=0.1)
    logits = model(np.zeros((3, 28, 28), np.uint8))
    assert model.input.dtype == "uint8" and tuple(logits.shape) == (3, 10)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_unknown_family_is_rejected() -> None:
    """The message names all families and what was received."""
    with pytest.raises(ValueError, match="Expected: compact, plain, quick, residual.*mixer. Received: 'unet'"):
        build("unet", 10, width=16, dropout=0.1)


def test_the_shipped_values_are_the_defaults() -> None:
    """What shipped recipes have in common is what the studied recipe does by default."""
    assert StudiedRecipe().to_values() == Recipe().to_values()
    assert StudiedRecipe.from_values(Recipe(width=48).to_values()) == StudiedRecipe(width=48)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_default_trains_as_the_shipped_recipe(precision: str, task: Task) -> None:
    """Loss, schedule and optimiser are the same to the bit, also with mixup and smoothing."""
    settings = plan(epochs=2, precision=precision, augmentation=Augmentation(mixup=0.2))
    shipped = train(Recipe(family="plain", width=8), task, settings)
    studied = train(RECIPE, task, settings)
    assert same_weights(shipped.model, studied.model)
    assert [h["loss"] for h in shipped.history] == [h["loss"] for h in studied.history]


@pytest.mark.parametrize(("schedule", "middle"), [("cosine", 0.005), ("linear", 0.005), ("constant", 0.01)])
def test_schedules_of_the_learning_rate(schedule: str, middle: float) -> None:
    """Halfway after the warm-up, cosine and linear are at half of the peak."""
    assert float(StudiedWarmUp(0.01, 100, schedule)(55)) == pytest.approx(middle)  # type: ignore[arg-type]


def test_recipe_goes_through_json_and_back() -> None:
    """The objective is a table inside the values."""
    recipe = StudiedRecipe(width=32, objective=Objective(output="hierarchy", focal=2.0))
    assert StudiedRecipe.from_values(json.loads(json.dumps(recipe.to_values()))) == recipe


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_compiled_model_trains_and_can_be_saved_and_loaded(optimizer: str, tmp_path: object) -> None:
    """With every optimiser a step runs; the loss and the schedule are part of the saved model."""
    path = f"{tmp_path}/model.keras"
    recipe = StudiedRecipe(family="quick", width=8, optimizer=optimizer, ema_momentum=0.9)
    model = compile_network(recipe, MEMBERSHIP, MEMBERSHIP.mean(axis=0), steps=10)
    targets = np.eye(10, dtype=np.float32)[:2]
    assert np.isfinite(model.train_on_batch(np.zeros((2, 28, 28), np.uint8), targets))
    model.save(path)
    assert isinstance(keras.models.load_model(path).loss, GroupedCrossEntropy)


def test_averaged_weights_are_those_of_the_trained_network(task: Task) -> None:
    """An average so slow that it stays where it began, after the first step, leaves the network almost untrained."""
    still = StudiedRecipe(family="plain", width=8, peak_learning_rate=0.0, weight_decay=0.0)
    slow = StudiedRecipe(family="plain", width=8, ema_momentum=1 - 1e-9)

    def trainable(recipe: StudiedRecipe) -> np.ndarray:
        network = train(recipe, task, plan(epochs=1)).model
        return np.concatenate([np.asarray(w).ravel() for w in network.trainable_weights])

    first, averaged, last = (trainable(recipe) for recipe in (still, slow, RECIPE))
    # The first step has a twentieth of the peak learning rate.
    assert np.abs(averaged - first).max() < RECIPE.peak_learning_rate / 10 < np.abs(last - first).max() / 2


def test_a_side_of_28_changes_nothing(task: Task) -> None:
    """The weights and the network are those of a training without resizing."""
    full = StudiedAugmentation(side=28, side_until=0.5)
    plain, resized = (train(RECIPE, task, plan(augmentation=a)).model for a in (Augmentation(), full))
    assert same_weights(plain, resized)
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in resized.layers]


def test_progressive_resizing_goes_through_both_sizes_and_can_be_resumed(task: Task, tmp_path: object) -> None:
    """From the middle of the second epoch the images have full size, as the returned network's; resumed or not."""
    batches = make_batches(task, plan(augmentation=PROGRESSIVE))
    assert [images.shape[1] for images, _ in batches.prefetch(0, 24)] == [20] * 12 + [28] * 12
    whole = train(RECIPE, task, plan(augmentation=PROGRESSIVE))
    assert whole.model.input_shape == (None, 28, 28) and whole.model(task.images[:3]).shape == (3, 10)
    for stop in (1, 2):
        checkpoint = tmp_path / f"{stop}.npz"  # type: ignore[operator]
        train(RECIPE, task, plan(augmentation=PROGRESSIVE), checkpoint, [StopAfter(stop)])
        resumed = train(RECIPE, task, plan(augmentation=PROGRESSIVE), checkpoint)
        assert same_weights(whole.model, resumed.model)


def test_a_small_network_shrinks_its_images(task: Task) -> None:
    """It takes images of 28 pixels and works at 20, as it was trained."""
    model = train(RECIPE, task, plan(epochs=1, augmentation=StudiedAugmentation(side=20))).model
    assert model.input_shape == (None, 28, 28)
    assert [layer.side for layer in model.layers if isinstance(layer, Shrink)] == [20]


@pytest.mark.parametrize("family", ["vit", "mixer"])
def test_family_of_one_size_is_not_resized(family: str, task: Task) -> None:
    """The error comes before the first step."""
    with pytest.raises(ValueError, match=f"family '{family}' depend on the size of the images"):
        train(StudiedRecipe(family=family, width=8), task, plan(augmentation=PROGRESSIVE))
