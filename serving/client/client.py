"""Asks a model server - the embedded one or TensorFlow Serving - about images, over REST or gRPC.

with Client("http://127.0.0.1:8501") as client:
    for answer in client.predict(["shoe.jpg", pixels]):
        print(answer.source, answer.group, answer.confidence)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from models.taxonomy import Taxonomy
from serving.client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unreachable,
    persist,
)
from serving.images.inputs import ImageError, Limits, Payload, Source, prepare
from serving.requests.predictions import Failure, ImagesFailed, Prediction, prediction

__all__ = [
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Failure",
    "ImagesFailed",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "Prediction",
    "Unreachable",
]

MOST_BYTES = 20_000_000
"""Of the images of one request: in base64, within the 32 MiB that the embedded server takes."""

Arrays = dict[str, NDArray[Any]]


class Transport(Protocol):
    """REST or gRPC."""

    def call(self, signature: str, inputs: Mapping[str, NDArray[Any]], seconds: float) -> tuple[Arrays, int | None]:
        """Returns the outputs by name and the version, where it is known."""

    def status(self, seconds: float) -> list[tuple[int, str, str]]:
        """Returns version, state and error of every version that the server knows."""

    def metadata(self, seconds: float) -> dict[str, Any]:
        """Returns the signatures by name."""

    def close(self) -> None:
        """Closes the connections."""


class Client:
    """One model on one server.

    Args:
        url: `http://`, `https://`, `grpc://` or `grpcs://`, host and port.
        model: The model's name. Defaults to "fashion".
        version: The version to ask. Defaults to the newest.
        label: The label to ask instead, such as "canary".
        timeout_seconds: The most that a whole call may take, with all its requests, retries and pauses. Images are read
            before.
        retries: How often a request is repeated after an overload or a broken connection, and after nothing else.
        batch_size: The most images in a request.
        limits: What is read of an image at most.
        taxonomy: The names of groups and garments. Defaults to the project's own.

    Raises:
        ValueError: The URL is of another kind, or both a version and a label are asked.
    """

    def __init__(
        self,
        url: str,
        model: str = "fashion",
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = 10.0,
        retries: int = 3,
        batch_size: int = 64,
        limits: Limits | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> None:
        if version is not None and label:
            raise ValueError(f"Too much is asked. Expected: a version or a label. Received: {version} and {label!r}")
        self._transport = _transport(url, model, version, label)
        self._timeout, self._retries, self._batch_size = timeout_seconds, retries, max(batch_size, 1)
        self._limits = limits or Limits()
        self._taxonomy = taxonomy or Taxonomy.load()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def predict(self, images: Sequence[Source] | NDArray[np.uint8] | Source) -> list[Prediction]:
        """Returns what the model says of each image, in their order.

        Args:
            images: Paths, URLs, bytes, PIL images or arrays, mixed as you like; one of them; or uint8 [N, 28, 28].

        Raises:
            ImagesFailed: Some cannot be read or answered; the error holds the answers to the others.
            ClientError: The server gives no answer.
        """
        answers = self.predict_each(images)
        predictions = [a for a in answers if isinstance(a, Prediction)]
        if failures := [a for a in answers if isinstance(a, Failure)]:
            raise ImagesFailed(failures, predictions)
        return predictions

    def predict_each(self, images: Sequence[Source] | NDArray[np.uint8] | Source) -> list[Prediction | Failure]:
        """As `predict`, but a bad image is a `Failure` in its place instead of an error.

        Raises:
            ClientError: The server gives no answer.
        """
        answers: dict[int, Prediction | Failure] = {}
        sent: dict[str, list[tuple[int, str, Payload]]] = {"serving_default": [], "serving_bytes": []}
        for position, image in enumerate(_each(images)):
            name = str(image) if isinstance(image, str | Path) else f"image {position + 1}"
            try:
                payload = prepare(image, self._limits, name)[1]
                sent["serving_bytes" if isinstance(payload, bytes) else "serving_default"].append(
                    (position, name, payload)
                )
            except ImageError as error:
                answers[position] = Failure(name, str(error))
        deadline = time.monotonic() + self._timeout
        for signature, parts in sent.items():
            for batch in _batches(parts, self._batch_size):
                answers |= self._answers(signature, batch, deadline)
        return [answers[position] for position in sorted(answers)]

    def call(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Sends arrays to a signature as they are and returns its outputs; strings are object arrays of bytes.

        Raises:
            ClientError: The server gives no answer.
        """
        deadline = time.monotonic() + self._timeout
        return persist(lambda left: self._transport.call(signature, inputs, left), self._retries, deadline)[0]

    def status(self) -> list[tuple[int, str, str]]:
        """Returns version, state and error message of every version that the server knows."""
        return persist(self._transport.status, self._retries, time.monotonic() + self._timeout)

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures by name, each with `inputs` and `outputs`."""
        return persist(self._transport.metadata, self._retries, time.monotonic() + self._timeout)

    def _answers(
        self, signature: str, batch: list[tuple[int, str, Payload]], deadline: float
    ) -> dict[int, Prediction | Failure]:
        """By position; a refused batch is halved until the images that spoil it stand alone."""
        payloads = [payload for _, _, payload in batch]
        inputs = {"image_bytes": _strings(payloads)} if signature == "serving_bytes" else {"image": np.stack(payloads)}
        try:
            outputs, version = persist(
                lambda left: self._transport.call(signature, inputs, left), self._retries, deadline
            )
        except InvalidRequest as error:
            if len(batch) == 1:
                return {batch[0][0]: Failure(batch[0][1], f"{batch[0][1]} is refused by the server: {error}")}
            middle = len(batch) // 2
            halves = (batch[:middle], batch[middle:])
            return self._answers(signature, halves[0], deadline) | self._answers(signature, halves[1], deadline)
        if wrong := [name for name in ("group", "confidence", "abstain") if len(outputs.get(name, ())) != len(batch)]:
            raise ClientError(f"The answer is not this model's. Expected: a {wrong[0]} an image. Received: none")
        return {
            position: prediction(name, {key: values[row] for key, values in outputs.items()}, version, self._taxonomy)
            for row, (position, name, _) in enumerate(batch)
        }


def _transport(url: str, model: str, version: int | None, label: str | None) -> Transport:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        from serving.client.rest_transport import RestTransport

        return RestTransport(url, model, version, label)
    if parts.scheme in ("grpc", "grpcs") and parts.hostname:
        from serving.client.grpc_transport import GrpcTransport

        return GrpcTransport(parts.netloc, parts.scheme == "grpcs", model, version, label)
    raise ValueError(f"{url!r} is no server. Expected: http, https, grpc or grpcs, host and port. Received: {url!r}")


def _each(images: Any) -> Iterator[Source]:
    """The images one by one, also when there is only one, not in a list."""
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 3)
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[1:] != (28, 28):
        several = False
    return iter(images if several or hasattr(images, "__next__") else [images])


def _batches(parts: list[tuple[int, str, Payload]], most: int) -> Iterator[list[tuple[int, str, Payload]]]:
    batch: list[tuple[int, str, Payload]] = []
    size = 0
    for part in parts:
        if batch and (len(batch) == most or size + len(part[2]) > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += len(part[2])
    if batch:
        yield batch


def _strings(payloads: list[Any]) -> NDArray[Any]:
    array = np.empty(len(payloads), dtype=object)
    array[:] = payloads
    return array
