"""SchemaGen: the schema for validating examples, curated or inferred from their statistics."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.contract.artifacts import ExampleStatistics, Schema
from pipeline.contract.component import ExternalPath, Input, Output, component
from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

CURATED = Path(__file__).with_name("schema.pbtxt")

logger = logging.getLogger(__name__)


def _check_curated(curated: Path, use_curated: bool) -> None:
    if use_curated and curated != CURATED:
        read_curated(curated)


@component(checks=(_check_curated,))
def schema_gen(
    statistics: Input[ExampleStatistics],
    schema: Output[Schema],
    *,
    curated: Annotated[ExternalPath, Field(description="The curated schema, in protobuf's text format.")] = CURATED,
    use_curated: Annotated[
        bool, Field(description="Whether to use the curated schema; false infers one from the statistics.")
    ] = True,
) -> None:
    """Provides the schema and records where the data disagree with the curated one."""
    from google.protobuf import text_format

    from analysis.data.schema_inference import disagreements, infer_schema
    from components.statistics_gen import read_statistics, splits_of

    inferred = infer_schema([read_statistics(statistics, split) for split in splits_of(statistics)])
    chosen = _without_absent(read_curated(curated), inferred) if use_curated else inferred
    found = disagreements(inferred, chosen)
    for difference in found:
        logger.warning("The data and the curated schema disagree: %s", difference)
    schema.schema_file.write_text(text_format.MessageToString(chosen), encoding="utf-8")
    (schema.path / "inferred.pbtxt").write_text(text_format.MessageToString(inferred), encoding="utf-8")
    schema.write_json("disagreements.json", found)
    schema.properties["source"] = "curated" if use_curated else "inferred"
    schema.properties["features"] = len(chosen.feature)
    schema.properties["disagreements"] = len(found)


def _without_absent(curated: schema_pb2.Schema, inferred: schema_pb2.Schema) -> schema_pb2.Schema:
    """Removes the optional features that the data do not have."""
    present = {feature.name for feature in inferred.feature}
    absent = [f for f in curated.feature if f.name not in present and not f.presence.min_count]
    for feature in absent:
        curated.feature.remove(feature)
    return curated


def read_schema(schema: Schema) -> schema_pb2.Schema:
    """Returns the schema that SchemaGen chose."""
    return read_curated(schema.schema_file)


def read_curated(path: Path) -> schema_pb2.Schema:
    """Returns the schema in a file; raises UserError when it cannot be read."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(path.read_text(encoding="utf-8-sig"), schema_pb2.Schema())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise UserError(
            f"The schema {path} cannot be read.",
            expected="tensorflow_metadata.proto.v0.Schema in protobuf's text format",
            received=str(error),
            next_step="correct the file, or set [schema_gen] use_curated = false to infer a schema from the data",
        ) from None
