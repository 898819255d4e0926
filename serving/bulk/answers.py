"""What a model answers to a batch of a bulk scoring, as rows and as a sample of logged requests."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.bulk.batches import BATCH_BYTES, Batch, to_input
from serving.bulk.sink import ANSWERS, NAMES
from serving.bulk.sources import SIGNATURES, BulkError
from serving.requests.prediction_log import INPUTS, MODEL_NAME, Answers, first_line, load, with_answers

Answered = list[tuple[list[int], Answers]]
"""The places in a batch that have answers, ascending, with the answers to them."""

# TensorFlow quotes what it cannot parse, and its own binding then stumbles over a quote that is no UTF-8.
_REFUSED = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, UnicodeDecodeError)


class Scorer:
    """Asks the signature of a model that fits a kind of source.

    Attributes:
        signature: Its name.
    """

    def __init__(self, saved_model: str, digest: str, version: str, kind: str) -> None:
        """Loads the model, once a process.

        Args:
            saved_model: The directory of the SavedModel.
            digest: Of its files: tells it from another that took its place.
            version: What the rows and logs call it.
            kind: What is to be scored.

        Raises:
            BulkError: It cannot be loaded, or has no such signature with all the outputs.
        """
        self.signature = SIGNATURES[kind]
        self._function = _signature(_load(saved_model, digest), self.signature)
        self._kind = kind
        self._version = version

    def ask(self, batch: Batch) -> Answered:
        """Returns the model's answers; why it has none to an image is added to the batch's errors.

        Raises:
            BulkError: The model fails at something other than the images.
        """
        places = [i for i, payload in enumerate(batch.payloads) if payload is not None]
        return self._ask(places, [p for p in batch.payloads if p is not None], batch.errors)

    def table(self, batch: Batch, answered: Answered) -> pa.Table:
        """Returns the rows of a batch."""
        count = len(batch.sources)
        order = np.full(count, -1)
        places = [place for part, _ in answered for place in part]
        order[places] = np.arange(len(places))
        taken = pa.array(order, mask=order < 0)
        columns: dict[str, Any] = {"source": pa.array(batch.sources, pa.string())}
        for field in ANSWERS:
            parts = [answers[field.name] for _, answers in answered]
            columns[field.name] = _column(parts, field.type).take(taken) if parts else pa.nulls(count, field.type)
        columns["model_version"] = pa.array([self._version] * count, pa.string())
        columns["error"] = pa.array([batch.errors.get(i) for i in range(count)], pa.string())
        for name, values in batch.carried.items():
            columns[f"input_{name}" if name in NAMES else name] = values
        return pa.table(columns)

    def sample(self, batch: Batch, answered: Answered, rate: float) -> list[PredictionLog]:
        """Returns the requests, of one image each, that are logged: chosen by name, so always the same."""
        logs = []
        for places, answers in answered:
            for row, place in enumerate(places):
                if _chance(batch.sources[place]) < rate:
                    payload = batch.payloads[place]
                    assert payload is not None
                    logs.append(self._log(payload, {name: v[row : row + 1] for name, v in answers.items()}, rate))
        return logs

    def _log(self, payload: bytes, answers: Answers, rate: float) -> PredictionLog:
        log = PredictionLog()
        log.log_metadata.sampling_config.sampling_rate = rate
        request = log.predict_log.request
        value = tf.make_tensor_proto(to_input(self._kind, [payload]))
        request.inputs[INPUTS[self.signature]].CopyFrom(value)
        for spec in (request.model_spec, log.log_metadata.model_spec):
            spec.name, spec.signature_name = MODEL_NAME, self.signature
            if self._version.isascii() and self._version.isdecimal():
                spec.version.value = int(self._version)
        return with_answers(log, answers)

    def _ask(self, places: list[int], payloads: list[bytes], errors: dict[int, str]) -> Answered:
        """What is too much at once, or holds an image that the model refuses, is halved."""
        if not places:
            return []
        fault = ""
        if len(places) == 1 or sum(map(len, payloads)) <= BATCH_BYTES:
            try:
                answers = self._call(payloads)
                # A record with the pixels of two images is two images to the graph.
                if all(len(values) == len(places) for values in answers.values()):
                    return [(places, answers)]
                fault = f"Expected: one image. Received: {len(answers['group'])}"
            except _REFUSED as error:
                fault = _reason(error)
        if len(places) == 1:
            errors[places[0]] = fault
            return []
        half = len(places) // 2
        return self._ask(places[:half], payloads[:half], errors) + self._ask(places[half:], payloads[half:], errors)

    def _call(self, payloads: list[bytes]) -> Answers:
        try:
            tensors = self._function(**{INPUTS[self.signature]: to_input(self._kind, payloads)})
        except _REFUSED:
            raise
        except tf.errors.OpError as error:
            raise BulkError(f"The model gives no answer. {self.signature}: {_reason(error)}") from None
        return {name: tensors[name].numpy() for name in ANSWERS.names}


def _reason(error: BaseException) -> str:
    """What a graph says is behind lines that name its node."""
    message = str(getattr(error, "message", "") or error)
    return first_line(ValueError(message.rpartition("<stack traces unavailable>\n")[2]))


@lru_cache(maxsize=1)
def _load(saved_model: str, digest: str) -> Any:
    try:
        return load(Path(saved_model))
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise BulkError(
            f"The model cannot be loaded. Expected: a SavedModel in {saved_model}. Received: {first_line(error)}"
        ) from None


def _signature(model: Any, name: str) -> Any:
    if name not in model.signatures:
        received = ", ".join(sorted(model.signatures)) or "none"
        raise BulkError(f"The model cannot score this. Expected: the signature {name}. Received: {received}")
    function = model.signatures[name]
    inputs, outputs = set(function.structured_input_signature[1]), set(function.structured_outputs)
    if inputs != {INPUTS[name]} or set(ANSWERS.names) - outputs:
        raise BulkError(
            f"The model's signature {name} is another one. Expected: {INPUTS[name]} -> {', '.join(ANSWERS.names)}. "
            f"Received: {', '.join(sorted(inputs))} -> {', '.join(sorted(outputs))}"
        )
    return function


def _column(parts: list[Any], kind: pa.DataType) -> pa.Array:
    values = np.concatenate(parts)
    if pa.types.is_string(kind):
        return pa.array([text.decode() for text in values], kind)
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1), kind.value_type))


def _chance(source: str) -> float:
    """A number from 0 to 1 for a name: the same in every run, and even for names that count up."""
    return int.from_bytes(blake2b(source.encode(), digest_size=8).digest()) / 2**64
