"""ExampleValidator: finds anomalies of the examples against the schema; they stop the run or give warnings."""

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
    on_anomaly: Annotated[
        Literal["stop", "warn"], Field(description="Whether an anomaly stops the run or gives a warning.")
    ] = "stop",
    class_share_bound: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="The largest difference of a garment's share from an equal share. Defaults to 0.02 for "
            "Fashion-MNIST, which is balanced, and to no limit for a catalogue.",
        ),
    ] = None,
    max_black_images: Annotated[int, Field(ge=0, description="The most all-black images in a split.")] = 0,
) -> None:
    """Checks every split against the schema and against the training split."""
    from analysis.data.anomalies import Bounds, find_anomalies, find_skew, to_proto
    from components.schema_gen import read_schema
    from components.statistics_gen import read_statistics, splits_of

    if class_share_bound is None:
        # A shop has more of some garments than of others.
        class_share_bound = 0.02 if source == "fashion_mnist" else 1.0
    expected = read_schema(schema)
    described = {split: read_statistics(statistics, split) for split in splits_of(statistics)}
    found: list[Anomaly] = []
    for split, dataset in described.items():
        here = find_anomalies(dataset, expected, Bounds(class_share_bound, max_black_images))
        if split != "train" and "train" in described:
            here += find_skew(described["train"], dataset, expected)
        target = anomalies.split_file(split)
        target.parent.mkdir(parents=True)
        target.write_bytes(to_proto(here, expected).SerializeToString(deterministic=True))
        found += here
    _write_and_report(found, anomalies, on_anomaly)


def _write_and_report(found: list[Anomaly], anomalies: ExampleAnomalies, on_anomaly: str) -> None:
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
            next_step="correct the data or components/schema.pbtxt, or --set example_validator.on_anomaly=warn",
        )
