"""The predictions of an exported model for stored examples, as arrays and as an Arrow table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.taxonomy import Taxonomy

BATCH = 1000


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
    import tensorflow as tf

    model = tf.saved_model.load(str(saved_model))
    signature = model.signatures["serving_examples"]
    parts: list[Mapping[str, Any]] = []
    records = tf.data.TFRecordDataset([str(shard) for shard in shards], compression_type="GZIP").batch(BATCH)
    for batch in records.prefetch(2):
        parts.append({name: values.numpy() for name, values in signature(examples=batch).items()})
        on_progress(sum(len(part["confidence"]) for part in parts))
    names = ("group_probabilities", "garment_probabilities", "confidence", "abstain", "prediction_set")
    return Predictions(**{name: np.concatenate([part[name] for part in parts]) for name in names})


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
