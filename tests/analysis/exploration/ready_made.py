"""Synthetic data and answers of networks that need no training: what is wrong with them is known."""

from __future__ import annotations

import numpy as np

from analysis.data.fashion_mnist import content_ids
from analysis.exploration.cross_validation import OutOfFold, assign_folds
from analysis.exploration.data import Data
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

FOLDS = 3
EPOCHS = 4


def make_data(train: int = 600, test: int = 200, seed: int = 0) -> Data:
    """Returns images of two splits; the first six training images are three clusters of two."""
    parts = [images_and_garments(train, 2 * seed), images_and_garments(test, 2 * seed + 1)]
    images, garments = (np.concatenate(column) for column in zip(*parts, strict=True))
    clusters = np.full(train + test, -1)
    clusters[:6] = np.arange(6) // 2
    names = np.array([f"{'train' if k < train else 'test'}/{name}" for k, name in enumerate(content_ids(images))])
    return Data(images, garments, np.arange(train + test) >= train, clusters, names, Taxonomy.load())


def make_answers(data: Data, garments: np.ndarray | None = None, seed: int = 0, sharpness: float = 4.0) -> OutOfFold:
    """Returns networks that grow sure of the `garments`, by default of the given ones, with some noise.

    Args:
        data: The images.
        garments: int64 [N], what the networks see.
        seed: Of the noise.
        sharpness: Of the last epoch's logits.
    """
    random = np.random.default_rng(seed)
    seen = data.garments if garments is None else garments
    one_hot = np.eye(len(data.taxonomy.garments), dtype=np.float32)[seen]
    train, test = one_hot[data.train_rows], one_hot[data.test_rows]
    growth = sharpness * (np.arange(EPOCHS) + 1)[:, None, None] / EPOCHS
    logits = growth * train + random.normal(0, 0.5, (EPOCHS, *train.shape))
    test_logits = sharpness * test + random.normal(0, 0.5, (FOLDS, *test.shape))
    features = one_hot + random.normal(0, 0.1, one_hot.shape)
    fold = assign_folds(data.garments[data.train_rows], data.clusters[data.train_rows], FOLDS, seed)
    return OutOfFold(fold, logits.astype(np.float32), test_logits.astype(np.float32), features.astype(np.float32))


def make_models(data: Data, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns the groups that two models give the test images: they err on every tenth, and on different others."""
    random = np.random.default_rng(seed)
    groups, count = data.groups[data.test_rows], len(data.taxonomy.groups)
    answers = {}
    for name in ("1-nearest neighbour", "small networks"):
        wrong = random.random(len(groups)) < 0.05
        wrong[::10] = True
        answers[name] = np.where(wrong, (groups + 1) % count, groups)
    return answers
