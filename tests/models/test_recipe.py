"""The recipe builds, schedules and loses as its docstrings say."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.families import FAMILIES, build
from models.recipe import Recipe, SmoothedCrossEntropy, WarmupCosine, compile_model, resolve_precision
from models.training import policy


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
    with pytest.raises(ValueError, match="Expected: plain, residual, quick. Received: 'vit'"):
        build("vit", 10, width=16, dropout=0.1)
    with pytest.raises(ValueError, match="Received: width 13"):
        build("plain", 10, width=13, dropout=0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_keras_s_own_with_label_smoothing(smoothing: float) -> None:
    """The loss on classes equals categorical cross-entropy on smoothed one-hot targets."""
    random = np.random.default_rng(0)
    logits, classes = random.normal(size=(20, 10)).astype(np.float32), random.integers(0, 10, 20)
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = reference(keras.ops.one_hot(classes, 10), logits)
    assert float(SmoothedCrossEntropy(smoothing)(classes, logits)) == pytest.approx(float(expected), rel=1e-5)


def test_schedule_warms_up_to_the_peak_and_ends_at_zero() -> None:
    """A tenth of the steps rises, the rest falls to nothing."""
    schedule = WarmupCosine(0.01, 100)
    values = [float(schedule(step)) for step in range(101)]
    assert np.argmax(values) == 10 and max(values) == pytest.approx(0.01)
    assert values[100] == pytest.approx(0, abs=1e-9) and values[0] == pytest.approx(0.0005)


def test_recipe_ignores_other_hyperparameters() -> None:
    """A search may hold more than the recipe reads."""
    assert Recipe.from_values({"width": 32, "trial": 7}) == Recipe(width=32)


def test_compiled_model_can_be_saved_and_loaded(tmp_path: object) -> None:
    """The loss and the schedule are part of the saved model."""
    path = f"{tmp_path}/model.keras"
    model = compile_model(Recipe(width=16), 10, steps=10)
    model.train_on_batch(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int64))
    model.save(path)
    assert isinstance(keras.models.load_model(path).loss, SmoothedCrossEntropy)


def test_given_precision_is_taken() -> None:
    """Only "auto" looks at the processor."""
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("auto") in ("float32", "mixed_bfloat16")
