"""Bulk inference over Beam: scores TFRecord, image or Parquet files with an exported model into Parquet shards.

A killed run that is started again continues with the unfinished shards.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from pipeline.contract.beam import beam_pipeline
from pipeline.contract.files import write_json
from serving.bulk.scorer import Scorer
from serving.bulk.shards import SUMMARY, Counts, Shard, describe_files, open_result
from serving.bulk.sources import BulkError, Unit, cut_into_units, find_files, read_batches
from serving.versions import digest

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """The summary of a bulk inference over all shards; also in `summary.json`.

    Attributes:
        images: The number of rows.
        failed: The number of rows with an error and no prediction.
        groups: The number of predictions of each group.
        abstained: The number of images for which the model abstains.
        shards: The number of shards.
        reused: The number of images that an earlier, interrupted run scored.
        seconds: The duration of this run, from the loaded model to the last shard.
        images_per_second: The images that this run scored in a second; 0 if none were left to score.
        model_version: The version of the model in the rows.
        signature: The signature of the model.
        group_names: The groups in the order of `group_probabilities` and `prediction_set`; none for a model that does
            not name them.
        garment_names: The garments in the order of `garment_probabilities`; likewise.
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
    group_names: list[str]
    garment_names: list[str]


@dataclass(frozen=True)
class _Job:
    """The parameters that all shards share."""

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
    """Scores the files that match a pattern, and writes shards of rows and of logged requests.

    Args:
        pattern: A file, a directory with everything below it, or a glob: TFRecords of tf.Example, gzipped or not; image
            files; or Parquet with a binary column `image_bytes` (image files) or `image` (784 pixels).
        saved_model: The directory of the SavedModel.
        output: The directory of the result, which is created if it does not exist. `serving.bulk.shards` describes the
            columns.
        batch_size: The number of images in a call of the model. Defaults to 256.
        shard_size: The approximate number of images in a shard; a killed run loses at most these. Shards are larger for
            Parquet files with larger row groups and for TFRecord files with more than 16 times as many images.
        log_rate: The share of images whose request and answer are logged; every run logs the same ones.
        model_version: The version of the model in the rows. Defaults to the number of a pushed version, or else the
            first 12 digits of the digest.
        start_over: Whether to remove another result from `output`. Defaults to False.
        report: Called with the number of scored images and the total.

    Raises:
        BulkError: There is nothing to score, the model or a file cannot be used, or `output` contains something else.
    """
    if min(batch_size, shard_size) < 1 or not 0 <= log_rate <= 1:
        raise BulkError(
            "A parameter is out of range.",
            expected="sizes of at least 1, a log rate from 0 to 1",
            received=f"batches of {batch_size}, shards of {shard_size}, log rate {log_rate}",
        )
    if not (saved_model / "saved_model.pb").is_file():
        raise BulkError("There is no model.", expected=f"{saved_model}/saved_model.pb", received="no such file")
    files = find_files(pattern, output)
    units = cut_into_units(files, shard_size)
    total, fingerprint = sum(u.images for u in units), digest(saved_model)
    version = model_version or (saved_model.name if saved_model.name.isdecimal() else fingerprint[:12])
    job = _Job(str(saved_model), fingerprint, version, str(output), batch_size, log_rate)
    parameters = {"batch_size": batch_size, "shard_size": shard_size, "log_rate": log_rate}
    key = {"model": fingerprint, "model_version": version, **parameters, "input": describe_files(files)}
    # Before anything is written: a model without the signature cannot score any image.
    scorer = Scorer(job.saved_model, job.digest, version, units[0].kind)
    with open_result(output, key, start_over):
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
            signature=scorer.signature,
            group_names=[*scorer.names.groups] if scorer.names else [],
            garment_names=[*scorer.names.garments] if scorer.names else [],
        )
        write_json(output / SUMMARY, asdict(summary))
    return summary


def _run(waiting: list[tuple[Shard, Unit]], job: _Job, done: Callable[[int], None]) -> None:
    if not waiting:
        return
    _PROGRESS[job.output] = done
    try:
        with beam_pipeline() as pipeline:
            # One element a shard, since Beam's overhead for each element is large.
            _ = pipeline | "Shards" >> beam.Create(waiting) | "Score" >> beam.ParDo(_ScoreShard(job))
    finally:
        del _PROGRESS[job.output]


_PROGRESS: dict[str, Callable[[int], None]] = {}
"""The progress callback of each output directory. Not part of the job, because Beam copies what it is given."""


class _ScoreShard(beam.DoFn):
    """Scores units into shards."""

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
        for batch in read_batches(unit, job.batch_size):
            scores = scorer.score(batch)
            yield scorer.table(batch, scores), scorer.sample(batch, scores, job.log_rate)
            self.images += len(batch.sources)
            if job.output in _PROGRESS:
                _PROGRESS[job.output](self.images)
        if (scored := self.images - before) != unit.images:
            raise BulkError(
                f"{unit.files[0]} changed during the run.", expected=f"{unit.images} images", received=str(scored)
            )
