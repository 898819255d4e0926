"""Statistics, schema and anomalies of synthetic examples, for the tests of these three stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.examples import write_shards
from components.example_validator import example_validator
from components.schema_gen import schema_gen
from components.statistics_gen import statistics_gen
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import ExampleAnomalies, Examples, ExampleStatistics, Schema
from pipeline.contract.progress import silent
from tests.synthetic import base_columns, images_and_garments

Splits = dict[str, dict[str, Any]]


def valid_splits() -> Splits:
    """Returns the columns of three valid splits with 400, 100 and 200 examples."""
    counts = {"train": 400, "validation": 100, "test": 200}
    return {
        name: base_columns(*images_and_garments(count, index), name, "test" if name == "test" else "train")
        for index, (name, count) in enumerate(counts.items())
    }


def write_splits(directory: Path, splits: Splits) -> Examples:
    """Writes columns as an Examples artifact with several files for each split."""
    for name, columns in splits.items():
        write_shards(directory / f"Split-{name}", columns, shard_size=150)
    return Examples(directory)


def select_rows(columns: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Returns the columns with the rows that the bool array marks."""
    return {
        name: [v for v, selected in zip(values, rows, strict=True) if selected] for name, values in columns.items()
    } | {"image": columns["image"][rows]}


def describe(directory: Path, examples: Examples) -> ExampleStatistics:
    """Runs StatisticsGen."""
    directory.mkdir()
    statistics = ExampleStatistics(directory)
    statistics_gen.run(examples=examples, statistics=statistics, progress=silent)
    return statistics


def choose_schema(directory: Path, statistics: ExampleStatistics, **parameters: Any) -> Schema:
    """Runs SchemaGen."""
    directory.mkdir()
    schema = Schema(directory)
    schema_gen.run(statistics=statistics, schema=schema, **parameters)
    return schema


def validate(directory: Path, splits: Splits, previous: Examples | None = None, **parameters: Any) -> ExampleAnomalies:
    """Writes the splits and runs the three stages up to ExampleValidator."""
    examples = write_splits(directory / "examples", splits)
    statistics = describe(directory / "statistics", examples)
    schema = choose_schema(directory / "schema", statistics)
    anomalies = ExampleAnomalies(directory / "anomalies")
    anomalies.path.mkdir()
    settings = {"source": "fashion_mnist", "garments": Taxonomy.load().garments} | parameters
    example_validator.run(
        examples=examples, statistics=statistics, schema=schema, previous=previous, anomalies=anomalies, **settings
    )
    return anomalies
