"""Feeds images held in memory to the training loop: shuffled, shifted and flipped, the same for the same seed."""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

Augmentation = Literal["none", "flip", "flip_and_shift"]
SHIFT = 1
"""Pixels of the largest shift: the data set's images are cropped to the garment, so that more would cut it."""


class Batches(keras.utils.PyDataset):
    """An endless sequence of shuffled batches (images uint8 [batch, 28, 28], garments int64 [batch]).

    What a batch holds follows from the seed and its number alone, so that a training that was killed goes on with the
    batches that an undisturbed one would have seen. The sequence is endless because Keras fetches the first batches of
    an epoch before it says that the epoch has begun; `fit` gets `steps_per_epoch=batches.an_epoch` instead. The images
    that do not fill a batch are left out, other ones every epoch.

    Args:
        images: uint8 [N, 28, 28].
        garments: int64 [N].
        batch_size: Images a batch.
        seed: Decides the order, the flips and the shifts.
        augmentation: "flip" mirrors half of the images left to right, "flip_and_shift" also shifts each by up to 1
            pixel, "none" leaves them. Defaults to "flip_and_shift".
        epoch: The epoch to begin with. Defaults to 0.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        garments: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation = "flip_and_shift",
        epoch: int = 0,
    ) -> None:
        super().__init__()
        if len(images) < batch_size:
            raise ValueError(
                f"There are fewer images than a batch holds. Expected: at least {batch_size}. Received: {len(images)}."
            )
        self._images, self._garments = images, garments
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        self._epoch, self._order = -1, np.arange(0)
        self._first = epoch * self.an_epoch

    @property
    def an_epoch(self) -> int:
        """Batches an epoch."""
        return len(self._images) // self._batch_size

    @property
    def num_batches(self) -> None:
        """None: the sequence does not end."""
        return

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Returns the batch of that number, counted from the beginning of the first epoch."""
        epoch, place = divmod(self._first + index, self.an_epoch)
        chosen = self._permutation(epoch)[place * self._batch_size : (place + 1) * self._batch_size]
        images = self._images[chosen]
        random = np.random.default_rng([self._seed, epoch, place])
        if self._augmentation != "none":
            images = flip(images, random)
        if self._augmentation == "flip_and_shift":
            images = shift(images, random)
        return images, self._garments[chosen]

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self._images))
        return self._order


def flip(images: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirrors half of the images [N, H, W] left to right."""
    mirrored: NDArray[np.bool_] = np.asarray(random.random(len(images)) < 0.5)
    return np.where(mirrored[:, None, None], images[:, :, ::-1], images)


def shift(images: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Moves each image [N, H, W] by up to `SHIFT` pixels either way, onto black."""
    count, height, width = images.shape
    ground = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(ground, (height, width), axis=(1, 2))
    down, right = random.integers(0, 2 * SHIFT + 1, (2, count))
    shifted: NDArray[np.uint8] = windows[np.arange(count), down, right]
    return shifted
