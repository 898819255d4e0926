"""Synthetic images, and predictions without training, whose label errors and confusions are known."""

from __future__ import annotations

import numpy as np

from analysis.data.fashion_mnist import content_ids
from analysis.exploration.cross_validation import OutOfFold, assign_folds
from analysis.exploration.data import Data
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

FOLDS = 3
EPOCHS = 4
OTHER = Taxonomy.from_table(
    {
        "garments": ["cap", "scarf", "glove", "belt"],
        "group": [
            {"name": "Head", "colour": "#0072B2", "garments": ["cap"]},
            {"name": "Neck and hand", "colour": "#E69F00", "garments": ["glove", "scarf"]},
            {"name": "Waist", "colour": "#009E73", "garments": ["belt"]},
        ],
    }
)
"""A taxonomy with other names and numbers than the case's."""


def make_data(train: int = 600, test: int = 200, seed: int = 0) -> Data:
    """Returns images of two splits; the first six training images are three clusters of two."""
    parts = [images_and_garments(train, 2 * seed), images_and_garments(test, 2 * seed + 1)]
    images, garments = (np.concatenate(column) for column in zip(*parts, strict=True))
    clusters = np.full(train + test, -1)
    clusters[:6] = np.arange(6) // 2
    names = np.array([f"{'train' if k < train else 'test'}/{name}" for k, name in enumerate(content_ids(images))])
    return Data(images, garments, np.arange(train + test) >= train, clusters, names, Taxonomy.load())


def make_plain_data(train: int = 300, test: int = 100, seed: int = 0) -> Data:
    """Returns balanced synthetic images of the ten garments without near-duplicate clusters."""
    parts = [images_and_garments(train, 2 * seed), images_and_garments(test, 2 * seed + 1)]
    images, garments = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return as_data(images, garments, train)


def make_other_data(train: int = 170, test: int = 43) -> Data:
    """Returns images of the other taxonomy, of whose garments there are unequally many."""
    data = make_plain_data(4 * train, 4 * test)
    keep = np.flatnonzero((data.garments < 4) & ((data.garments != 2) | (np.arange(len(data)) % 3 == 0)))
    train_count = int((~data.test[keep]).sum())
    return as_data(data.images[keep], data.garments[keep], train_count, OTHER)


def as_data(images: np.ndarray, garments: np.ndarray, train: int, taxonomy: Taxonomy | None = None) -> Data:
    """Returns the images as Data, the first `train` of them as the training split."""
    return Data(
        images=images,
        garments=garments,
        test=np.arange(len(images)) >= train,
        clusters=np.full(len(images), -1, np.int64),
        names=np.array([f"image/{row}" for row in range(len(images))]),
        taxonomy=taxonomy or Taxonomy.load(),
    )


def make_out_of_fold(
    data: Data, garments: np.ndarray | None = None, seed: int = 0, sharpness: float = 4.0
) -> OutOfFold:
    """Returns networks that grow certain of `garments`, by default of the labelled ones, with some noise.

    Args:
        data: The images.
        garments: int64 [N], the garments that the networks predict.
        seed: Of the noise.
        sharpness: Of the last epoch's logits.
    """
    random = np.random.default_rng(seed)
    predicted = data.garments if garments is None else garments
    one_hot = np.eye(len(data.taxonomy.garments), dtype=np.float32)[predicted]
    train, test = one_hot[data.train_rows], one_hot[data.test_rows]
    growth = sharpness * (np.arange(EPOCHS) + 1)[:, None, None] / EPOCHS
    logits = growth * train + random.normal(0, 0.5, (EPOCHS, *train.shape))
    test_logits = sharpness * test + random.normal(0, 0.5, (FOLDS, *test.shape))
    features = one_hot + random.normal(0, 0.1, one_hot.shape)
    fold = assign_folds(data.garments[data.train_rows], data.clusters[data.train_rows], FOLDS, seed)
    return OutOfFold(fold, logits.astype(np.float32), test_logits.astype(np.float32), features.astype(np.float32))


def make_predictions(data: Data, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns the groups that two models predict for the test images: both misclassify every tenth, and some others."""
    random = np.random.default_rng(seed)
    groups, count = data.groups[data.test_rows], len(data.taxonomy.groups)
    predictions = {}
    for name in ("1-nearest neighbour", "small networks"):
        wrong = random.random(len(groups)) < 0.05
        wrong[::10] = True
        predictions[name] = np.where(wrong, (groups + 1) % count, groups)
    return predictions
