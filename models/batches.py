"""Training batches: shuffled and augmented images from memory, identical for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from models.augmentation import Augmentation, Images, Targets
from pipeline.contract.errors import UserError

Batch = tuple[Images, Targets]


class Batches:
    """An endless sequence of shuffled batches (images uint8 [batch, H, W], targets float32 [batch, garments]).

    The content of a batch depends on the seed and its number only, so a training that was killed resumes with the
    batches that an uninterrupted one would have seen. The images that do not fill a batch are left out, others in every
    epoch.

    Args:
        images: uint8 [N, H, W].
        targets: float32 [N, garments], a distribution over the garments for each image.
        batch_size: Images a batch.
        seed: Determines the order and the augmentation.
        augmentation: The changes to the images. Defaults to flips and shifts of a pixel.
        shares: float [N], the frequency with which each image is drawn, with replacement; None for every image once an
            epoch. Defaults to None.
        epochs: Epochs of the training; an augmentation may change during them. Defaults to 1.

    Raises:
        UserError: There are fewer images than a batch holds.
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
            raise UserError(
                "There are fewer images than a batch holds.",
                expected=f"at least {batch_size} images, or a smaller batch_size",
                received=f"{len(images)} images",
            )
        self._images, self._targets = images, targets
        self._batch_size, self._seed = batch_size, seed
        self._augmentation = Augmentation() if augmentation is None else augmentation
        self._shares = None if shares is None else shares / shares.sum()
        self._epochs, self._epoch, self._order = epochs, -1, np.arange(0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return len(self._images) // self._batch_size

    def __getitem__(self, index: int) -> Batch:
        """Returns the batch of that number, counted from the beginning of the first epoch."""
        epoch, step = divmod(index, self.steps_per_epoch)
        chosen = self._epoch_order(epoch)[step * self._batch_size : (step + 1) * self._batch_size]
        random = np.random.default_rng([self._seed, epoch, step])
        done = index / (self._epochs * self.steps_per_epoch)
        return self._augmentation(self._images[chosen], self._targets[chosen], random, done)

    def prefetch(self, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of these numbers; the next one is prepared while the caller uses the current one."""
        with ThreadPoolExecutor(1) as executor:
            following = executor.submit(self.__getitem__, start)
            for index in range(start + 1, stop + 1):
                batch = following.result()
                if index < stop:
                    following = executor.submit(self.__getitem__, index)
                yield batch

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            random, count = np.random.default_rng([self._seed, epoch]), len(self._images)
            drawn = random.permutation(count) if self._shares is None else random.choice(count, count, p=self._shares)
            self._epoch, self._order = epoch, drawn
        return self._order


def one_hot(garments: NDArray[np.integer], count: int) -> Targets:
    """Returns float32 [N, count]: targets with their whole weight on the labelled garment."""
    return np.eye(count, dtype=np.float32)[garments]
