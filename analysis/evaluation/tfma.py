"""Slice metrics by TensorFlow Model Analysis over Beam, on the exported model as it will be served.

TFMA runs the `serving_examples` signature on the stored examples, so the evaluation includes the parsing and
the casting of the export. TFMA computes what it does exactly and cheaply: count, accuracy, log loss, confusion
matrix of every slice. The rest is computed from the stored predictions, because of TFMA 0.52, measured on 10,000
examples:

- its AUC sums over fixed thresholds: 0.9538 where the rank statistic is 0.9607, for scores crowded at 0 and 1;
- its binarized precision and recall cut each probability at 0.5, which is not the group that the model predicts;
- both together make 48 slices take several times as long, and its intervals minutes (`bootstrap`: a second).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BATCH_SIZE = 1000
"""Examples in a batch. Without a fixed size Beam adapts it to the seconds that a batch takes, and sums of float32
values in another order differ in the seventh digit from run to run."""

SIGNATURE = "serving_examples"
LABEL = "group"
PREDICTION = "group_probabilities"


@dataclass(frozen=True)
class SliceMetrics:
    """TFMA's figures of one slice; the confusion matrix is int64 [groups, groups], truth down."""

    count: int
    accuracy: float
    log_loss: float
    confusion: npt.NDArray[np.int64]


Slice = tuple[str, str]
"""A feature and its value; `OVERALL` stands for all examples."""

OVERALL: Slice = ("", "")


def evaluation_config(features: Sequence[str]) -> Any:
    """Returns TFMA's EvalConfig: overall, and one slice for every value of each feature."""
    from tensorflow_model_analysis.proto import config_pb2

    config = config_pb2.EvalConfig()
    config.model_specs.add(signature_name=SIGNATURE, label_key=LABEL, prediction_key=PREDICTION)
    config.slicing_specs.add()
    for feature in features:
        config.slicing_specs.add(feature_keys=[feature])
    metrics = config.metrics_specs.add().metrics
    # CategoricalCrossentropy on integer labels is silently wrong; the sparse one is right.
    for name in ("ExampleCount", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"):
        metrics.add(class_name=name)
    metrics.add(class_name="MultiClassConfusionMatrixPlot")
    return config


def analyse(pipeline: Any, saved_model: Path, shards: Sequence[Path], features: Sequence[str], output: Path) -> None:
    """Adds the evaluation of a SavedModel to a Beam pipeline, which writes TFMA's result files.

    Args:
        pipeline: The Beam pipeline; its owner runs it.
        saved_model: The export, with the signature `serving_examples`.
        shards: Gzipped TFRecords of tf.Example that hold the features and `group`.
        features: The features to slice by, one slice a value.
        output: A directory for TFMA's files, read by `read_slices`.
    """
    import tensorflow_model_analysis as tfma
    from tfx_bsl.public import tfxio

    config = evaluation_config(features)
    model = tfma.default_eval_shared_model(str(saved_model), eval_config=config)
    source = tfxio.TFExampleRecord([str(shard) for shard in shards], raw_record_column_name=tfma.ARROW_INPUT_COLUMN)
    evaluate = tfma.ExtractEvaluateAndWriteResults(eval_config=config, eval_shared_model=model, output_path=str(output))
    _ = pipeline | "Read" >> source.BeamSource(BATCH_SIZE) | "Analyse" >> evaluate


def read_slices(output: Path, groups: int) -> dict[Slice, SliceMetrics]:
    """Returns the figures that `analyse` wrote, overall first, then by feature and value."""
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(str(output))
    plots = {key: outputs[""][""] for key, outputs in result.plots}
    slices = {_slice(key): _metrics(outputs[""][""], plots[key], groups) for key, outputs in result.slicing_metrics}
    return dict(sorted(slices.items(), key=lambda item: _sort_key(item[0])))


def _slice(key: tuple[tuple[str, Any], ...]) -> Slice:
    return (key[0][0], str(key[0][1])) if key else OVERALL


def _sort_key(name: Slice) -> tuple[str, int, str]:
    """Sorts deciles by number, not by letter."""
    return name[0], int(name[1]) if name[1].isdigit() else -1, name[1]


def _metrics(metrics: dict[str, Any], plot: dict[str, Any], groups: int) -> SliceMetrics:
    confusion = np.zeros((groups, groups), np.int64)
    matrix = plot["multiClassConfusionMatrixAtThresholds"]["matrices"][0]
    for entry in matrix["entries"]:
        # Protocol buffers leave out what is 0: the first class has no id.
        confusion[entry.get("actualClassId", 0), entry.get("predictedClassId", 0)] = entry["numWeightedExamples"]
    values = {name: value["doubleValue"] for name, value in metrics.items()}
    return SliceMetrics(
        count=int(values["example_count"]),
        accuracy=float(values["sparse_categorical_accuracy"]),
        log_loss=float(values["sparse_categorical_crossentropy"]),
        confusion=confusion,
    )
