"""Explorer: measures the data and writes the exploration as one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import (
    Examples,
    Exploration,
    ImageEmbedding,
    ImageNeighbours,
    LearningCurves,
    OutOfFoldPredictions,
)
from pipeline.contract.component import Input, Output, component
from pipeline.contract.files import write_json
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from analysis.exploration.report import ExplorationInputs


@component
def explorer(
    examples: Input[Examples],
    neighbours: Input[ImageNeighbours],
    predictions: Input[OutOfFoldPredictions],
    learning_curves: Input[LearningCurves],
    embedding: Input[ImageEmbedding],
    exploration: Output[Exploration],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    seed: int,
) -> None:
    """Measures the images, their garments and the grouping, and writes figures and findings on one page."""
    from analysis.exploration.report import build_sections, explore, main_findings, to_json
    from analysis.pages.page import write_page

    inputs = read_inputs(examples, neighbours, predictions, learning_curves, embedding, taxonomy)
    explored = explore(inputs, seed, lambda done, total, note: progress(done, total, "parts", note))
    findings = main_findings(explored, inputs.curves)
    sections = build_sections(inputs, explored)
    data = inputs.data
    subtitle = f"{len(data.train_rows):,} training and {len(data.test_rows):,} test images, {len(taxonomy.garments)} "
    subtitle += f"garments in {len(taxonomy.groups)} groups"
    page = write_page(sections, findings, subtitle)
    exploration.page_file.write_text(page, encoding="utf-8")
    write_json(exploration.findings_file, findings)
    write_json(exploration.sections_file, [to_json(section) for section in sections])
    exploration.properties["sections"] = len(sections)


def read_inputs(
    examples: Examples,
    neighbours: ImageNeighbours,
    predictions: OutOfFoldPredictions,
    learning_curves: LearningCurves,
    embedding: ImageEmbedding,
    taxonomy: Taxonomy,
) -> ExplorationInputs:
    """Reads the outputs of the earlier stages."""
    import numpy as np
    import pandas as pd

    from analysis.data.near_duplicates import Pairs
    from analysis.exploration.cross_validation import OutOfFold
    from analysis.exploration.data import read_data
    from analysis.exploration.embedding import Embedding
    from analysis.exploration.neighbours import Neighbours
    from analysis.exploration.report import ExplorationInputs

    trained = embedding.trained_file
    return ExplorationInputs(
        data=read_data(examples.split, taxonomy),
        neighbours=Neighbours.load(neighbours.path),
        pairs=Pairs.load(neighbours.path),
        out_of_fold=OutOfFold.load(predictions.path),
        curves=pd.read_csv(learning_curves.curves_file),
        embedding=Embedding.load(embedding.path),
        trained_groups=np.load(trained)["groups"] if trained.exists() else None,
    )
