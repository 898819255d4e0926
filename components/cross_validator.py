"""CrossValidator: out-of-fold predictions of small networks, for the audits of label errors and difficulty."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, OutOfFoldPredictions
from pipeline.contract.component import Input, Output, component
from pipeline.contract.progress import Progress


@component
def cross_validator(
    examples: Input[Examples],
    predictions: Output[OutOfFoldPredictions],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    seed: int,
    folds: Annotated[int, Field(ge=2, le=20, description="Folds; one network is trained without each.")] = 3,
    epochs: Annotated[int, Field(ge=1, le=100, description="Epochs of each network.")] = 4,
) -> None:
    """Trains a small network without each fold of the training images and writes its predictions."""
    from analysis.exploration.cross_validation import cross_validate
    from analysis.exploration.data import read_data

    data = read_data(examples.split, taxonomy)
    predicted = cross_validate(
        data,
        folds=folds,
        epochs=epochs,
        seed=seed,
        report=lambda done, total, note: progress(done, total, "epochs", note),
    )
    predicted.save(predictions.path)
    correct = predicted.logits[-1].argmax(axis=1) == data.garments[data.train_rows]
    predictions.properties["garment_accuracy"] = round(float(correct.mean()), 4)
