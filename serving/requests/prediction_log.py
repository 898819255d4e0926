"""Requests and answers in TensorFlow Serving's format: `PredictionLog` records in a TFRecord file.

The warm-up file that Serving reads, the InfraValidator's requests and the logs of bulk inference share this format.
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

from pipeline.contract.errors import UserError

MODEL_NAME = "fashion"
INPUTS = {"serving_default": "image", "serving_bytes": "image_bytes", "serving_examples": "examples"}
"""The signatures of every exported model, with the name of their only input."""
TEXT = "serving_text"
"""The additional signature of a model that reads descriptions; its images are those of `serving_bytes`."""
MODEL_FILE = "saved_model.pb"

Images = NDArray[np.uint8]
Answers = dict[str, NDArray[Any]]


class RequestError(UserError):
    """A model does not answer a request."""


def signatures_of(saved_model: Path) -> tuple[str, ...]:
    """Returns the signatures that a SavedModel must have: those of `INPUTS`, and `TEXT` if the model has it.

    Reads the signatures without loading the model, so the model may still be damaged.
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
        descriptions: For `TEXT`, one an image. Defaults to empty ones, which give the answer of `serving_bytes`.
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
        The outputs by name, as arrays with one row an image.

    Raises:
        RequestError: The model has no such signature or input, or cannot compute an answer.
    """
    request = log.predict_log.request
    name = request.model_spec.signature_name
    if name not in model.signatures:
        received = ", ".join(sorted(model.signatures)) or "none"
        raise RequestError(f"There is no signature {name}.", expected=", ".join(INPUTS), received=received)
    inputs = {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()}
    try:
        return {key: tensor.numpy() for key, tensor in model.signatures[name](**inputs).items()}
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise RequestError(f"The signature {name} gives no answer.", received=short_message(error)) from None


def with_answers(log: PredictionLog, answers: Answers) -> PredictionLog:
    """Returns the request together with its answers, as TensorFlow Serving logs them."""
    logged = PredictionLog()
    logged.CopyFrom(log)
    for key, values in answers.items():
        logged.predict_log.response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
    return logged


def write_logs(path: Path, logs: Iterable[PredictionLog]) -> None:
    """Writes records as an uncompressed TFRecord file, with the same bytes for the same records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString(deterministic=True))


def read_logs(path: Path) -> list[PredictionLog]:
    """Reads the records of a TFRecord file."""
    with tf.device("/CPU:0"):
        return [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]


def load(saved_model: Path) -> Any:
    """Loads a SavedModel onto the CPU, where TensorFlow Serving runs it, also on a machine with a GPU."""
    with tf.device("/CPU:0"):
        return tf.saved_model.load(str(saved_model))


def short_message(error: BaseException) -> str:
    """Returns an error on one line, without TensorFlow's node names; its type if it has no message."""
    if isinstance(error, UserError):
        return error.one_line
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
