"""StatisticsGen: statistics of every split, computed with Beam, in tensorflow-metadata's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contract.artifacts import Examples, ExampleStatistics
from pipeline.contract.component import Input, Output, component
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from analysis.data.statistics import Summary


@component
def statistics_gen(examples: Input[Examples], statistics: Output[ExampleStatistics], progress: Progress) -> None:
    """Computes counts, ranges and distributions of every feature for each split."""
    import apache_beam as beam

    from pipeline.contract.beam import beam_pipeline

    shards = [(split, str(shard)) for split in examples.splits() for shard in examples.split(split)]
    progress(0, len(shards), "files")
    with beam_pipeline() as pipeline:
        (
            pipeline
            | "Shards" >> beam.Create(shards)
            # A whole file an element: single images would spend Beam's time on the elements.
            | "Summarise" >> beam.MapTuple(_summarise_shard)
            | "Merge" >> beam.CombinePerKey(_merge)
            | "Write" >> beam.Map(_write, str(statistics.path))
        )
    for split in examples.splits():
        statistics.properties[split] = read_statistics(statistics, split).num_examples
    progress(len(shards), len(shards), "files")


def splits_of(statistics: ExampleStatistics) -> list[str]:
    """Returns the names of the splits that have statistics, sorted."""
    return sorted(path.name.removeprefix("Split-") for path in statistics.path.glob("Split-*"))


def read_statistics(statistics: ExampleStatistics, split: str) -> statistics_pb2.DatasetFeatureStatistics:
    """Returns the statistics of a split."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    content = statistics.split_file(split).read_bytes()
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets[0]


def _summarise_shard(split: str, shard: str) -> tuple[str, Summary]:
    from analysis.data.examples import read_record_batches
    from analysis.data.statistics import Summary

    summary = Summary()
    for batch in read_record_batches(Path(shard)):
        summary.add(batch)
    return split, summary


def _merge(summaries: list[Summary]) -> Summary:
    from analysis.data.statistics import Summary

    merged = Summary()
    for summary in summaries:
        merged.merge(summary)
    return merged


def _write(summarised: tuple[str, Summary], directory: str) -> None:
    from analysis.data.statistics import to_statistics

    split, summary = summarised
    target = ExampleStatistics(Path(directory)).split_file(split)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(to_statistics(split, summary).SerializeToString(deterministic=True))
