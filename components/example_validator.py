"""Validation of the examples: what the schema forbids stops the run, or warns."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.contract.artifacts import ExampleAnomalies, ExampleStatistics, Schema
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import UserError
from pipeline.contract.files import write_json

if TYPE_CHECKING:
    from analysis.data.anomalies import Anomaly

logger = logging.getLogger(__name__)


@component
def example_validator(
    statistics: Input[ExampleStatistics],
    schema: Input[Schema],
    anomalies: Output[ExampleAnomalies],
    *,
    source: str,
    on_anomaly: Annotated[Literal["stop", "warn"], Field(description="What an anomaly does to the run.")] = "stop",
    class_share_bound: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="How far a garment's share may be from an equal share. Defaults to 0.02 for "
            "Fashion-MNIST, which has as many of each, and to any distance for a catalogue.",
        ),
    ] = None,
    black_images: Annotated[int, Field(ge=0, description="How many all-black images a split may have.")] = 0,
) -> None:
    """Checks every split against the schema and against the training split."""
    from analysis.data.anomalies import Bounds, find_anomalies, find_skew, to_proto
    from components.schema_gen import read_schema
    from components.statistics_gen import read_statistics, splits_of

    if class_share_bound is None:
        # A shop has more of some garments than of others, and nothing is wrong with that.
        class_share_bound = 0.02 if source == "fashion_mnist" else 1.0
    expected = read_schema(schema)
    described = {split: read_statistics(statistics, split) for split in splits_of(statistics)}
    found: list[Anomaly] = []
    for split, dataset in described.items():
        here = find_anomalies(dataset, expected, Bounds(class_share_bound, black_images))
        if split != "train" and "train" in described:
            here += find_skew(described["train"], dataset, expected)
        target = anomalies.split_file(split)
        target.parent.mkdir(parents=True)
        target.write_bytes(to_proto(here, expected).SerializeToString(deterministic=True))
        found += here
    _conclude(found, anomalies, on_anomaly)


def _conclude(found: list[Anomaly], anomalies: ExampleAnomalies, on_anomaly: str) -> None:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    kind = anomalies_pb2.AnomalyInfo.Type.Name
    write_json(anomalies.anomalies_file, [vars(anomaly) | {"kind": kind(anomaly.kind)} for anomaly in found])
    anomalies.properties["anomalies"] = len(found)
    for anomaly in found:
        logger.warning("Anomaly: %s", anomaly)
    if found and on_anomaly == "stop":
        raise UserError(
            f"The examples have {len(found)} anomal{'y' if len(found) == 1 else 'ies'}.",
            expected="examples that fit the schema and splits that resemble each other",
            received="".join(f"\n  - {anomaly}" for anomaly in found),
            next_step="correct the data or components/schema.pbtxt, or go on: --set example_validator.on_anomaly=warn",
        )
