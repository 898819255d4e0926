"""Requests to an exported model as TensorFlow Serving logs and replays them: `PredictionLog`s in a TFRecord file.

One format for the warm-up file that Serving reads and for the requests that the InfraValidator sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from PIL import Image
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

MODEL_NAME = "fashion"
INPUTS = {"serving_default": "image", "serving_bytes": "image_bytes", "serving_examples": "examples"}
"""The signatures of every exported model, with the name of their one input."""
TEXT = "serving_text"
"""The signature that a model has beside these if it reads descriptions; its images are those of `serving_bytes`."""
MODEL_FILE = "saved_model.pb"

Images = NDArray[np.uint8]
Answers = dict[str, NDArray[Any]]


class RequestError(ValueError):
    """A model does not answer a request; the message says which."""


def signatures_of(saved_model: Path) -> tuple[str, ...]:
    """Returns the signatures that a SavedModel is to answer: those of `INPUTS`, and `TEXT` if it has that.

    The model is not loaded, and whether it can be is not said.
    """
    try:
        graphs = SavedModel.FromString((saved_model / MODEL_FILE).read_bytes()).meta_graphs
    except (OSError, DecodeError):
        graphs = []
    return (*INPUTS, *(TEXT for graph in graphs if TEXT in graph.signature_def))


def predict_request(signature: str, images: Images, descriptions: Sequence[str] = ()) -> PredictionLog:
    """Returns the request for images in the form that a signature takes.

    Args:
        signature: One of `INPUTS`, or `TEXT`.
        images: uint8 [N, 28, 28].
        descriptions: For `TEXT`, one an image. Defaults to empty ones, to which the answer is that of `serving_bytes`.
    """
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    if signature == TEXT:
        texts = [text.encode() for text in descriptions] or [b""] * len(images)
        request.inputs["description"].CopyFrom(tf.make_tensor_proto(texts))
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(_encode("serving_bytes", images)))
    else:
        request.inputs[INPUTS[signature]].CopyFrom(tf.make_tensor_proto(_encode(signature, images)))
    return log


def answer(model: Any, log: PredictionLog) -> Answers:
    """Sends a request to a SavedModel loaded in this process.

    Returns:
        The outputs by name, arrays with one row an image.

    Raises:
        RequestError: The model has no such signature or input, or cannot compute an answer.
    """
    request = log.predict_log.request
    name = request.model_spec.signature_name
    if name not in model.signatures:
        held = ", ".join(sorted(model.signatures)) or "none"
        raise RequestError(f"There is no signature {name}. Expected: {', '.join(INPUTS)}. Received: {held}")
    inputs = {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()}
    try:
        return {key: tensor.numpy() for key, tensor in model.signatures[name](**inputs).items()}
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise RequestError(f"{name} gives no answer. {first_line(error)}") from None


def with_answers(log: PredictionLog, answers: Answers) -> PredictionLog:
    """Returns the request together with its answers, as Serving logs them."""
    logged = PredictionLog()
    logged.CopyFrom(log)
    for key, values in answers.items():
        logged.predict_log.response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
    return logged


def answers_of(log: PredictionLog) -> Answers:
    """Returns the answers that `with_answers` added; empty when there are none."""
    return {key: tf.make_ndarray(tensor) for key, tensor in log.predict_log.response.outputs.items()}


def write_logs(path: Path, logs: Iterable[PredictionLog]) -> None:
    """Writes records as Serving reads them: a TFRecord file, not compressed; the same bytes for the same records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString(deterministic=True))


def read_logs(path: Path) -> list[PredictionLog]:
    """Reads what `write_logs` wrote."""
    with tf.device("/CPU:0"):
        return [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]


def load(saved_model: Path) -> Any:
    """Loads a SavedModel onto the processor, where TensorFlow Serving runs it, whatever else the machine has."""
    with tf.device("/CPU:0"):
        return tf.saved_model.load(str(saved_model))


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message without TensorFlow's node names, or its type when it has none."""
    text = str(getattr(error, "message", "") or error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:.*|\s*\[\[.*", "", first).strip()


def _encode(signature: str, images: Images) -> Images | list[bytes]:
    if signature == "serving_default":
        return images
    encode = _png if signature == "serving_bytes" else _example
    return [encode(image) for image in images]


def _png(image: Images) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


def _example(image: Images) -> bytes:
    feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))}
    example: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
    return example


def all_requests(images: Images, signatures: Sequence[str] = tuple(INPUTS)) -> list[PredictionLog]:
    """Returns a request of one image for every image and signature: all of one signature, then the next."""
    return [predict_request(s, images[i : i + 1]) for s in signatures for i in range(len(images))]
