"""Trains one network again and again from the same first weights on other images.

TensorFlow takes seconds to trace a training step, as long as many a small training takes: here it does so once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Indices

if TYPE_CHECKING:
    import keras

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
        from models.recipe import SmoothedCrossEntropy

        keras.utils.set_random_seed(seed)
        self._seed = seed
        self._network = build("quick", garments, width=WIDTH, dropout=0.0)
        self._network.compile(keras.optimizers.AdamW(weight_decay=0.05), loss=SmoothedCrossEntropy())
        self._network.optimizer.build(self._network.trainable_variables)
        self._first = self._network.get_weights()

    def train(self, images: npt.NDArray[np.uint8], garments: Indices, epochs: int) -> keras.Model:
        """Trains from the first weights; the network returned is trained on when this is called again.

        Args:
            images: uint8 [n, 28, 28].
            garments: int64 [n].
            epochs: Passes over the images.
        """
        from keras.callbacks import LambdaCallback

        from models.batches import Batches
        from models.recipe import WarmupCosine

        self._reset()
        batch = min(int(np.clip(len(images) // STEPS_AN_EPOCH, *BATCHES)), len(images))
        batches = Batches(images, garments, batch_size=batch, seed=self._seed, augmentation="flip")
        steps = epochs * batches.an_epoch
        rates = np.asarray(WarmupCosine(PEAK_LEARNING_RATE, steps)(np.arange(steps)))
        optimizer, step = self._network.optimizer, iter(rates)

        def begin(batch: int, logs: object = None) -> None:
            optimizer.learning_rate = next(step)

        self._network.fit(
            batches,
            epochs=epochs,
            steps_per_epoch=batches.an_epoch,
            shuffle=False,
            callbacks=[LambdaCallback(on_train_batch_begin=begin)],
            verbose=0,
        )
        return self._network

    def _reset(self) -> None:
        self._network.set_weights(self._first)
        for variable in self._network.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
