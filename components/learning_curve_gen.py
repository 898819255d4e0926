"""LearningCurveGen: the error by number of training images, for three kinds of model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, LearningCurves
from pipeline.contract.component import Input, Output, component
from pipeline.contract.progress import Progress


@component
def learning_curve_gen(
    examples: Input[Examples],
    learning_curves: Output[LearningCurves],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    seed: int,
    repeats: Annotated[int, Field(ge=2, le=20, description="Random draws of the training images for each size.")] = 3,
) -> None:
    """Trains on growing numbers of images and measures the error on held-out images, with several draws each."""
    from analysis.exploration.data import read_data
    from analysis.exploration.learning_curves import curves

    table = curves(
        read_data(examples.split, taxonomy),
        repeats=repeats,
        seed=seed,
        report=lambda done, total, note: progress(done, total, "models", note),
    )
    table.to_csv(learning_curves.curves_file, index=False)
    learning_curves.properties["most_images"] = int(table["images"].max())
