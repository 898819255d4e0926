"""Scores batches of bulk inference: the model's outputs as rows, and a sample of requests as PredictionLogs."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.bulk.shards import COLUMNS, OUTPUTS
from serving.bulk.sources import BATCH_BYTES, SIGNATURES, Batch, BulkError, to_input
from serving.client.predictions import ClassNames
from serving.requests.prediction_log import INPUTS, MODEL_NAME, Answers, load, short_message, with_answers

Scores = list[tuple[list[int], Answers]]
"""Positions in a batch, ascending, with the model's outputs for them."""

# TensorFlow quotes what it cannot parse, and its own binding then fails on a quote that is not UTF-8.
_BAD_INPUT = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, UnicodeDecodeError)


class Scorer:
    """Scores batches with the signature of a model that fits the kind of source.

    Attributes:
        signature: The name of the signature.
        names: The names of the model's groups and garments; None for a model without the signature `taxonomy`.
    """

    def __init__(self, saved_model: str, digest: str, version: str, kind: str) -> None:
        """Loads the model, once in each process.

        Args:
            saved_model: The directory of the SavedModel.
            digest: The digest of its files, which distinguishes it from another model in the same directory.
            version: The version in rows and logs.
            kind: The kind of source.

        Raises:
            BulkError: The model cannot be loaded, or lacks the signature or one of its outputs.
        """
        self.signature = SIGNATURES[kind]
        model = _load(saved_model, digest)
        self._function = _signature(model, self.signature)
        self.names = _class_names(model, self._function)
        self._kind = kind
        self._version = version

    def score(self, batch: Batch) -> Scores:
        """Returns the model's outputs; the reason why an image has none is added to the batch's errors.

        Raises:
            BulkError: The model fails for a reason other than the images.
        """
        positions = [i for i, payload in enumerate(batch.payloads) if payload is not None]
        return self._score(positions, [p for p in batch.payloads if p is not None], batch.errors)

    def table(self, batch: Batch, scores: Scores) -> pa.Table:
        """Returns the rows of a batch."""
        count = len(batch.sources)
        order = np.full(count, -1)
        positions = [position for part, _ in scores for position in part]
        order[positions] = np.arange(len(positions))
        indices = pa.array(order, mask=order < 0)
        columns: dict[str, Any] = {"source": pa.array(batch.sources, pa.string())}
        for field in OUTPUTS:
            parts = [outputs[field.name] for _, outputs in scores]
            columns[field.name] = _column(parts, field.type).take(indices) if parts else pa.nulls(count, field.type)
        columns["model_version"] = pa.array([self._version] * count, pa.string())
        columns["error"] = pa.array([batch.errors.get(i) for i in range(count)], pa.string())
        for name, values in batch.other_columns.items():
            columns[f"input_{name}" if name in COLUMNS else name] = values
        return pa.table(columns)

    def sample(self, batch: Batch, scores: Scores, rate: float) -> list[PredictionLog]:
        """Returns the logged requests, of one image each: chosen by name, so every run logs the same."""
        logs = []
        for positions, outputs in scores:
            for row, position in enumerate(positions):
                if _uniform_hash(batch.sources[position]) < rate:
                    payload = batch.payloads[position]
                    assert payload is not None
                    logs.append(self._log(payload, {name: v[row : row + 1] for name, v in outputs.items()}, rate))
        return logs

    def _log(self, payload: bytes, outputs: Answers, rate: float) -> PredictionLog:
        log = PredictionLog()
        log.log_metadata.sampling_config.sampling_rate = rate
        request = log.predict_log.request
        value = tf.make_tensor_proto(to_input(self._kind, [payload]))
        request.inputs[INPUTS[self.signature]].CopyFrom(value)
        for spec in (request.model_spec, log.log_metadata.model_spec):
            spec.name, spec.signature_name = MODEL_NAME, self.signature
            if self._version.isascii() and self._version.isdecimal():
                spec.version.value = int(self._version)
        return with_answers(log, outputs)

    def _score(self, positions: list[int], payloads: list[bytes], errors: dict[int, str]) -> Scores:
        """Scores a batch; halves one that is too large or contains an image that the model rejects."""
        if not positions:
            return []
        problem = ""
        if len(positions) == 1 or sum(map(len, payloads)) <= BATCH_BYTES:
            try:
                outputs = self._call(payloads)
                # The graph takes a record with the pixels of two images for two images.
                if all(len(values) == len(positions) for values in outputs.values()):
                    return [(positions, outputs)]
                problem = f"The record has {len(outputs['group'])} images instead of one."
            except _BAD_INPUT as error:
                problem = _graph_message(error)
        if len(positions) == 1:
            errors[positions[0]] = problem
            return []
        half = len(positions) // 2
        left = self._score(positions[:half], payloads[:half], errors)
        return left + self._score(positions[half:], payloads[half:], errors)

    def _call(self, payloads: list[bytes]) -> Answers:
        try:
            tensors = self._function(**{INPUTS[self.signature]: to_input(self._kind, payloads)})
        except _BAD_INPUT:
            raise
        except tf.errors.OpError as error:
            raise BulkError(
                f"The signature {self.signature} of the model fails.", received=_graph_message(error)
            ) from None
        return {name: tensors[name].numpy() for name in OUTPUTS.names}


def _graph_message(error: BaseException) -> str:
    """Returns the message of a graph's error without the preceding lines, which name its node."""
    message = str(getattr(error, "message", "") or error)
    return short_message(ValueError(message.rpartition("<stack traces unavailable>\n")[2]))


@lru_cache(maxsize=1)
def _load(saved_model: str, digest: str) -> Any:
    try:
        return load(Path(saved_model))
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise BulkError(
            "The model cannot be loaded.", expected=f"a SavedModel in {saved_model}", received=short_message(error)
        ) from None


def _signature(model: Any, name: str) -> Any:
    if name not in model.signatures:
        received = ", ".join(sorted(model.signatures)) or "none"
        raise BulkError("The model cannot score this source.", expected=f"the signature {name}", received=received)
    function = model.signatures[name]
    inputs, outputs = set(function.structured_input_signature[1]), set(function.structured_outputs)
    if inputs != {INPUTS[name]} or set(OUTPUTS.names) - outputs:
        raise BulkError(
            f"The model's signature {name} has other inputs or outputs.",
            expected=f"{INPUTS[name]} -> {', '.join(OUTPUTS.names)}",
            received=f"{', '.join(sorted(inputs))} -> {', '.join(sorted(outputs))}",
        )
    return function


def _class_names(model: Any, function: Any) -> ClassNames | None:
    if "taxonomy" not in model.signatures:
        return None
    garments = tf.range(function.structured_outputs["garment_probabilities"].shape[1], dtype=tf.int64)
    outputs = model.signatures["taxonomy"](garment_index=garments)
    return ClassNames.from_outputs({name: values.numpy() for name, values in outputs.items()})


def _column(parts: list[Any], kind: pa.DataType) -> pa.Array:
    values = np.concatenate(parts)
    if pa.types.is_string(kind):
        return pa.array([text.decode() for text in values], kind)
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1), kind.value_type))


def _uniform_hash(source: str) -> float:
    """Returns a number in [0, 1) for a name: the same in every run, and uniform also for consecutive names."""
    return int.from_bytes(blake2b(source.encode(), digest_size=8).digest()) / 2**64
