"""The requests that TensorFlow Serving replays before a version takes traffic, so that the first user waits no longer.

Serving reads one file, `assets.extra/tf_serving_warmup_requests`, and goes on without a word when it is elsewhere
(https://www.tensorflow.org/tfx/serving/saved_model_warmup). So it is read back and replayed before a push.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from serving.requests.prediction_log import (
    INPUTS,
    Images,
    RequestError,
    answer,
    first_line,
    load,
    predict_request,
    read_logs,
    signatures_of,
    write_logs,
)
from serving.versions import Version, push

FILE_NAME = "tf_serving_warmup_requests"
MOST_RECORDS = 1000
"""TensorFlow Serving refuses to load a version with more."""


class WarmupError(ValueError):
    """The warm-up requests are not what Serving can replay; the message says why."""


def push_warm(
    saved_model: Path, base: Path, images: Images, *, singles: int, batch: int, keep: int = 5, replay: bool = True
) -> Version:
    """Makes a SavedModel with its warm-up requests the newest version: what is validated and what is served alike.

    Args:
        saved_model: The directory of the SavedModel; it is copied.
        base: The directory that TensorFlow Serving watches; made when missing.
        images: uint8 [N, 28, 28]; real ones, since what a server compiles and allocates for them its users need.
        singles: How many requests of one image a signature gets.
        batch: How many images the one large request of a signature has.
        keep: How many versions stay, the new one included.
        replay: Replays the requests in this process first. Defaults to yes; a server that is watched will do it too.

    Raises:
        WarmupError: The model does not answer its warm-up requests; nothing is pushed.
        VersionError: The source is no SavedModel.
    """
    with tempfile.TemporaryDirectory(prefix="fashion-warmup-") as place:
        file = Path(place) / FILE_NAME
        write_warmup(file, images, singles, batch, signatures_of(saved_model))
        if replay:
            replay_warmup(file, saved_model)
        return push(saved_model, base, {FILE_NAME: file}, keep)


def write_warmup(
    path: Path, images: Images, singles: int, batch: int, signatures: Sequence[str] = tuple(INPUTS)
) -> int:
    """Writes the warm-up requests of all signatures: of one image each, then of many.

    Args:
        path: The file to write.
        images: uint8 [N, 28, 28]; the first ones are sent.
        singles: How many requests of one image a signature gets.
        batch: How many images the one large request of a signature has.
        signatures: Which ones. Defaults to those of every exported model.

    Returns:
        How many requests were written.

    Raises:
        WarmupError: They are more than Serving accepts.
    """
    slices = [images[i : i + 1] for i in range(min(singles, len(images)))] + [images[:batch]]
    count = len(signatures) * len(slices)
    if count > MOST_RECORDS:
        raise WarmupError(f"Too many warm-up requests. Expected: at most {MOST_RECORDS}. Received: {count}")
    write_logs(path, (predict_request(signature, part) for signature in signatures for part in slices))
    return count


def replay_warmup(path: Path, saved_model: Path) -> int:
    """Reads the file as Serving does and sends its requests to the model; returns how many there were.

    Raises:
        WarmupError: The file cannot be read or lacks a signature, or the model gives a request no finite answer.
    """
    try:
        logs = read_logs(path)
    except (tf.errors.OpError, DecodeError) as error:
        raise WarmupError(f"The warm-up requests {path} cannot be read. {first_line(error)}") from None
    asked = {log.predict_log.request.model_spec.signature_name for log in logs}
    if asked != set(signatures_of(saved_model)):
        raise WarmupError(
            "The warm-up requests do not cover the signatures. "
            f"Expected: {', '.join(sorted(signatures_of(saved_model)))}. "
            f"Received: {', '.join(sorted(asked)) or 'none'}"
        )
    model = load(saved_model)
    for number, log in enumerate(logs, start=1):
        try:
            answers = answer(model, log)
        except RequestError as error:
            raise WarmupError(f"Warm-up request {number} of {len(logs)} fails. {error}") from None
        for name, values in answers.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise WarmupError(
                    f"Warm-up request {number} of {len(logs)} fails. Expected: finite {name}. Received: {values}"
                )
    return len(logs)
