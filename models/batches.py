"""Feeds images held in memory to the training loop: shuffled and augmented, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from models.augmentation import Augmentation, Images, Targets

Batch = tuple[Images, Targets]


class Batches:
    """An endless sequence of shuffled batches (images uint8 [batch, H, W], targets float32 [batch, garments]).

    What a batch holds follows from the seed and its number alone, so that a training that was killed goes on with the
    batches that an undisturbed one would have seen. The images that do not fill a batch are left out, other ones every
    epoch.

    Args:
        images: uint8 [N, H, W].
        targets: float32 [N, garments], a distribution over the garments for each image.
        batch_size: Images a batch.
        seed: Decides the order and the augmentation.
        augmentation: What is done to the images. Defaults to flips and shifts of a pixel.
        shares: float [N], how often each image is drawn, with replacement; None for every image once an epoch.
            Defaults to None.
        epochs: Passes that the training takes; the augmentation may differ between its parts. Defaults to 1.
    """

    def __init__(
        self,
        images: Images,
        targets: Targets,
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
        shares: NDArray[np.float64] | None = None,
        epochs: int = 1,
    ) -> None:
        if len(images) < batch_size:
            raise ValueError(
                f"There are fewer images than a batch holds. Expected: at least {batch_size}. Received: {len(images)}."
            )
        self._images, self._targets = images, targets
        self._batch_size, self._seed = batch_size, seed
        self._augmentation = Augmentation() if augmentation is None else augmentation
        self._shares = None if shares is None else shares / shares.sum()
        self._epochs, self._epoch, self._order = epochs, -1, np.arange(0)

    @property
    def an_epoch(self) -> int:
        """Batches an epoch."""
        return len(self._images) // self._batch_size

    def __getitem__(self, index: int) -> Batch:
        """Returns the batch of that number, counted from the beginning of the first epoch."""
        epoch, place = divmod(index, self.an_epoch)
        chosen = self._epoch_order(epoch)[place * self._batch_size : (place + 1) * self._batch_size]
        random = np.random.default_rng([self._seed, epoch, place])
        done = index / (self._epochs * self.an_epoch)
        return self._augmentation(self._images[chosen], self._targets[chosen], random, done)

    def ahead(self, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of these numbers, each made while the one before it is worked on."""
        with ThreadPoolExecutor(1) as maker:
            following = maker.submit(self.__getitem__, start)
            for index in range(start + 1, stop + 1):
                batch = following.result()
                if index < stop:
                    following = maker.submit(self.__getitem__, index)
                yield batch

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            random, count = np.random.default_rng([self._seed, epoch]), len(self._images)
            self._epoch, self._order = (
                epoch,
                (random.permutation(count) if self._shares is None else random.choice(count, count, p=self._shares)),
            )
        return self._order


def one_hot(garments: NDArray[np.integer], count: int) -> Targets:
    """Returns float32 [N, count]: all of a target's weight on the garment that is given."""
    return np.eye(count, dtype=np.float32)[garments]
