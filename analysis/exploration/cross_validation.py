"""Small networks cross-validated on the official training split: out-of-fold logits and features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Data, Indices

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]
Folds = npt.NDArray[np.int8]

Report = Callable[[int, int, str], None]
FILE = "out_of_fold.npz"
PREDICT_BATCH = 1000
AfterEpoch = Callable[[int, "keras.Model"], None]
WIDTH = 16
PEAK_LEARNING_RATE = 6e-3
BATCHES = (32, 256)
"""The smallest and the largest batch."""
STEPS_AN_EPOCH = 20
"""The least number of steps an epoch, unless the batch is already the smallest."""


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of one network for each fold, of T training images and N images in all.

    Attributes:
        fold: int8 [T], the fold that each training image belongs to.
        logits: float32 [epochs, T, garments], after each epoch, of the network that was not trained on the image.
        test_logits: float32 [folds, N - T, garments], of every network for the test images, after the last epoch.
        features: float32 [N, F], the inputs of the last layer of the network of fold 0, for all images. It was trained
            neither on the training images of fold 0 nor on the test images.
    """

    fold: Folds
    logits: Floats
    test_logits: Floats
    features: Floats

    def save(self, directory: Path) -> None:
        """Writes the arrays into one file of the directory."""
        np.savez(directory / FILE, **asdict(self))

    @classmethod
    def load(cls, directory: Path) -> OutOfFold:
        """Reads the file that `save` wrote."""
        with np.load(directory / FILE) as content:
            return cls(**{name: content[name] for name in content.files})


def cross_validate(
    data: Data,
    *,
    folds: int = 3,
    epochs: int = 4,
    seed: int,
    report: Report = lambda done, total, note: None,
) -> OutOfFold:
    """Trains a small network for each fold, on the training images of all other folds.

    Args:
        data: The images; only the training split is trained on.
        folds: The number of networks. Defaults to 3.
        epochs: Of each network. Defaults to 4.
        seed: Of the folds and of the trainings.
        report: Called after every epoch with the epochs done and in all, and the garment accuracy on the fold.
    """
    rows = data.train_rows
    fold = assign_folds(data.garments[rows], data.clusters[rows], folds, seed)
    logits = np.zeros((epochs, len(rows), len(data.taxonomy.garments)), np.float32)
    test_logits, features = [], np.zeros((0, 0), np.float32)
    training = SmallNetwork(len(data.taxonomy.garments), seed)
    for held_out in range(folds):
        known, members = rows[fold != held_out], np.flatnonzero(fold == held_out)

        def after_epoch(epoch: int, network: keras.Model, members: Indices = members, before: int = held_out) -> None:
            predicted = network.predict(data.images[rows[members]], batch_size=PREDICT_BATCH, verbose=0)
            logits[epoch, members] = predicted
            right = (predicted.argmax(axis=1) == data.garments[rows[members]]).mean()
            report(before * epochs + epoch + 1, folds * epochs, f"garment accuracy {right:.3f}")

        network = training.train(data.images[known], data.garments[known], epochs, after_epoch)
        predicted_rows = np.arange(len(data)) if held_out == 0 else data.test_rows
        of_network, of_rows = _features_and_logits(network, data.images[predicted_rows])
        features = of_network if held_out == 0 else features
        test_logits.append(of_rows[data.test[predicted_rows]])
    return OutOfFold(fold, logits, np.stack(test_logits), features)


def assign_folds(garments: Indices, clusters: Indices, folds: int, seed: int) -> Folds:
    """Assigns images to folds, stratified by garment, all images of a near-duplicate cluster to the same fold.

    Clusters go first, from the largest to the smallest, each to the fold with the fewest of its garments. Images
    without a near-duplicate then even out every garment. A garment stays uneven only where a cluster is larger than a
    fold's share.

    Args:
        garments: int64 [T].
        clusters: int64 [T], -1 for an image without a near-duplicate.
        folds: The number of folds.
        seed: Of the order of the images without a near-duplicate.

    Returns:
        int8 [T], the fold of each image.
    """
    random = np.random.default_rng(seed)
    fold = np.full(len(garments), -1, np.int8)
    counts = np.zeros((folds, int(garments.max()) + 1), np.int64)
    for members in _clusters_by_size(clusters):
        of_garment = np.bincount(garments[members], minlength=counts.shape[1])
        chosen = int((counts @ of_garment).argmin())
        fold[members] = chosen
        counts[chosen] += of_garment
    for garment in np.unique(garments):
        alone = random.permutation(np.flatnonzero((garments == garment) & (clusters < 0)))
        fold[alone] = _fill(counts[:, garment], len(alone))
    return fold


def _clusters_by_size(clusters: Indices) -> list[Indices]:
    members = np.flatnonzero(clusters >= 0)
    members = members[np.argsort(clusters[members], kind="stable")]
    found = np.split(members, np.flatnonzero(np.diff(clusters[members])) + 1) if len(members) else []
    return sorted(found, key=len, reverse=True)


def _fill(sizes: Indices, count: int) -> Folds:
    """Returns the folds, int8 [count], of `count` more images, so that folds of these sizes become equally large."""
    order = np.argsort(sizes, kind="stable")
    level = sizes[order].astype(np.int64)
    # Only the smallest folds get images: as many of them as can be raised to the size of the largest among them.
    raised = max(k for k in range(1, len(level) + 1) if k * level[k - 1] - level[:k].sum() <= count)
    total = int(level[:raised].sum()) + count
    target = total // raised + (np.arange(raised) < total % raised)
    return np.repeat(order[:raised], np.maximum(target - level[:raised], 0))[:count].astype(np.int8)


def _features_and_logits(network: keras.Model, images: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Returns the features [n, F] and the logits [n, garments] of images."""
    import keras

    both = keras.Model(network.inputs, [network.get_layer("features").output, *network.outputs])
    features, logits = both.predict(images, batch_size=PREDICT_BATCH, verbose=0)
    return np.asarray(features, np.float32), np.asarray(logits, np.float32)


class SmallNetwork:
    """A network of the quick family that is trained many times from the same initial weights.

    TensorFlow takes seconds to trace a training step, as long as many a small training. Here it traces the step once.

    Args:
        garments: The number of garments.
        seed: Of the initial weights, and of the order and the mirroring of the images.
    """

    def __init__(self, garments: int, seed: int) -> None:
        import keras

        from models.families import build
        from models.training import policy, resolve_precision

        keras.utils.set_random_seed(seed)
        self._seed, self._garments = seed, garments
        with policy(resolve_precision("auto")):
            self._network = build("quick", garments, width=WIDTH, dropout=0.0)
        optimizer = keras.optimizers.AdamW(weight_decay=0.05)
        # No label smoothing: the label audit reads the probabilities.
        self._network.compile(optimizer, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
        optimizer.build(self._network.trainable_variables)
        self._initial = self._network.get_weights()

    def train(
        self,
        images: npt.NDArray[np.uint8],
        garments: Indices,
        epochs: int,
        after_epoch: AfterEpoch = lambda epoch, network: None,
    ) -> keras.Model:
        """Trains from the initial weights and returns the network; the next call trains the same object.

        Args:
            images: uint8 [n, 28, 28].
            garments: int64 [n].
            epochs: The number of epochs.
            after_epoch: Called after every epoch with its number, from 0, and the network.
        """
        from models.augmentation import Augmentation
        from models.batches import Batches, one_hot
        from models.recipe import WarmUp

        self._reset()
        batch = min(int(np.clip(len(images) // STEPS_AN_EPOCH, *BATCHES)), len(images))
        targets = one_hot(garments, self._garments)
        batches = Batches(images, targets, batch_size=batch, seed=self._seed, augmentation=Augmentation(shift=0))
        steps = epochs * batches.steps_per_epoch
        rates = np.asarray(WarmUp(PEAK_LEARNING_RATE, steps)(np.arange(steps)))
        for step, rate in enumerate(rates):
            self._network.optimizer.learning_rate = rate
            self._network.train_on_batch(*batches[step])
            if (step + 1) % batches.steps_per_epoch == 0:
                after_epoch(step // batches.steps_per_epoch, self._network)
        return self._network

    def _reset(self) -> None:
        self._network.set_weights(self._initial)
        for variable in self._network.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
