"""Trains one network again and again from the same first weights on other images.

TensorFlow takes seconds to trace a training step, as long as many a small training takes: here it does so once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Indices

if TYPE_CHECKING:
    import keras

AfterEpoch = Callable[[int, "keras.Model"], None]

WIDTH = 16
PEAK_LEARNING_RATE = 6e-3
BATCHES = (32, 256)
"""Fewest and most images a step."""
STEPS_AN_EPOCH = 20
"""At least, where the fewest images a step allow it."""


class RepeatedTraining:
    """A network of the quick family that can be trained many times.

    Args:
        garments: How many garments.
        seed: Of the first weights, and of the order and the mirroring of the images.
    """

    def __init__(self, garments: int, seed: int) -> None:
        import keras

        from models.families import build
        from models.recipe import resolve_precision
        from models.training import policy

        keras.utils.set_random_seed(seed)
        self._seed, self._garments = seed, garments
        with policy(resolve_precision("auto")):
            self._network = build("quick", garments, width=WIDTH, dropout=0.0)
        optimizer = keras.optimizers.AdamW(weight_decay=0.05)
        # No smoothing: the probabilities are to be read as such.
        self._network.compile(optimizer, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
        optimizer.build(self._network.trainable_variables)
        self._first = self._network.get_weights()

    def train(
        self,
        images: npt.NDArray[np.uint8],
        garments: Indices,
        epochs: int,
        after_epoch: AfterEpoch = lambda epoch, network: None,
    ) -> keras.Model:
        """Trains from the first weights; the network returned is trained on when this is called again.

        Args:
            images: uint8 [n, 28, 28].
            garments: int64 [n].
            epochs: Passes over the images.
            after_epoch: Is called after every epoch with its number, from 0, and the network.
        """
        from models.augmentation import Augmentation
        from models.batches import Batches, one_hot
        from models.recipe import WarmUp

        self._reset()
        batch = min(int(np.clip(len(images) // STEPS_AN_EPOCH, *BATCHES)), len(images))
        targets = one_hot(garments, self._garments)
        batches = Batches(images, targets, batch_size=batch, seed=self._seed, augmentation=Augmentation(shift=0))
        steps = epochs * batches.an_epoch
        rates = np.asarray(WarmUp(PEAK_LEARNING_RATE, steps)(np.arange(steps)))
        for step, rate in enumerate(rates):
            self._network.optimizer.learning_rate = rate
            self._network.train_on_batch(*batches[step])
            if (step + 1) % batches.an_epoch == 0:
                after_epoch(step // batches.an_epoch, self._network)
        return self._network

    def _reset(self) -> None:
        self._network.set_weights(self._first)
        for variable in self._network.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
