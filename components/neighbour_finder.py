"""NeighbourFinder: the nearest training images of every image, and all pairs of near-duplicates."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, ImageNeighbours
from pipeline.contract.component import Input, Output, component
from pipeline.contract.progress import Progress


@component
def neighbour_finder(
    examples: Input[Examples],
    neighbours: Output[ImageNeighbours],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    count: Annotated[int, Field(ge=1, le=100, description="Nearest training images of each image.")] = 10,
    near_duplicate_rmse: Annotated[
        float, Field(ge=0, le=0.1, description="Images within this RMSE are near-duplicates.")
    ] = 0.08,
) -> None:
    """Finds the nearest training images of every image, and all pairs of near-duplicates."""
    from analysis.data.near_duplicates import close_pairs
    from analysis.exploration.data import read_data, require_enough
    from analysis.exploration.neighbours import nearest

    data = read_data(examples.split, taxonomy)
    require_enough(data)
    progress(0, len(data), "images", "near-duplicates")
    pairs = close_pairs(data.images, near_duplicate_rmse)
    pairs.save(neighbours.path)
    nearest(data.pixels, len(data.train_rows), count, report=lambda done, total: progress(done, total, "images")).save(
        neighbours.path
    )
    neighbours.properties["near_duplicate_pairs"] = len(pairs.first)
