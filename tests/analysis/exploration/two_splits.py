"""Made-up images of two splits, for any taxonomy, as the parts that compare classes and splits take them."""

from __future__ import annotations

import numpy as np

from analysis.exploration.data import Data
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

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


def make_data(train: int = 300, test: int = 100, seed: int = 0) -> Data:
    """Returns train + test balanced synthetic images of the case's ten garments."""
    parts = [images_and_garments(train, 2 * seed), images_and_garments(test, 2 * seed + 1)]
    images, garments = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return as_data(images, garments, train)


def make_other_data(train: int = 170, test: int = 43) -> Data:
    """Returns images of the other taxonomy, of whose garments there are unequally many."""
    data = make_data(4 * train, 4 * test)
    keep = np.flatnonzero((data.garments < 4) & ((data.garments != 2) | (np.arange(len(data)) % 3 == 0)))
    train_kept = int((~data.test[keep]).sum())
    return as_data(data.images[keep], data.garments[keep], train_kept, OTHER)


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
