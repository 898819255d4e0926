"""The loop of a training: its epochs, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from models.batches import Batches


def go_through(
    model: keras.Model, batches: Batches, epochs: range, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    """Goes through the epochs step by step.

    `Model.fit` would feed the same batches, but at its end TensorFlow's input pipeline waits until its next look at
    itself, 2.56, 5.12, 10.24 s and so on from its start: of a training of 10.3 s that was a third.

    Args:
        model: Is trained; compiled.
        batches: What it is fed with.
        epochs: Their numbers, from 0.
        callbacks: Keras's; they are called as `Model.fit` would call them.
    """
    calls = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs.stop, steps=batches.an_epoch)
    calls.on_train_begin()
    shape: tuple[int, ...] = ()
    for epoch in epochs:
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        logs: dict[str, Any] = {}
        for step, batch in enumerate(batches.ahead(epoch * batches.an_epoch, (epoch + 1) * batches.an_epoch)):
            calls.on_train_batch_begin(step)
            if batch[0].shape != shape:
                # TensorFlow would trace a second size for any size, which rounds otherwise: a training that was resumed
                # after the first size would not end as an undisturbed one.
                model.make_train_function(force=True)
                shape = batch[0].shape
            logs = model.train_on_batch(*batch, return_dict=True)
            calls.on_train_batch_end(step, logs)
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end()
