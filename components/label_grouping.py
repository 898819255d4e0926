"""LabelGrouping: adds the group of each garment and the features that the evaluation slices by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import ExampleAnomalies, Examples, Schema
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import UserError
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    import numpy as np


GROUP_FEATURES = ("group", "group_name", "garment_name", "has_near_duplicate")
"""The features that this stage adds, besides those of `analysis.data.slicing_features`."""


class Measured(NamedTuple):
    """A file of examples, and the slicing features of its images by name."""

    split: str
    path: str
    values: dict[str, np.ndarray]


@component
def label_grouping(
    examples: Input[Examples],
    schema: Input[Schema],
    anomalies: Input[ExampleAnomalies],
    grouped: Output[Examples],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
) -> None:
    """Adds the group and the slicing features to every example."""
    from components.schema_gen import read_schema

    # Only its existence matters: examples that failed validation never reach this stage.
    del anomalies
    shards = [(split, str(path)) for split in examples.splits() for path in examples.split(split)]
    progress(0, len(shards), "files")
    features = [feature.name for feature in read_schema(schema).feature]
    _run_beam(shards, features, str(grouped.path), taxonomy.to_table())
    progress(len(shards), len(shards), "files")
    grouped.properties.update({s: examples.properties[s] for s in examples.splits() if s in examples.properties})
    grouped.properties["groups"] = len(taxonomy.groups)
    grouped.properties["files"] = len(shards)


def _run_beam(shards: list[tuple[str, str]], features: list[str], target: str, taxonomy: dict[str, Any]) -> None:
    import apache_beam as beam

    from pipeline.contract.beam import beam_pipeline

    with beam_pipeline() as pipeline:
        # A file an element: single images would spend the time on Beam's bookkeeping, at 10,000 a second.
        measured = pipeline | "Shards" >> beam.Create(shards) | "Measure" >> beam.Map(_measure)
        edges = (
            measured
            | "Training files" >> beam.Filter(_is_training)
            | "Together" >> beam.combiners.ToList()
            | "Quantile edges" >> beam.Map(_quantile_edges)
        )
        _ = measured | "Write" >> beam.Map(_write, beam.pvalue.AsSingleton(edges), features, target, taxonomy)


def _measure(shard: tuple[str, str]) -> Measured:
    from analysis.data.examples import read_arrays
    from analysis.data.slicing_features import FEATURES

    images = read_arrays([Path(shard[1])], ["image"])["image"]
    return Measured(*shard, {feature.column: feature.measure(images) for feature in FEATURES})


def _is_training(measured: Measured) -> bool:
    return measured.split == "train"


def _quantile_edges(training: list[Measured]) -> dict[str, np.ndarray]:
    """Returns the bins' edges by feature, from the training images only: other splits must not influence them."""
    import numpy as np

    from analysis.data.slicing_features import FEATURES, quantile_edges

    return {
        feature.column: quantile_edges(np.concatenate([m.values[feature.column] for m in training]), feature.bins)
        for feature in FEATURES
    }


def _write(
    measured: Measured, edges: dict[str, np.ndarray], features: list[str], target: str, table: dict[str, Any]
) -> None:
    """Reads a file again and writes it with the new features: passing its pixels between workers would cost more."""
    from analysis.data.examples import read_columns, write_shard
    from analysis.data.slicing_features import assign_bins

    source = Path(measured.path)
    columns: dict[str, Any] = dict(read_columns([source], features))
    columns |= _group_columns(columns["garment"], Taxonomy.from_table(table), source)
    columns |= {name: assign_bins(values, edges[name]) for name, values in measured.values.items()}
    columns["has_near_duplicate"] = [
        "yes" if near_duplicate_count > 0 else "no" for near_duplicate_count in columns["near_duplicate_count"]
    ]
    destination = Path(target) / f"Split-{measured.split}" / source.name
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_shard(destination, columns)


def _group_columns(garments: np.ndarray, taxonomy: Taxonomy, source: Path) -> dict[str, Any]:
    """Returns the columns that follow from the garment; raises UserError for a garment outside the taxonomy."""
    import numpy as np

    unknown = np.unique(garments[(garments < 0) | (garments >= len(taxonomy.garments))])
    if len(unknown):
        raise UserError(
            "The examples contain garments that the taxonomy does not define.",
            expected=f"garments 0 to {len(taxonomy.garments) - 1}",
            received=f"{', '.join(map(str, unknown))} in {source}",
            next_step="set a taxonomy with these garments, or correct the data: fashion run --from example_gen",
        )
    groups = np.array(taxonomy.group_of, np.int64)[garments]
    return {
        "group": groups,
        "group_name": [taxonomy.groups[group] for group in groups],
        "garment_name": [taxonomy.garments[garment] for garment in garments],
    }
