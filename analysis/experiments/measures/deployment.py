"""The measure "deployment": a trained network on single images, in TensorFlow or in LiteRT with a given precision."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import check_settings
from analysis.experiments.laboratory import Laboratory, clear_session
from analysis.experiments.measures import training
from analysis.experiments.measures.training import evaluate_logits
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read

if TYPE_CHECKING:
    import keras

REQUESTS, WARM_UP = 300, 20
REPRESENTATIVE = 500
PRECISIONS = ("float32", "float16", "int8")
Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown precision or invalid settings of the network."""
    deployed = {name: value for name, value in settings.items() if name == "deployed"}
    check_settings({"deployed": "tensorflow", **deployed}, {"deployed": ["tensorflow", *PRECISIONS]})
    read({name: value for name, value in settings.items() if name not in deployed})


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains a network and evaluates it deployed: as "tensorflow", or in LiteRT as "float32", "float16" or "int8".

    Latency is the median of 300 predictions for one image each, in this process, with one thread per core.
    """
    settings = dict(settings)
    deployed = settings.pop("deployed", "tensorflow")
    outcome = training.measure(settings, seed, laboratory)
    network, images = laboratory.train(read(settings), seed).network, laboratory.images[VALIDATION]
    if deployed == "tensorflow":
        predict = _compiled(network)
    else:
        content = convert(network, deployed, laboratory.images["train"][:REPRESENTATIVE])
        predict = interpreter(content)
        logits = np.concatenate([predict(image[None]) for image in images])
        evaluated = evaluate_logits(logits, laboratory, VALIDATION)
        cost = [
            f for f in outcome.figures if f[1] in ("train_seconds", "images_per_second", "parameters", "multiply_adds")
        ]
        bytes_ = (VALIDATION, "bytes", float(len(content)))
        outcome = replace(evaluated, figures=[*evaluated.figures, *cost, bytes_], machine=outcome.machine)
    latency = (VALIDATION, "latency_ms", latency_ms(predict, images))
    clear_session()
    return replace(outcome, figures=[*outcome.figures, latency])


def latency_ms(predict: Predict, images: npt.NDArray[np.uint8]) -> float:
    """Returns the median milliseconds of a prediction for one image, after a warm-up."""
    seconds = []
    for request in range(WARM_UP + REQUESTS):
        started = time.perf_counter()
        predict(images[request % len(images)][None])
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[WARM_UP:]) * 1e3)


def convert(network: keras.Model, precision: str, images: npt.NDArray[np.uint8]) -> bytes:
    """Returns the network as a LiteRT flatbuffer: "float32", weights in "float16", or all in "int8".

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018;
    the ranges of the activations come from the images.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([image[None]] for image in images)
    with warnings.catch_warnings(action="ignore"), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        content: bytes = converter.convert()
    return content


def interpreter(content: bytes) -> Predict:
    """Returns a function from one image uint8 [1, 28, 28] to logits float32 [1, outputs]."""
    import tensorflow as tf

    with warnings.catch_warnings(action="ignore"):  # TensorFlow announces that it moves to a package of its own
        model = tf.lite.Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))
    model.allocate_tensors()
    image_tensor, logits_tensor = model.get_input_details()[0], model.get_output_details()[0]

    def predict(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        model.set_tensor(image_tensor["index"], image.astype(image_tensor["dtype"]))
        model.invoke()
        return np.asarray(model.get_tensor(logits_tensor["index"]), np.float32)

    return predict


def _compiled(network: keras.Model) -> Predict:
    import tensorflow as tf

    function = tf.function(lambda images: network(images, training=False))
    call = function.get_concrete_function(tf.TensorSpec((1, 28, 28), tf.uint8))
    return lambda image: np.asarray(call(tf.constant(image)))
