"""Tests that REST, gRPC, this process and TFMA give the same answers for a thousand images and one model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from analysis.data.examples import write_shards
from analysis.data.fashion_mnist import load, locate
from analysis.evaluation.tfma import OVERALL, Slice, SliceMetrics, analyse, evaluation_config, read_slices
from models.taxonomy import Taxonomy
from pipeline.contract.beam import beam_pipeline
from serving.client import Client
from serving.client.predictions import Prediction
from serving.engines.engine import BATCHING, Embedded, Flags, free_port
from serving.requests import prediction_log as requests
from serving.versions import push
from tests.serving.exports import export_small
from tests.synthetic import base_columns, grouped_columns, images_and_garments

COUNT = 1000
TAXONOMY = Taxonomy.load()
TOLERANCE = 5e-5
"""The last digits differ with the size of the batch: by 2e-6 on a quiet machine, by 2.1e-5 once on a busy one."""


class Answers(NamedTuple):
    """The outputs for all images by one way, in their order."""

    group: np.ndarray
    group_probabilities: np.ndarray
    garment: np.ndarray
    garment_probabilities: np.ndarray
    confidence: np.ndarray
    prediction_set: np.ndarray
    abstain: np.ndarray


class AllAnswers(NamedTuple):
    """The true groups of the images, the answers of every way, and TFMA's figures."""

    truth: np.ndarray
    answers: dict[str, Answers]
    slices: dict[Slice, SliceMetrics]


def test_all_four_ways_agree(collected: AllAnswers) -> None:
    """Every output of every image is the same: names and booleans exactly, numbers within the tolerance."""
    expected = collected.answers["in process"]
    assert set(collected.answers) == {"in process", "REST", "gRPC", "TFMA"}
    assert set(expected.group) == set(TAXONOMY.groups) and 0 < expected.abstain.sum() < COUNT
    for way, answers in collected.answers.items():
        for name, values in answers._asdict().items():
            wanted = getattr(expected, name)
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(values, wanted, rtol=0, atol=TOLERANCE, err_msg=f"{name}, {way}")
            else:
                np.testing.assert_array_equal(values, wanted, err_msg=f"{name}, {way}")


def test_tfma_counts_what_the_server_answers(collected: AllAnswers) -> None:
    """TFMA's count, accuracy and confusion matrix, overall and by group, are those of the answers by REST and gRPC."""
    assert set(collected.slices) == {OVERALL, *(("group_name", name) for name in TAXONOMY.groups)}
    for way in ("REST", "gRPC"):
        predicted = np.array([TAXONOMY.groups.index(name) for name in collected.answers[way].group])
        for (_, name), metrics in collected.slices.items():
            chosen = collected.truth == TAXONOMY.groups.index(name) if name else np.ones(COUNT, bool)
            confusion = np.zeros_like(metrics.confusion)
            np.add.at(confusion, (collected.truth[chosen], predicted[chosen]), 1)
            np.testing.assert_array_equal(metrics.confusion, confusion)
            assert metrics.count == chosen.sum()
            assert metrics.accuracy == pytest.approx(np.mean(predicted[chosen] == collected.truth[chosen]))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> AllAnswers:
    """The answers for a thousand images of the official test split, or synthetic ones, by a model of their means."""
    root = tmp_path_factory.mktemp("agreement")
    images, garments = _thousand()
    columns = base_columns(images, garments, "test", "test") | grouped_columns(images, garments, images)
    shards = write_shards(root / "examples", columns, shard_size=300)
    model = export_small(root / "model", weights=_nearest_mean(images, garments)).saved_model
    answers = _served(model, root, images) | {"in process": _in_process(model, images)}
    with beam_pipeline() as pipeline:
        analyse(pipeline, model, shards, ("group_name",), root / "tfma")
        _write_predictions(pipeline, model, shards, root / "predictions")
    answers["TFMA"] = _read_predictions(root / "predictions", columns["source_id"])
    return AllAnswers(columns["group"], answers, read_slices(root / "tfma", len(TAXONOMY.groups)))


def _thousand() -> tuple[np.ndarray, np.ndarray]:
    source = locate()
    if source.kind != "idx":  # TFDS would take longer than the rest of the test
        return images_and_garments(COUNT, 0)
    test = load(source)["test"]
    return test.images[:COUNT], test.garments[:COUNT]


def _nearest_mean(images: np.ndarray, garments: np.ndarray) -> list[np.ndarray]:
    """Returns weights that prefer the garment with the nearest mean image, so that every group is predicted."""
    flat = images.reshape(len(images), -1) / 255
    means = np.stack([flat[garments == garment].mean(axis=0) for garment in range(len(TAXONOMY.garments))])
    return [means.T / 2, -(means**2).sum(axis=1) / 4]


def _served(model: Path, root: Path, images: np.ndarray) -> dict[str, Answers]:
    """Returns the answers of the embedded server to the client, which sends the images in batches."""
    push(model, root / "fashion")
    flags = Flags(root / "fashion", "fashion", free_port(), free_port(), BATCHING)
    with Embedded().start(flags, root / "server.log") as server:
        server.wait_until_ready(120)
        answers = {}
        for way, url in (("REST", server.rest_url), ("gRPC", f"grpc://{server.grpc_address}")):
            with Client(url, timeout_seconds=60) as client:
                answers[way] = _from_client(client.predict(images))
    return answers


def _from_client(predictions: Sequence[Prediction]) -> Answers:
    return Answers(
        group=np.array([p.group for p in predictions]),
        group_probabilities=np.array([list(p.group_probabilities.values()) for p in predictions]),
        garment=np.array([p.garment for p in predictions]),
        garment_probabilities=np.array([list(p.garment_probabilities.values()) for p in predictions]),
        confidence=np.array([p.confidence for p in predictions]),
        prediction_set=np.array([[name in p.prediction_set for name in TAXONOMY.groups] for p in predictions]),
        abstain=np.array([p.abstain for p in predictions]),
    )


def _in_process(model: Path, images: np.ndarray) -> Answers:
    found = requests.answer(requests.load(model), requests.predict_request("serving_default", images))
    return _from_arrays(found)


def _from_arrays(found: dict[str, np.ndarray]) -> Answers:
    names = {name: found[name].astype(str) for name in ("group", "garment")}
    return Answers(**{field: names.get(field, found[field]) for field in Answers._fields})


def _write_predictions(pipeline: Any, model: Path, shards: Sequence[Path], output: Path) -> None:
    """Adds transforms that write TFMA's extracts, from which it computes its figures."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from tfx_bsl.public import tfxio

    config = evaluation_config(())
    shared = tfma.default_eval_shared_model(str(model), eval_config=config)
    source = tfxio.TFExampleRecord([str(shard) for shard in shards], raw_record_column_name=tfma.ARROW_INPUT_COLUMN)
    extracts = pipeline | "Read again" >> source.BeamSource() | tfma.BatchedInputsToExtracts()
    for extractor in tfma.default_extractors(eval_shared_model=shared, eval_config=config):
        extracts |= f"Again {extractor.stage_name}" >> extractor.ptransform
    _ = extracts | beam.Map(_as_json) | beam.io.WriteToText(str(output))


def _as_json(extract: dict[str, Any]) -> str:
    (name,) = extract["features"]["source_id"]
    answers = {key: np.asarray(value) for key, value in extract["predictions"].items()}
    plain = {key: value.astype(str) if value.dtype.kind in "OS" else value for key, value in answers.items()}
    return json.dumps({"source_id": name.decode(), **{key: value.tolist() for key, value in plain.items()}})


def _read_predictions(written: Path, order: Sequence[str]) -> Answers:
    lines = [line for path in written.parent.glob(f"{written.name}-*") for line in path.read_text().splitlines()]
    rows = {row.pop("source_id"): row for row in map(json.loads, lines)}
    assert len(rows) == len(lines) == COUNT
    # TFMA makes a vector of one out of every number and name.
    return _from_arrays({name: np.squeeze([rows[each][name] for each in order]) for name in Answers._fields})
