"""ExampleValidator: finds anomalies of the examples; errors stop the run, warnings are shown and recorded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.contract.artifacts import ExampleAnomalies, Examples, ExampleStatistics, Schema
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import UserError
from pipeline.contract.files import write_json

if TYPE_CHECKING:
    from analysis.data.anomalies import Anomaly
    from analysis.data.content_checks import Contents

logger = logging.getLogger(__name__)

CONTENT = ("image", "garment", "source_id")


@component
def example_validator(
    examples: Input[Examples],
    statistics: Input[ExampleStatistics],
    schema: Input[Schema],
    previous: Input[Examples] | None,
    anomalies: Output[ExampleAnomalies],
    *,
    source: str,
    garments: tuple[str, ...],
    on_anomaly: Annotated[
        Literal["stop", "warn"], Field(description="Whether an error in the examples stops the run or only warns.")
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
    max_black_images: Annotated[
        int, Field(ge=0, description="The most all-black images in a split, and of images of another single colour.")
    ] = 0,
) -> None:
    """Checks every split against the schema, the other splits, and the examples of the run before."""
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
        found += find_anomalies(dataset, expected, Bounds(class_share_bound, max_black_images))
        if split != "train" and "train" in described:
            found += find_skew(described["train"], dataset, expected)
    if not any(anomaly.prevents_reading for anomaly in found):
        found += _check_contents(examples, previous, source, garments, max_black_images)
    for split in described:
        target = anomalies.split_file(split)
        target.parent.mkdir(parents=True)
        here = [anomaly for anomaly in found if anomaly.split == split]
        target.write_bytes(to_proto(here, expected).SerializeToString(deterministic=True))
    _write_and_report(found, anomalies, on_anomaly)


def _check_contents(
    examples: Examples, previous: Examples | None, source: str, garments: tuple[str, ...], max_blank: int
) -> list[Anomaly]:
    """Returns the anomalies that only the images and labels themselves show."""
    from analysis.data.content_checks import find_blank_images, find_label_shift, find_leakage

    splits = {split: _read(examples, split, (*CONTENT, "near_duplicate_count")) for split in examples.splits()}
    found = [anomaly for split, contents in splits.items() for anomaly in find_blank_images(split, contents, max_blank)]
    found += find_leakage(splits)
    parts = {"train": splits["train"].join(splits["validation"]), "test": splits["test"]}
    if source == "fashion_mnist":
        # The official splits are two files. A catalogue's are cut from one, so they have the same labels.
        found += find_label_shift("train", parts["train"], parts["test"], garments, "the test split")
    if previous is not None:
        before = [_read(previous, split, CONTENT) for split in ("train", "validation", "test")]
        reference = before[0].join(before[1]).join(before[2])
        for part, contents in parts.items():
            found += find_label_shift(part, contents, reference, garments, "the examples of an earlier run")
    return found


def _read(examples: Examples, split: str, features: tuple[str, ...]) -> Contents:
    from analysis.data.content_checks import Contents
    from analysis.data.examples import read_arrays

    read = read_arrays(examples.split(split), features)
    return Contents(read["image"], read["garment"], read["source_id"], read.get("near_duplicate_count"))


def _write_and_report(found: list[Anomaly], anomalies: ExampleAnomalies, on_anomaly: str) -> None:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    info = anomalies_pb2.AnomalyInfo
    listed = [
        vars(a) | {"kind": info.Type.Name(a.kind), "severity": info.Severity.Name(a.severity).lower()} for a in found
    ]
    write_json(anomalies.anomalies_file, listed)
    errors = [anomaly for anomaly in found if anomaly.severity == info.ERROR]
    anomalies.properties["anomalies"] = len(errors)
    anomalies.properties["warnings"] = len(found) - len(errors)
    for anomaly in found:
        logger.warning("%s: %s", "Anomaly" if anomaly in errors else "Warning", anomaly)
    if errors and on_anomaly == "stop":
        raise UserError(
            f"The examples have {len(errors)} anomal{'y' if len(errors) == 1 else 'ies'}.",
            expected="examples that fit the schema and splits that resemble each other",
            received="".join(f"\n  - {anomaly}" for anomaly in errors),
            next_step="correct the data or components/schema.pbtxt, or --set example_validator.on_anomaly=warn",
        )
