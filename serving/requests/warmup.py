"""Warm-up requests, which TensorFlow Serving replays before a version takes traffic, so that first requests are fast.

Serving reads one file, `assets.extra/tf_serving_warmup_requests`, and silently ignores a missing one
(https://www.tensorflow.org/tfx/serving/saved_model_warmup). So the file is read back and replayed before a push.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from pipeline.contract.errors import UserError
from serving.requests.prediction_log import (
    INPUTS,
    Images,
    RequestError,
    answer,
    load,
    predict_request,
    read_logs,
    short_message,
    signatures_of,
    write_logs,
)
from serving.versions import Version, push

FILE_NAME = "tf_serving_warmup_requests"
MAX_RECORDS = 1000
"""TensorFlow Serving refuses to load a version with more warm-up requests."""


class WarmupError(UserError):
    """TensorFlow Serving could not replay the warm-up requests."""


def push_warm(
    saved_model: Path, base: Path, images: Images, *, singles: int, batch: int, keep: int = 5, replay: bool = True
) -> Version:
    """Pushes a SavedModel with its warm-up requests as the newest version, both for validation and for serving.

    Args:
        saved_model: The directory of the SavedModel.
        base: The directory that TensorFlow Serving watches, which is created if it does not exist.
        images: uint8 [N, 28, 28]; real images, so that the server compiles and allocates what its users need.
        singles: The number of requests with one image for each signature.
        batch: The number of images in the one large request for each signature.
        keep: The number of versions that stay, the new one included.
        replay: Whether to replay the requests in this process before the push. Defaults to True. Not needed before a
            server that replays them under observation.

    Raises:
        WarmupError: The model does not answer its warm-up requests; nothing is pushed.
        VersionError: The source is no SavedModel.
    """
    with tempfile.TemporaryDirectory(prefix="fashion-warmup-") as directory:
        file = Path(directory) / FILE_NAME
        write_warmup(file, images, singles, batch, signatures_of(saved_model))
        if replay:
            replay_warmup(file, saved_model)
        return push(saved_model, base, {FILE_NAME: file}, keep)


def write_warmup(
    path: Path, images: Images, singles: int, batch: int, signatures: Sequence[str] = tuple(INPUTS)
) -> int:
    """Writes the warm-up requests of all signatures: some with one image, then one with many.

    Args:
        path: The file to write.
        images: uint8 [N, 28, 28]; the first ones are used.
        singles: The number of requests with one image for each signature.
        batch: The number of images in the one large request for each signature.
        signatures: The signatures. Defaults to those of every exported model.

    Returns:
        The number of requests.

    Raises:
        WarmupError: There are more requests than TensorFlow Serving accepts.
    """
    slices = [images[i : i + 1] for i in range(min(singles, len(images)))] + [images[:batch]]
    count = len(signatures) * len(slices)
    if count > MAX_RECORDS:
        raise WarmupError(
            "There are too many warm-up requests.", expected=f"at most {MAX_RECORDS}", received=str(count)
        )
    write_logs(path, (predict_request(signature, part) for signature in signatures for part in slices))
    return count


def replay_warmup(path: Path, saved_model: Path) -> int:
    """Reads the file as TensorFlow Serving does and sends its requests to the model; returns their number.

    Raises:
        WarmupError: The file cannot be read or lacks a signature, or an answer is missing or not finite.
    """
    try:
        logs = read_logs(path)
    except (tf.errors.OpError, DecodeError) as error:
        raise WarmupError(f"The warm-up requests {path} cannot be read.", received=short_message(error)) from None
    covered = {log.predict_log.request.model_spec.signature_name for log in logs}
    if covered != (expected := set(signatures_of(saved_model))):
        raise WarmupError(
            "The warm-up requests do not cover the signatures.",
            expected=", ".join(sorted(expected)),
            received=", ".join(sorted(covered)) or "none",
        )
    model = load(saved_model)
    for number, log in enumerate(logs, start=1):
        try:
            answers = answer(model, log)
        except RequestError as error:
            raise WarmupError(f"Warm-up request {number} of {len(logs)} fails.", received=error.one_line) from None
        for name, values in answers.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise WarmupError(
                    f"Warm-up request {number} of {len(logs)} fails.", expected=f"finite {name}", received=str(values)
                )
    return len(logs)
