"""Two published beginner tutorials, network and training, as references for the ladder and the benchmarks.

Rewritten from the pages, with two changes that change no prediction: the pixels are scaled inside the network, and it
returns logits, where Keras's page has a softmax and one-hot targets; the loss is the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers


@dataclass(frozen=True)
class Tutorial:
    """A tutorial's network and its training.

    Attributes:
        name: Title of the page.
        source: Address of the page.
        build: From the number of garments to a compiled model: uint8 images [batch, 28, 28] to logits, float32 [batch,
            garments], trained on int garments [batch], metric `garment_accuracy`.
        epochs: Number of epochs.
        batch_size: Images a step.
    """

    name: str
    source: str
    build: Callable[[int], keras.Model]
    epochs: int
    batch_size: int


def build_tensorflow_tutorial(garments: int) -> keras.Model:
    """Builds and compiles the network of "Basic classification": one hidden layer on the pixels."""
    return _compiled(
        "tensorflow_tutorial",
        [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(garments, dtype="float32")],
    )


def build_keras_convnet(garments: int) -> keras.Model:
    """Builds and compiles the network of "Simple MNIST convnet": two convolutions, pooling, a dropout of 0.5."""
    return _compiled(
        "keras_convnet",
        [
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(garments, dtype="float32"),
        ],
    )


def _compiled(name: str, stack: list[keras.Layer]) -> keras.Model:
    image = keras.Input((28, 28), dtype="uint8", name="image")
    model = keras.Sequential([image, layers.Rescaling(1 / 255), *stack], name=name)
    model.compile(
        # Both pages use "adam": a constant rate of 1e-3.
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="garment_accuracy")],
    )
    return model


TUTORIALS: dict[str, Tutorial] = {
    "tensorflow_tutorial": Tutorial(
        "Basic classification: Classify images of clothing",
        "https://www.tensorflow.org/tutorials/keras/classification",
        build_tensorflow_tutorial,
        epochs=10,
        # The page names none; this is the default of `fit`.
        batch_size=32,
    ),
    # The page trains on 90% of the 60,000 images, as many as our training split has.
    "keras_convnet": Tutorial(
        "Simple MNIST convnet",
        "https://keras.io/examples/vision/mnist_convnet/",
        build_keras_convnet,
        epochs=15,
        batch_size=128,
    ),
}
