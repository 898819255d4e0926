"""A client that sends images to a model server over REST or gRPC: the embedded server or TensorFlow Serving.

with Client("http://127.0.0.1:8501") as client:
    for prediction in client.predict(["shoe.jpg", pixels]):
        print(prediction.source, prediction.group, prediction.confidence)
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.image_limits import IMAGE_SIDE, ImageLimits
from serving.client.errors import ClientError, DeadlineExceeded, InvalidRequest, call_until_answered
from serving.client.image_sources import Payload, Source, load_payload
from serving.client.predictions import ClassNames, Failure, ImagesFailed, Prediction, to_prediction
from serving.fetching.errors import DownloadError
from serving.images.encoding import ImageError
from serving.images.headers import decoded_pixels

MAX_REQUEST_BYTES = 20_000_000
"""The most image bytes in one request: in base64 they fit into the 32 MiB that the embedded server accepts."""
MAX_REQUEST_PIXELS = 12_500_000
"""The most pixels in one request, about half a second of work; a larger image has a request of its own."""
MAX_UNANSWERED = 3
"""Requests that time out before the client gives up on a server that has not answered any."""

logger = logging.getLogger(__name__)

OUTPUTS = tuple(field.name for field in fields(Prediction) if field.name not in ("source", "version"))
"""The outputs of every signature for images."""

Arrays = dict[str, NDArray[Any]]
Answer = TypeVar("Answer")
_NamedPayload = tuple[int, str, Payload]
"""The position of an image among those given, its name, and what a request carries."""


class Transport(Protocol):
    """What the client needs of REST or gRPC."""

    def call(self, signature: str, inputs: Mapping[str, NDArray[Any]], seconds: float) -> tuple[Arrays, int | None]:
        """Returns the outputs by name, and the version if the server reports it."""

    def status(self, seconds: float) -> list[tuple[int, str, str]]:
        """Returns version, state and error of every version that the server knows."""

    def metadata(self, seconds: float) -> dict[str, Any]:
        """Returns the signatures by name."""

    def close(self) -> None:
        """Closes the connections."""


class Client:
    """A client of one model on one server.

    Args:
        url: `http://`, `https://`, `grpc://` or `grpcs://`, host and port.
        model: The model's name. Defaults to "fashion".
        version: The version to use. Defaults to the newest.
        label: The version label to use instead, such as "canary".
        timeout_seconds: The time limit for each request, with its retries and pauses. Large images have requests of
            their own, so a slow one takes no time from the others. Defaults to 10.
        retries: The most retries of a request after an overload or a broken connection. Other errors are not retried.
            Defaults to 3.
        batch_size: The most images in a request. Defaults to 64.
        limits: The largest file and image. Defaults to those of the exported graph.
        allow_private: Whether the URL of an image may lead to an address that is not on the public internet. Defaults
            to False.
        download_seconds: The time limit for downloading one image. Defaults to 10.

    Raises:
        ClientError: The URL has another scheme or no host.
        ValueError: Both a version and a label are set.
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
        limits: ImageLimits | None = None,
        allow_private: bool = False,
        download_seconds: float = 10.0,
    ) -> None:
        if version is not None and label:
            raise ValueError(f"Set either a version or a label, not both. Received: {version} and {label!r}")
        self._transport = _transport(url, model, version, label)
        self._timeout, self._retries, self._batch_size = timeout_seconds, retries, max(batch_size, 1)
        self._limits, self._allow_private, self._download_seconds = limits, allow_private, download_seconds
        self._names: dict[int | None, ClassNames | None] = {}
        self._warned = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def predict(self, images: Sequence[Source] | NDArray[np.uint8] | Source) -> list[Prediction]:
        """Returns the prediction of each image, in their order.

        Args:
            images: Paths, URLs, bytes, PIL images or arrays, in any mixture; one of them; or uint8 [N, 28, 28].

        Raises:
            ImagesFailed: Some images cannot be read, or the server rejects them; the error holds the other predictions.
            ClientError: The server does not answer.
        """
        results = self.predict_each(images)
        predictions = [result for result in results if isinstance(result, Prediction)]
        if failures := [result for result in results if isinstance(result, Failure)]:
            raise ImagesFailed(failures, predictions)
        return predictions

    def predict_each(self, images: Sequence[Source] | NDArray[np.uint8] | Source) -> list[Prediction | Failure]:
        """Returns the prediction of each image, and a `Failure` for an image that cannot be read or is rejected.

        Raises:
            ClientError: The server does not answer.
        """
        return [result for _, result in sorted(self.predict_as_answered(images), key=lambda item: item[0])]

    def predict_as_answered(
        self, images: Sequence[Source] | NDArray[np.uint8] | Source
    ) -> Iterator[tuple[int, Prediction | Failure]]:
        """Yields the position and the result of each image as soon as its request is answered.

        Small images come first. An image that is not answered in time becomes a failure, and the others follow.

        Raises:
            ClientError: The server does not answer, or answers none of the first requests in time.
        """
        requests: dict[str, list[_NamedPayload]] = {"serving_default": [], "serving_bytes": []}
        for position, image in enumerate(_iterate_images(images)):
            name = str(image) if isinstance(image, str | Path) else f"image {position + 1}"
            try:
                payload = load_payload(
                    image,
                    name,
                    self._limits,
                    allow_private=self._allow_private,
                    download_seconds=self._download_seconds,
                )
                signature = "serving_bytes" if isinstance(payload, bytes) else "serving_default"
                requests[signature].append((position, name, payload))
            except (ImageError, DownloadError) as error:
                yield position, Failure(name, error.one_line)
        # Without a known version, the server may have loaded another model since the last call.
        self._names.pop(None, None)
        waiting = deque(
            (signature, batch)
            for signature, payloads in requests.items()
            for batch in _batches(payloads, self._batch_size)
        )
        answered, late = False, 0
        while waiting:
            signature, batch = waiting.popleft()
            try:
                yield from self._predict_batch(signature, batch, time.monotonic() + self._timeout)
                answered = True
            except (InvalidRequest, DeadlineExceeded) as error:
                answered, late = answered or isinstance(error, InvalidRequest), late + 1
                # The batch is halved until the images that cause the error stand alone.
                if half := len(batch) // 2:
                    waiting.extendleft([(signature, batch[half:]), (signature, batch[:half])])
                else:
                    position, name, _ = batch[0]
                    yield position, Failure(name, self._describe(error, name))
                if not answered and (late == MAX_UNANSWERED or not waiting):
                    raise

    def _describe(self, error: ClientError, name: str) -> str:
        if isinstance(error, DeadlineExceeded):
            return f"The server does not answer within {self._timeout:g} seconds for {name}."
        return f"The server rejects {name}: {error.one_line}"

    def call(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Sends arrays to a signature unchanged and returns its outputs; strings are object arrays of bytes.

        Raises:
            ClientError: The server does not answer.
        """
        return self._retry(lambda left: self._transport.call(signature, inputs, left))[0]

    def status(self) -> list[tuple[int, str, str]]:
        """Returns version, state and error message of every version that the server knows."""
        return self._retry(self._transport.status)

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures by name, each with `inputs` and `outputs`."""
        return self._retry(self._transport.metadata)

    def _retry(self, attempt: Callable[[float], Answer]) -> Answer:
        return call_until_answered(attempt, self._retries, time.monotonic() + self._timeout)

    def _predict_batch(
        self, signature: str, batch: list[_NamedPayload], deadline: float
    ) -> list[tuple[int, Prediction | Failure]]:
        """Returns the position and the prediction of each image of one request."""
        payloads = [payload for _, _, payload in batch]
        inputs = {"image_bytes": _strings(payloads)} if signature == "serving_bytes" else {"image": np.stack(payloads)}
        outputs, version = call_until_answered(
            lambda left: self._transport.call(signature, inputs, left), self._retries, deadline
        )
        if missing := [name for name in OUTPUTS if len(outputs.get(name, ())) != len(batch)]:
            raise ClientError(
                "The answer comes from another kind of model.",
                expected=f"the output {missing[0]} for each image",
                received="none",
            )
        names = self._class_names(outputs, version, deadline)
        return [
            (position, to_prediction(name, {key: v[row] for key, v in outputs.items()}, version, names))
            for row, (position, name, _) in enumerate(batch)
        ]

    def _class_names(self, outputs: Arrays, version: int | None, deadline: float) -> ClassNames | None:
        """Returns the names of the groups and garments of the version that answered; None if the model has none."""
        known = self._names.get(version)
        if version not in self._names or (known and not known.fit(outputs)):
            self._read_names(outputs["garment_probabilities"].shape[1], version, deadline)
            known = self._names.get(version)
        # A name of another version would be worse than none.
        return known if known and known.fit(outputs) else None

    def _read_names(self, garments: int, version: int | None, deadline: float) -> None:
        """Asks the model for its names and keeps them for the version that answers."""
        inputs = {"garment_index": np.arange(garments, dtype=np.int64)}
        try:
            outputs, answered = call_until_answered(
                lambda left: self._transport.call("taxonomy", inputs, left), self._retries, deadline
            )
            self._names[answered] = ClassNames.from_outputs(outputs)
        except InvalidRequest:
            self._names[version] = None
            if not self._warned:
                logger.warning(
                    "The model does not name its groups and garments: it has no signature `taxonomy`. Only the most "
                    "likely ones have names here, the others have numbers. Train and push a new version for all names."
                )
            self._warned = True


def _transport(url: str, model: str, version: int | None, label: str | None) -> Transport:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        from serving.client.rest_transport import RestTransport

        return RestTransport(url, model, version, label)
    if parts.scheme in ("grpc", "grpcs") and parts.hostname:
        from serving.client.grpc_transport import GrpcTransport

        return GrpcTransport(parts.netloc, parts.scheme == "grpcs", model, version, label)
    raise ClientError(
        f"{url!r} is not the URL of a server.", expected="http, https, grpc or grpcs, host and port", received=url
    )


def _iterate_images(images: Any) -> Iterator[Source]:
    """Yields the images one by one, also a single one that is not in a list."""
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 3)
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE):
        several = False
    return iter(images if several or hasattr(images, "__next__") else [images])


def _batches(payloads: list[_NamedPayload], batch_size: int) -> Iterator[list[_NamedPayload]]:
    """Yields the images of each request, small images first, so that they do not wait for large ones."""
    batch: list[_NamedPayload] = []
    size = pixels = 0
    with_pixels = [(decoded_pixels(named[2]) if isinstance(named[2], bytes) else 0, named) for named in payloads]
    for more, named in sorted(with_pixels, key=lambda item: item[0]):
        full = len(batch) == batch_size or size + len(named[2]) > MAX_REQUEST_BYTES
        if batch and (full or pixels + more > MAX_REQUEST_PIXELS):
            yield batch
            batch, size, pixels = [], 0, 0
        batch.append(named)
        size, pixels = size + len(named[2]), pixels + more
    if batch:
        yield batch


def _strings(payloads: list[Any]) -> NDArray[Any]:
    array = np.empty(len(payloads), dtype=object)
    array[:] = payloads
    return array
