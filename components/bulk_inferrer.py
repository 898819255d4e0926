"""BulkInferrer: predictions of the pushed model for one split, as the reference for served traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.contract.artifacts import Examples, InferenceResult, Model, PushedModel
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import suggest
from pipeline.contract.files import write_json
from pipeline.contract.progress import Progress


@component
def bulk_inferrer(
    examples: Input[Examples],
    model: Input[Model],
    pushed: Input[PushedModel],
    inference: Output[InferenceResult],
    progress: Progress,
    *,
    split: Annotated[
        Literal["train", "validation"],
        Field(description="The split to score; not test, which only the Evaluator reads."),
    ] = "validation",
    batch_size: Annotated[int, Field(ge=1, le=10_000, description="Images in one call of the model.")] = 256,
    shard_size: Annotated[int, Field(ge=1, description="Approximate number of images in a file of the result.")] = 5000,
    log_rate: Annotated[
        float, Field(ge=0, le=1, description="The share of images whose request and response are logged.")
    ] = 0.01,
) -> None:
    """Scores a split with the pushed model and writes predictions and logged requests."""
    shards = examples.split(split)
    record = pushed.record()
    if not record["pushed"]:
        # A model that was not pushed has no traffic to compare with.
        _record(inference, {"scored": False, "reason": record["reason"], "version": None, "split": split})
        return
    from serving.bulk.inference import score

    with suggest("fashion run --from trainer"):
        summary = score(
            str(shards[0].parent),
            # The bytes that were pushed, from the artifact that the run has checked: the version's own directory is
            # the server's, and a later push may remove it.
            model.saved_model,
            inference.path,
            batch_size=batch_size,
            shard_size=shard_size,
            log_rate=log_rate,
            model_version=str(record["version"]),
            report=lambda done, total: progress(done, total, "images"),
        )
    _record(inference, {"scored": True, "reason": "", "version": record["version"], "split": split})
    inference.properties["images"] = summary.images
    inference.properties["failed"] = summary.failed
    inference.properties["abstained"] = summary.abstained
    inference.properties["images_per_second"] = summary.images_per_second


def _record(inference: InferenceResult, content: dict[str, object]) -> None:
    write_json(inference.record_file, content)
    inference.properties["scored"] = bool(content["scored"])
    if content["reason"]:
        inference.properties["reason"] = str(content["reason"])
