"""What small networks say of images that they were not trained on: for the audits of garments and of difficulty."""

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
    folds: Annotated[int, Field(ge=2, le=20, description="Networks, each trained without one part.")] = 3,
    epochs: Annotated[int, Field(ge=1, le=100, description="Passes of each network over its images.")] = 4,
) -> None:
    """Trains a small network on all but one part of the training images, for each part, and keeps its answers."""
    from analysis.exploration.cross_validation import cross_validate
    from analysis.exploration.data import read_data

    data = read_data(examples.split, taxonomy)
    answers = cross_validate(
        data,
        folds=folds,
        epochs=epochs,
        seed=seed,
        report=lambda done, total, note: progress(done, total, "epochs", note),
    )
    answers.save(predictions.path)
    right = answers.logits[-1].argmax(axis=1) == data.garments[data.train_rows]
    predictions.properties["garment_accuracy"] = round(float(right.mean()), 4)
