"""Tests of the BulkInferrer: predictions of the pushed model for the validation split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from analysis.data.examples import read_arrays
from components.bulk_inferrer import bulk_inferrer
from pipeline.contract.artifacts import Examples, InferenceResult, Model, PushedModel
from pipeline.contract.errors import UserError
from pipeline.contract.progress import silent
from serving.requests.prediction_log import answer, load, predict_request, read_logs
from tests.serving.exports import export_small, without_signature
from tests.synthetic import write_examples


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Synthetic garments."""
    return write_examples(tmp_path_factory.mktemp("examples"), train=20, validation=30, test=10, grouped=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An export."""
    return export_small(tmp_path_factory.mktemp("model"))


@pytest.fixture
def infer(examples: Examples, model: Model, tmp_path: Path) -> Any:
    """Returns a function that runs the component and returns its artifact."""

    def run(
        version: int | None = 4, reason: str = "", other: Model | None = None, **parameters: Any
    ) -> InferenceResult:
        pushed, inference = PushedModel(tmp_path / "pushed"), InferenceResult(tmp_path / "inference")
        pushed.write_json("pushed.json", {"pushed": version is not None, "version": version, "reason": reason})
        inference.path.mkdir()
        bulk_inferrer.run(
            examples=examples,
            model=other or model,
            pushed=pushed,
            inference=inference,
            progress=parameters.pop("progress", silent),
            **parameters,
        )
        return inference

    return run


def test_validation_split_is_scored(infer: Any, examples: Examples, model: Model) -> None:
    """The rows are the model's predictions for the validation images, with their ids and the pushed version."""
    inference = infer()
    columns = read_arrays(examples.split("validation"), ("image", "source_id"))
    expected = answer(load(model.saved_model), predict_request("serving_default", columns["image"]))
    (shard,) = inference.path.glob("predictions-*.parquet")
    rows = parquet.read_table(shard).to_pydict()
    assert rows["source"] == columns["source_id"].tolist()
    assert [group.encode() for group in rows["group"]] == expected["group"].tolist()
    assert set(rows["model_version"]) == {"4"} and set(rows["error"]) == {None}
    assert (inference.properties["images"], inference.properties["failed"]) == (30, 0)
    assert inference.record() == {"scored": True, "reason": "", "version": 4, "split": "validation"}
    summary = json.loads((inference.path / "summary.json").read_text())
    assert summary["groups"] == {g: rows["group"].count(g) for g in set(rows["group"])}


def test_requests_are_logged(infer: Any) -> None:
    """The logged requests name the served version."""
    inference = infer(log_rate=1.0)
    logs = [log for path in inference.path.glob("*.tfrecord") for log in read_logs(path)]
    assert len(logs) == 30 and {log.predict_log.request.model_spec.version.value for log in logs} == {4}


def test_progress_counts_images(infer: Any) -> None:
    """Progress reports the finished images and their total."""
    reported: list[tuple[int, int, str]] = []
    infer(batch_size=10, progress=lambda *call: reported.append(call))
    assert reported == [(done, 30, "images") for done in (0, 10, 20, 30)]


def test_without_a_pushed_model_nothing_is_scored(infer: Any) -> None:
    """Without a pushed model the stage succeeds, and its record says why there are no rows."""
    inference = infer(version=None, reason="The Evaluator has not blessed the model.")
    assert inference.properties == {"scored": False, "reason": "The Evaluator has not blessed the model."}
    assert inference.record()["scored"] is False
    assert [path.name for path in inference.path.iterdir()] == ["inference.json"]


def test_unusable_model(infer: Any, model: Model, tmp_path: Path) -> None:
    """A model that cannot be loaded is a user error with a next step."""
    lacking = without_signature(model, "serving_examples", tmp_path / "lacking")
    with pytest.raises(UserError, match="Expected: the signature serving_examples") as error:
        infer(other=lacking)
    assert error.value.next_step == "fashion run --from trainer"
