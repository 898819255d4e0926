"""Scores any number of images with an exported model, over Beam: TFRecords, image files or Parquet in, Parquet out.

A run that was killed and is started again goes on with the shards that are not finished.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.bulk.answers import Scorer
from serving.bulk.batches import read
from serving.bulk.sink import SUMMARY, Counts, Shard, describe_files, opened, write_json
from serving.bulk.sources import BulkError, Unit, cut, find
from serving.versions import digest

__all__ = ["BulkError", "Summary", "score"]

RUNNER = "FnApiRunner"
"""By name: plain DirectRunner first tries to download Prism from the internet, with no timeout."""

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What came of a bulk scoring, all shards together; also in `summary.json`.

    Attributes:
        images: How many rows there are.
        failed: How many of them hold an error and no answer.
        groups: How many images each group was answered to.
        abstained: To how many the model abstains.
        shards: Of how many files the result is made.
        reused: How many images an earlier, interrupted run had scored.
        seconds: How long this run took, from the loaded model to the last shard.
        images_per_second: How many of its own images it scored a second; 0 when there was none to score.
        model_version: What the rows call the model.
        signature: Which signature answered.
    """

    images: int
    failed: int
    groups: dict[str, int]
    abstained: int
    shards: int
    reused: int
    seconds: float
    images_per_second: float
    model_version: str
    signature: str


@dataclass(frozen=True)
class _Job:
    """What every shard is scored with."""

    saved_model: str
    digest: str
    version: str
    output: str
    batch_size: int
    log_rate: float


def score(
    pattern: str,
    saved_model: Path,
    output: Path,
    *,
    batch_size: int = 256,
    shard_size: int = 5000,
    log_rate: float = 0.01,
    model_version: str | None = None,
    start_over: bool = False,
    report: Report = lambda done, total: None,
) -> Summary:
    """Scores what a pattern means, and writes a shard of rows and a log of requests for every part of it.

    Args:
        pattern: A file, a directory (what is in and below it) or a glob: TFRecords of tf.Example, gzipped or not; image
            files; or Parquet with a binary column `image_bytes` (image files) or `image` (784 pixels).
        saved_model: The directory of the SavedModel.
        output: The directory of the result; made when missing. `bulk_sink` says what the rows are.
        batch_size: How many images the model gets at once.
        shard_size: About how many images a shard is made of; what a killed run loses at most. Larger are those of
            Parquet files with larger row groups and of TFRecord files with more than 16 times as many.
        log_rate: The share of images whose request and answer are logged; the same ones every time.
        model_version: What the rows call the model. Defaults to the number of a pushed version, or else the first 12
            digits of the digest.
        start_over: Whether to remove what another scoring left in `output`. Defaults to False.
        report: Called with the images done and the images in all.

    Raises:
        BulkError: There is nothing to score, the model or a file cannot be used, or `output` holds something else.
    """
    if min(batch_size, shard_size) < 1 or not 0 <= log_rate <= 1:
        raise BulkError(
            "A parameter is impossible. Expected: sizes of at least 1, a log rate from 0 to 1. "
            f"Received: batches of {batch_size}, shards of {shard_size}, log rate {log_rate}"
        )
    if not (saved_model / "saved_model.pb").is_file():
        raise BulkError(f"There is no model. Expected: {saved_model}/saved_model.pb. Received: no such file")
    files = find(pattern, output)
    units = cut(files, shard_size)
    total, fingerprint = sum(u.images for u in units), digest(saved_model)
    version = model_version or (saved_model.name if saved_model.name.isdecimal() else fingerprint[:12])
    job = _Job(str(saved_model), fingerprint, version, str(output), batch_size, log_rate)
    parameters = {"batch_size": batch_size, "shard_size": shard_size, "log_rate": log_rate}
    named = {"model": fingerprint, "model_version": version, **parameters, "input": describe_files(files)}
    # Before anything is written: a model without the signature has nothing to say to any image.
    signature = Scorer(job.saved_model, job.digest, version, units[0].kind).signature
    with opened(output, named, start_over):
        shards = [Shard(output, index, len(units)) for index in range(len(units))]
        waiting = [(shard, unit) for shard, unit in zip(shards, units, strict=True) if not shard.path.exists()]
        reused = total - sum(unit.images for _, unit in waiting)
        report(reused, total)
        start = time.perf_counter()
        _run(waiting, job, lambda done: report(reused + done, total))
        seconds = time.perf_counter() - start
        counts = sum((shard.counts() for shard in shards), Counts(0, 0, Counter(), 0))
        summary = Summary(
            images=counts.images,
            failed=counts.failed,
            groups=dict(sorted(counts.groups.items())),
            abstained=counts.abstained,
            shards=len(shards),
            reused=reused,
            seconds=round(seconds, 3),
            images_per_second=round((total - reused) / seconds, 1) if waiting else 0.0,
            model_version=version,
            signature=signature,
        )
        write_json(output / SUMMARY, asdict(summary))
    return summary


def _run(waiting: list[tuple[Shard, Unit]], job: _Job, done: Callable[[int], None]) -> None:
    if not waiting:
        return
    _LISTENERS[job.output] = done
    try:
        # Without flags of its own Beam would parse those of the command line.
        with beam.Pipeline(runner=RUNNER, options=PipelineOptions([])) as pipeline:
            # A shard an element: single images would spend Beam's time on the elements.
            _ = pipeline | "Shards" >> beam.Create(waiting) | "Score" >> beam.ParDo(_ScoreShard(job))
    except Exception as error:
        if (original := _original(error)) is not None:
            raise original from None
        raise
    finally:
        del _LISTENERS[job.output]


_LISTENERS: dict[str, Callable[[int], None]] = {}
"""Who wants to know how far the scoring into a directory is: Beam copies what it is given, so not a part of the job."""


class _ScoreShard(beam.DoFn):
    """Makes a shard of the result of each unit."""

    def __init__(self, job: _Job) -> None:
        super().__init__()
        self.job = job
        self.images = 0

    def process(self, element: tuple[Shard, Unit]) -> None:
        """Scores one unit and writes its shard."""
        shard, unit = element
        shard.write(self._score(unit))

    def _score(self, unit: Unit) -> Iterator[tuple[pa.Table, list[PredictionLog]]]:
        before, job = self.images, self.job
        scorer = Scorer(job.saved_model, job.digest, job.version, unit.kind)
        for batch in read(unit, job.batch_size):
            answered = scorer.ask(batch)
            yield scorer.table(batch, answered), scorer.sample(batch, answered, job.log_rate)
            self.images += len(batch.sources)
            if job.output in _LISTENERS:
                _LISTENERS[job.output](self.images)
        if (found := self.images - before) != unit.images:
            raise BulkError(f"{unit.files[0]} has changed. Expected: {unit.images} images. Received: {found}")


def _original(error: BaseException | None) -> BulkError | None:
    """Returns the innermost BulkError of the chain: Beam wraps it into texts of its own."""
    found = None
    while error is not None:
        found = error if isinstance(error, BulkError) else found
        error = error.__cause__ or error.__context__
    return found
