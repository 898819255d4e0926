"""A training ends with the same weights to the bit, whether it was interrupted or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from models.augmentation import AUGMENTATIONS
from models.probabilities import softmax
from models.recipe import Recipe
from models.taxonomy import Taxonomy
from models.training import Plan, Task, TrainingError, make_batches, resolve_precision, train
from tests.synthetic import images_and_garments

pytestmark = pytest.mark.slow

MEMBERSHIP = np.array(Taxonomy.load().membership())
RECIPE = Recipe(family="plain", width=8)


@pytest.fixture(scope="module")
def task() -> Task:
    """256 training images and 100 validation images."""
    return Task(*images_and_garments(256, 0), *images_and_garments(100, 1), MEMBERSHIP)


def plan(**changes: object) -> Plan:
    """Three epochs of batches of 32."""
    return Plan(**{"epochs": 3, "batch_size": 32, "seed": 5, **changes})  # type: ignore[arg-type]


class StopAfter(keras.callbacks.Callback):
    """Stops a training after some epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stops after the last of the epochs."""
        self.model.stop_training = epoch + 1 == self._epochs


def weights(model: keras.Model) -> list[np.ndarray]:
    """All weights as arrays."""
    return [np.asarray(w) for w in model.weights]


def test_same_seed_gives_the_same_weights_and_another_seed_others(task: Task) -> None:
    """The seed alone determines the weights."""
    one, again, other = (train(RECIPE, task, plan(seed=s)) for s in (5, 5, 6))
    assert all((a == b).all() for a, b in zip(weights(one.model), weights(again.model), strict=True))
    assert any((a != b).any() for a, b in zip(weights(one.model), weights(other.model), strict=True))


def test_seed_determines_the_first_weights(task: Task) -> None:
    """Trained without a step that changes anything, two seeds differ in every kernel, and one agrees with itself."""
    still = Recipe(family="plain", width=8, peak_learning_rate=0.0, weight_decay=0.0)

    def kernels(seed: int) -> list[np.ndarray]:
        network = train(still, task, plan(epochs=1, seed=seed)).model
        return [np.asarray(w) for w in network.trainable_weights if "kernel" in w.path]

    one, again, other = kernels(5), kernels(5), kernels(6)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert len(one) > 2 and all((a != b).any() for a, b in zip(one, other, strict=True))


def test_resumed_training_ends_with_the_same_weights(task: Task, tmp_path: Path) -> None:
    """Stopped after any epoch and resumed, the weights and the history are those of an uninterrupted training."""
    whole = train(RECIPE, task, plan())
    for stop in (1, 2):
        checkpoint = tmp_path / f"{stop}.npz"
        train(RECIPE, task, plan(), checkpoint, [StopAfter(stop)])
        resumed = train(RECIPE, task, plan(), checkpoint)
        assert all((a == b).all() for a, b in zip(weights(whole.model), weights(resumed.model), strict=True))
        assert [h["loss"] for h in resumed.history] == [h["loss"] for h in whole.history]


def test_checkpoint_of_another_network_is_rejected(task: Task, tmp_path: Path) -> None:
    """A checkpoint whose shapes differ is not read into the network."""
    train(RECIPE, task, plan(), tmp_path / "c.npz", [StopAfter(1)])
    with pytest.raises(TrainingError, match="belongs to another network"):
        train(Recipe(family="plain", width=16), task, plan(), tmp_path / "c.npz")


def test_divergence_is_an_error_with_advice(task: Task) -> None:
    """A loss that is not finite ends the training, and the next step names the value to lower."""
    with pytest.raises(TrainingError, match="diverged") as caught:
        train(Recipe(width=8, peak_learning_rate=1e30), task, plan(epochs=10, precision="float32"))
    assert "peak_learning_rate" in caught.value.next_step


def test_a_callback_stops_a_training(task: Task) -> None:
    """Setting `stop_training` works as in `Model.fit`."""
    assert len(train(RECIPE, task, plan(), callbacks=[StopAfter(2)]).history) == 2


def test_precision_policy_is_restored(task: Task) -> None:
    """A training in bfloat16 leaves Keras as it was, and its model computes in float32."""
    before = keras.config.dtype_policy().name
    trained = train(RECIPE, task, plan(epochs=1, precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == before
    assert {w.dtype for w in trained.model.weights} == {"float32"}
    assert trained.model.get_layer("features").compute_dtype == "float32"


def test_the_history_has_the_scores_of_the_validation_images(task: Task) -> None:
    """After every epoch, numbered from 0; the network returned predicts as it did after the last one."""
    seen: list[tuple[int, np.ndarray]] = []
    trained = train(
        RECIPE,
        task,
        plan(epochs=2, precision="float32"),
        after_epoch=lambda epoch, logits: seen.append((epoch, logits)),
    )
    groups = MEMBERSHIP[task.validation_garments].argmax(axis=1)
    for entry, (_, logits) in zip(trained.history, seen, strict=True):
        predicted = (softmax(logits) @ MEMBERSHIP).argmax(axis=1)
        assert entry["val_group_accuracy"] == pytest.approx((predicted == groups).mean())
        expected = f1_score(groups, predicted, average="macro", labels=range(5), zero_division=0)
        assert entry["val_group_macro_f1"] == pytest.approx(expected) and entry["seconds"] > 0
    assert [epoch for epoch, _ in seen] == [0, 1] and (seen[0][1] != seen[1][1]).any()
    np.testing.assert_allclose(trained.model.predict(task.validation_images, verbose=0), seen[1][1], atol=1e-4)


def test_a_task_knows_its_groups(task: Task) -> None:
    """The groups of the validation images, and the share of each group among the training images."""
    group_of = np.array(Taxonomy.load().group_of)
    assert (task.validation_groups == group_of[task.validation_garments]).all()
    assert task.group_shares == pytest.approx(np.bincount(group_of[task.garments]) / 256)


def test_balanced_batches_draw_every_group_equally_often(task: Task) -> None:
    """Else every image is drawn once an epoch, and a group as often as it has images."""
    group_of = np.array(Taxonomy.load().group_of)
    for balanced, shares in ((True, np.full(5, 0.2)), (False, task.group_shares)):
        settings = plan(batch_size=256, epochs=20, augmentation=AUGMENTATIONS["none"], balanced=balanced)
        batches = make_batches(task, settings)
        garments = np.concatenate([targets.argmax(axis=1) for _, targets in batches.prefetch(0, 20)])
        drawn = np.bincount(group_of[garments]) / len(garments)
        assert drawn == pytest.approx(shares, abs=0.03 if balanced else 1e-9)


def test_given_targets_are_learned_instead_of_the_garments(task: Task) -> None:
    """Each image keeps its own distribution."""
    soft = np.random.default_rng(0).dirichlet(np.ones(10), 256).astype(np.float32)
    softened = replace(task, targets=soft)
    images, targets = make_batches(softened, plan(augmentation=AUGMENTATIONS["none"]))[0]
    rows = [int(np.flatnonzero((task.images == image).all(axis=(1, 2)))[0]) for image in images]
    np.testing.assert_array_equal(targets, soft[rows])


def test_learns_the_synthetic_garments(task: Task) -> None:
    """After 20 epochs the score is far above chance."""
    assert train(Recipe(width=16), task, plan(epochs=20)).history[-1]["val_group_macro_f1"] > 0.6


def test_damaged_checkpoint_restarts_the_training(task: Task, tmp_path: Path) -> None:
    """A checkpoint that cannot be read costs only its epochs."""
    (tmp_path / "c.npz").write_bytes(b"no checkpoint")
    assert len(train(RECIPE, task, plan(epochs=1), tmp_path / "c.npz").history) == 1


def test_only_auto_depends_on_the_processor() -> None:
    """Another precision is returned unchanged."""
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("auto") in ("float32", "mixed_bfloat16")
