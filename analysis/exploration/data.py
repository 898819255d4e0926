"""The images of both official splits in one table, with their garments and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.data.examples import read_arrays
from analysis.evaluation.ladder import unit_pixels
from models.taxonomy import Taxonomy
from pipeline.contract.errors import UserError

Indices = npt.NDArray[np.int64]

FEATURES = ("image", "garment", "cluster", "source_id")

FEWEST_TRAINING, FEWEST_TEST = 300, 100
"""With fewer images than 30 and 10 of each of ten garments, most parts of the exploration have no figure at all."""


@dataclass(frozen=True)
class Data:
    """Labelled images of both official splits, the training images first.

    Attributes:
        images: uint8 [N, 28, 28].
        garments: int64 [N].
        test: bool [N], True for the official test split.
        clusters: int64 [N], the near-duplicate cluster among the training images; -1 for none, and for test images.
        names: N names such as "train/0f3a...", derived from the content.
        taxonomy: Which garment belongs to which group.
    """

    images: npt.NDArray[np.uint8]
    garments: Indices
    test: npt.NDArray[np.bool_]
    clusters: Indices
    names: npt.NDArray[np.str_]
    taxonomy: Taxonomy

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def groups(self) -> Indices:
        """int64 [N], the group of each image."""
        return np.array(self.taxonomy.group_of, np.int64)[self.garments]

    @cached_property
    def train_rows(self) -> Indices:
        """The rows of the official training split."""
        return np.flatnonzero(~self.test)

    @cached_property
    def test_rows(self) -> Indices:
        """The rows of the official test split."""
        return np.flatnonzero(self.test)

    @cached_property
    def pixels(self) -> npt.NDArray[np.float32]:
        """float32 [N, 784], the pixels in [0, 1]."""
        return unit_pixels(self.images)

    def garment_name(self, row: int) -> str:
        """Returns the name of an image's garment."""
        return self.taxonomy.garments[self.garments[row]]


def read_data(shards_of: Callable[[str], Sequence[Path]], taxonomy: Taxonomy) -> Data:
    """Reads all images; the validation images become part of the official training split again.

    Args:
        shards_of: Returns the example files of the split "train", "validation" or "test".
        taxonomy: Which garment belongs to which group.

    Raises:
        UserError: A file is damaged or lacks a feature.
    """
    parts = [read_arrays(shards_of(split), FEATURES) for split in ("train", "validation", "test")]
    sizes = [len(part["garment"]) for part in parts]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in FEATURES}
    return Data(
        images=columns["image"],
        garments=columns["garment"],
        test=np.repeat([False, False, True], sizes),
        clusters=columns["cluster"],
        names=columns["source_id"].astype(np.str_),
        taxonomy=taxonomy,
    )


def require_enough(data: Data) -> None:
    """Raises UserError where so few images would be explored that no conclusion could be drawn from them."""
    training, test = len(data.train_rows), len(data.test_rows)
    if training < FEWEST_TRAINING or test < FEWEST_TEST:
        raise UserError(
            "There are too few examples to explore: no conclusion could be drawn from them.",
            expected=f"at least {FEWEST_TRAINING} training and {FEWEST_TEST} test images",
            received=f"{training:,} training and {test:,} test images",
            next_step="add images; fashion run works with fewer",
        )
