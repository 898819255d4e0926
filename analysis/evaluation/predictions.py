"""The predictions of an exported model for stored examples, as arrays and as an Arrow table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.taxonomy import Taxonomy
from pipeline.contract.errors import UserError

BATCH = 1000

OUTPUTS = ("group_probabilities", "garment_probabilities", "confidence", "abstain", "prediction_set")


class IncomparableModelError(UserError):
    """A model cannot be compared with another on the same examples; the headline says why, without naming the model."""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N examples, in the order of the examples.

    Attributes:
        group_probabilities: float32 [N, groups], calibrated.
        garment_probabilities: float32 [N, garments].
        confidence: float32 [N], the probability of the predicted group.
        abstain: bool [N], whether the prediction set does not hold exactly one group.
        prediction_set: bool [N, groups], conformal.
    """

    group_probabilities: npt.NDArray[np.float32]
    garment_probabilities: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    abstain: npt.NDArray[np.bool_]
    prediction_set: npt.NDArray[np.bool_]

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """The predicted group of each example, int64 [N]."""
        return self.group_probabilities.argmax(axis=1)

    @property
    def garment(self) -> npt.NDArray[np.int64]:
        """The predicted garment of each example, int64 [N]."""
        return self.garment_probabilities.argmax(axis=1)


def predict(
    saved_model: Path, shards: Sequence[Path], on_progress: Callable[[int], None] = lambda done: None
) -> Predictions:
    """Runs the signature `serving_examples` of a SavedModel on the records of gzipped TFRecord files.

    Args:
        saved_model: The export.
        shards: The files, in order.
        on_progress: Called with the number of examples done after every thousand.
    """
    return Predictions(**_run(saved_model, shards, OUTPUTS, on_progress))


def predict_as_baseline(saved_model: Path, shards: Sequence[Path], taxonomy: Taxonomy) -> Predictions:
    """Runs another model as `predict` does, if it predicts the classes of a taxonomy.

    Args:
        saved_model: The export.
        shards: The files, in order.
        taxonomy: The groups and garments that the examples have.

    Raises:
        IncomparableModelError: It cannot be run on these examples, or predicts other groups or garments.
    """
    import tensorflow as tf

    try:
        outputs = _run(saved_model, shards, (*OUTPUTS, "group", "garment"))
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise IncomparableModelError(
            f"cannot be run on the test examples ({type(error).__name__}: {reason})."
        ) from error
    for kind, names in (("group", taxonomy.groups), ("garment", taxonomy.garments)):
        probabilities, named = outputs[f"{kind}_probabilities"], outputs.pop(kind)
        predicted = {name.decode() for name in named.tolist()}
        if probabilities.shape[1] != len(names):
            raise IncomparableModelError(f"predicts {probabilities.shape[1]} {kind}s instead of {len(names)}.")
        if (np.array(names)[probabilities.argmax(axis=1)] != named.astype(str)).any():
            others = ", ".join(sorted(predicted - set(names))) or "the same names in another order"
            raise IncomparableModelError(f"predicts other {kind}s: {others}.")
    return Predictions(**outputs)


def _run(
    saved_model: Path,
    shards: Sequence[Path],
    names: Sequence[str],
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, npt.NDArray[Any]]:
    """Returns the outputs of those names for all records, [N, ...]."""
    import tensorflow as tf

    model = tf.saved_model.load(str(saved_model))
    signature = model.signatures["serving_examples"]
    parts: list[Mapping[str, Any]] = []
    records = tf.data.TFRecordDataset([str(shard) for shard in shards], compression_type="GZIP").batch(BATCH)
    for batch in records.prefetch(2):
        found = signature(examples=batch)
        parts.append({name: found[name].numpy() for name in names})
        on_progress(sum(len(part["confidence"]) for part in parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def prediction_table(examples: Mapping[str, Any], predictions: Predictions, taxonomy: Taxonomy) -> Any:
    """Returns an Arrow table, one row an example: its source and classes, the predictions, and the slicing features.

    Args:
        examples: Columns [N] by feature: source_id, garment_name, group_name, and the slicing features.
        predictions: For the same examples.
        taxonomy: For the names.
    """
    import pyarrow as pa

    columns = {
        "source_id": examples["source_id"],
        "garment": examples["garment_name"],
        "group": examples["group_name"],
        "predicted_group": np.array(taxonomy.groups)[predictions.group],
        "predicted_garment": np.array(taxonomy.garments)[predictions.garment],
        "confidence": predictions.confidence,
        "abstain": predictions.abstain,
        "prediction_set": [[taxonomy.groups[g] for g in np.flatnonzero(row)] for row in predictions.prediction_set],
    }
    for index, group in enumerate(taxonomy.groups):
        columns[f"probability: {group}"] = predictions.group_probabilities[:, index]
    included = ("source_id", "garment", "garment_name", "group", "group_name", "image")
    columns |= {name: values for name, values in examples.items() if name not in included}
    return pa.table({name: pa.array(values) for name, values in columns.items()})
