"""The measure "deployment": a trained network as it would be asked, one image at a time, in one of three precisions."""

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
from analysis.experiments.laboratory import Laboratory, forget
from analysis.experiments.measures import training
from analysis.experiments.measures.training import judge
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read

if TYPE_CHECKING:
    import keras

ASKED = 300
REPRESENTATIVE = 500
PRECISIONS = ("float32", "float16", "int8")
Ask = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown precision, or a network that cannot be trained."""
    deployed = {name: value for name, value in settings.items() if name == "deployed"}
    check_settings({"deployed": "tensorflow", **deployed}, {"deployed": ["tensorflow", *PRECISIONS]})
    read({name: value for name, value in settings.items() if name not in deployed})


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains as the settings say; `deployed` is "tensorflow", or "float32", "float16" or "int8" in LiteRT.

    Latency is the median of 300 answers to one image each, in this process, with as many threads as there are cores.
    """
    settings = dict(settings)
    deployed = settings.pop("deployed", "tensorflow")
    outcome = training.measure(settings, seed, laboratory)
    network, images = laboratory.train(read(settings), seed).network, laboratory.images[VALIDATION]
    if deployed == "tensorflow":
        ask = _compiled(network)
    else:
        content = convert(network, deployed, laboratory.images["train"][:REPRESENTATIVE])
        ask = interpreter(content)
        answers = np.concatenate([ask(image[None]) for image in images])
        judged = judge(answers, laboratory, VALIDATION)
        cost = [
            f for f in outcome.figures if f[1] in ("train_seconds", "images_per_second", "parameters", "multiply_adds")
        ]
        bytes_ = (VALIDATION, "bytes", float(len(content)))
        outcome = replace(judged, figures=[*judged.figures, *cost, bytes_], place=outcome.place)
    latency = (VALIDATION, "latency_ms", latency_ms(ask, images))
    forget()
    return replace(outcome, figures=[*outcome.figures, latency])


def latency_ms(ask: Ask, images: npt.NDArray[np.uint8]) -> float:
    """Returns the median milliseconds of an answer to one image."""
    seconds = []
    for place in range(ASKED + 20):
        begun = time.perf_counter()
        ask(images[place % len(images)][None])
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds[20:]) * 1e3)


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


def interpreter(content: bytes) -> Ask:
    """Returns a function from one image uint8 [1, 28, 28] to logits float32 [1, outputs]."""
    import tensorflow as tf

    with warnings.catch_warnings(action="ignore"):  # of its move to a package of its own
        held = tf.lite.Interpreter(model_content=content, num_threads=len(os.sched_getaffinity(0)))
    held.allocate_tensors()
    given, answered = held.get_input_details()[0], held.get_output_details()[0]

    def ask(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        held.set_tensor(given["index"], image.astype(given["dtype"]))
        held.invoke()
        return np.asarray(held.get_tensor(answered["index"]), np.float32)

    return ask


def _compiled(network: keras.Model) -> Ask:
    import tensorflow as tf

    function = tf.function(lambda images: network(images, training=False))
    call = function.get_concrete_function(tf.TensorSpec((1, 28, 28), tf.uint8))
    return lambda image: np.asarray(call(tf.constant(image)))
