"""A training is the same to the bit, whether it was disturbed or not."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from models.augmentation import Augmentation
from models.recipe import Recipe
from models.resolution import Shrink
from models.taxonomy import Taxonomy
from models.training import Plan, Task, TrainingError, make_batches, train
from tests.synthetic import images_and_garments

MEMBERSHIP = np.array(Taxonomy.load().membership())
RECIPE = Recipe(family="plain", width=8)


@pytest.fixture(scope="module")
def task() -> Task:
    """256 images to train on, 100 to look at."""
    return Task(*images_and_garments(256, 0), *images_and_garments(100, 1), MEMBERSHIP)


def plan(**changes: object) -> Plan:
    """Three epochs of batches of 32."""
    return Plan(**{"epochs": 3, "batch_size": 32, "seed": 5, **changes})  # type: ignore[arg-type]


def weights(model: keras.Model) -> list[np.ndarray]:
    """All weights as arrays."""
    return [np.asarray(w) for w in model.weights]


def test_same_seed_gives_the_same_weights_and_another_seed_others(task: Task) -> None:
    """Nothing but the seed decides."""
    one, again, other = (train(RECIPE, task, plan(seed=s)) for s in (5, 5, 6))
    assert all((a == b).all() for a, b in zip(weights(one.model), weights(again.model), strict=True))
    assert any((a != b).any() for a, b in zip(weights(one.model), weights(other.model), strict=True))


def test_resumed_training_ends_with_the_same_weights(task: Task, tmp_path: Path) -> None:
    """Stopped after any epoch and resumed, the weights and the history are those of an undisturbed training."""
    whole = train(RECIPE, task, plan())
    for stop in (1, 2):
        checkpoint = tmp_path / f"{stop}.npz"
        train(RECIPE, task, plan(stop_after=stop), checkpoint)
        resumed = train(RECIPE, task, plan(), checkpoint)
        assert all((a == b).all() for a, b in zip(weights(whole.model), weights(resumed.model), strict=True))
        assert [h["loss"] for h in resumed.history] == [h["loss"] for h in whole.history]


PROGRESSIVE = Augmentation(side=20, side_until=0.5)


def test_a_side_of_28_changes_nothing(task: Task) -> None:
    """The weights and the network are those of a training that knows of no sides."""
    full = Augmentation(side=28, side_until=0.5)
    plain, named = (train(RECIPE, task, plan(augmentation=a)).model for a in (Augmentation(), full))
    assert all((a == b).all() for a, b in zip(weights(plain), weights(named), strict=True))
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in named.layers]


def test_progressive_resizing_goes_through_both_sizes_and_can_be_resumed(task: Task, tmp_path: Path) -> None:
    """From the middle of the second epoch the images are whole, as the returned network's are; resumed or not."""
    made = make_batches(task, plan(augmentation=PROGRESSIVE))
    assert [images.shape[1] for images, _ in made.ahead(0, 24)] == [20] * 12 + [28] * 12
    whole = train(RECIPE, task, plan(augmentation=PROGRESSIVE))
    assert whole.model.input_shape == (None, 28, 28) and whole.model(task.images[:3]).shape == (3, 10)
    for stop in (1, 2):
        checkpoint = tmp_path / f"{stop}.npz"
        train(RECIPE, task, plan(augmentation=PROGRESSIVE, stop_after=stop), checkpoint)
        resumed = train(RECIPE, task, plan(augmentation=PROGRESSIVE), checkpoint)
        assert all((a == b).all() for a, b in zip(weights(whole.model), weights(resumed.model), strict=True))


def test_small_for_good_is_a_network_that_shrinks_its_images(task: Task) -> None:
    """It takes images of 28 pixels and works at 20, as it was trained."""
    model = train(RECIPE, task, plan(epochs=1, augmentation=Augmentation(side=20))).model
    assert model.input_shape == (None, 28, 28)
    assert [layer.side for layer in model.layers if isinstance(layer, Shrink)] == [20]


@pytest.mark.parametrize("family", ["vit", "mixer"])
def test_family_of_one_size_is_not_resized(family: str, task: Task) -> None:
    """It is said before the first step."""
    with pytest.raises(ValueError, match=f"family '{family}' depend on the size of the images"):
        train(Recipe(family=family, width=8), task, plan(augmentation=PROGRESSIVE))


def test_checkpoint_of_another_network_is_refused(task: Task, tmp_path: Path) -> None:
    """A checkpoint whose shapes differ is not read into the network."""
    train(RECIPE, task, plan(stop_after=1), tmp_path / "c.npz")
    with pytest.raises(TrainingError, match="of another network"):
        train(Recipe(family="plain", width=16), task, plan(), tmp_path / "c.npz")


def test_divergence_is_said(task: Task) -> None:
    """A loss that is no number ends the training with advice."""
    with pytest.raises(TrainingError, match=r"diverged.*peak_learning_rate"):
        train(Recipe(width=8, peak_learning_rate=1e30), task, plan(epochs=10, precision="float32"))


def test_a_callback_stops_a_training(task: Task) -> None:
    """As Keras's own callbacks do it."""

    class Impatient(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = epoch == 1

    assert len(train(RECIPE, task, plan(), callbacks=[Impatient()]).history) == 2


def test_precision_policy_is_restored(task: Task) -> None:
    """A training in bfloat16 leaves Keras as it was, and its model computes in float32."""
    before = keras.config.dtype_policy().name
    trained = train(RECIPE, task, plan(epochs=1, precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == before
    assert {w.dtype for w in trained.model.weights} == {"float32"}
    assert trained.model.get_layer("features").compute_dtype == "float32"


def test_learns_the_synthetic_garments(task: Task) -> None:
    """The loop learns: after 20 epochs it beats guessing by far."""
    assert train(Recipe(width=16), task, plan(epochs=20)).history[-1]["val_group_macro_f1"] > 0.6


def test_damaged_checkpoint_begins_anew(task: Task, tmp_path: Path) -> None:
    """A checkpoint that cannot be read costs the epochs in it, and nothing else."""
    (tmp_path / "c.npz").write_bytes(b"no checkpoint")
    assert len(train(RECIPE, task, plan(epochs=1), tmp_path / "c.npz").history) == 1
