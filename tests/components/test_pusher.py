"""Tests of the Pusher: the versions in the directory that TensorFlow Serving watches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.examples import read_arrays
from components.pusher import pusher
from pipeline.contract.artifacts import Examples, InfraBlessing, Model, ModelBlessing, PushedModel
from pipeline.contract.errors import UserError
from serving.requests.prediction_log import load, predict_request, read_logs
from serving.requests.warmup import replay_warmup
from serving.versions import rollback, versions
from tests.serving.exports import export_small, without_signature
from tests.synthetic import images_and_garments, write_examples

RULE = {"rule": "floor", "slice": "One-piece", "metric": "f1", "value": 0.9, "bound": 0.94, "passed": False, "note": ""}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Synthetic garments."""
    return write_examples(tmp_path_factory.mktemp("examples"), train=20, validation=20, test=10, grouped=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Two sound exports."""
    return [export_small(tmp_path_factory.mktemp("model"), seed) for seed in (0, 1)]


@pytest.fixture
def push(examples: Examples, tmp_path: Path) -> Any:
    """Returns a function that runs the component and returns its artifact."""

    def run(model: Model, verdict: Any = None, infra_verdict: Any = None, **parameters: Any) -> PushedModel:
        blessed = {"blessed": True, "rules": [], "reason": ""}
        directory = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        model_blessing, infra_blessing = ModelBlessing(directory / "model"), InfraBlessing(directory / "infra")
        model_blessing.write_json("verdict.json", verdict or blessed)
        infra_blessing.write_json("verdict.json", infra_verdict or blessed)
        pushed = PushedModel(directory / "pushed")
        pusher.run(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            examples=examples,
            pushed=pushed,
            destination=tmp_path / "serving",
            **parameters,
        )
        return pushed

    return run


def test_blessed_model(push: Any, models: list[Model], tmp_path: Path) -> None:
    """A model with both blessings becomes a version, recorded with its number, relative path and digest."""
    pushed = push(models[0])
    (version,) = versions(tmp_path / "serving")
    assert pushed.record() == {
        "pushed": True,
        "version": 1,
        "path": "../../serving/1",
        "reason": "",
        "digest": version.digest,
    }
    assert pushed.properties == {"pushed": True, "version": 1}
    assert pushed.version_directory() == tmp_path / "serving/1"
    assert pushed.damage() == ""


def test_version_scores_as_the_model(push: Any, models: list[Model], tmp_path: Path) -> None:
    """The version predicts like the pushed model."""
    push(models[0])
    request = predict_request("serving_default", images_and_garments(5, 0)[0]).predict_log.request
    image = np.frombuffer(request.inputs["image"].tensor_content, np.uint8).reshape(5, 28, 28)
    answers = [
        load(p).signatures["serving_default"](image=image) for p in (tmp_path / "serving/1", models[0].saved_model)
    ]
    assert np.array_equal(answers[0]["group_probabilities"], answers[1]["group_probabilities"])


def test_warmup_requests_are_where_serving_looks(
    push: Any, models: list[Model], examples: Examples, tmp_path: Path
) -> None:
    """The version has warm-up requests under the name that TensorFlow Serving reads, and its model answers them."""
    push(models[0], warmup_requests=3, warmup_batch=7)
    version = tmp_path / "serving/1"
    assert replay_warmup(version / "assets.extra/tf_serving_warmup_requests", version) == 12
    requests = [log.predict_log.request for log in read_logs(version / "assets.extra/tf_serving_warmup_requests")]
    sizes = Counter(
        (r.model_spec.signature_name, one.tensor_shape.dim[0].size) for r in requests for one in r.inputs.values()
    )
    signatures = ("serving_default", "serving_bytes", "serving_examples")
    assert sizes == {(name, size): count for name in signatures for size, count in ((1, 3), (7, 1))}
    # A server must not be warmed up with what the model was trained on or is judged by.
    validation = {image.tobytes() for image in read_arrays(examples.split("validation"), ("image",))["image"]}
    sent = [r.inputs["image"].tensor_content for r in requests if r.model_spec.signature_name == "serving_default"]
    assert {part[n : n + 784] for part in sent for n in range(0, len(part), 784)} <= validation


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        (
            {"verdict": {"blessed": False, "rules": [RULE]}},
            "The Evaluator has not blessed the model. floor (One-piece): f1 is 0.9, bound 0.94",
        ),
        (
            {
                "verdict": {
                    "blessed": False,
                    "rules": [RULE | {"passed": True}, RULE | {"slice": ""}, RULE | {"note": "old"}],
                },
                "infra_verdict": {"blessed": False, "rules": [], "reason": "It hangs."},
            },
            "The Evaluator has not blessed the model. floor: f1 is 0.9, bound 0.94; "
            "floor (One-piece): f1 is 0.9, bound 0.94, old",
        ),
        (
            {"infra_verdict": {"blessed": False, "rules": [], "reason": "It hangs."}},
            "The InfraValidator has not blessed the model. It hangs.",
        ),
    ],
)
def test_not_blessed(verdicts: Any, reason: str, push: Any, models: list[Model], tmp_path: Path) -> None:
    """Without either blessing nothing is pushed, and the record names the missing one and the reason."""
    pushed = push(models[0], **verdicts)
    record = pushed.record()
    assert record == {"pushed": False, "version": None, "path": None, "reason": reason, "digest": None}
    assert pushed.properties == {"pushed": False}
    assert pushed.damage() == ""
    assert not (tmp_path / "serving").exists()


def test_same_model_again(push: Any, models: list[Model], tmp_path: Path) -> None:
    """Pushing the served model again creates no version, and the record says so."""
    push(models[0])
    record = push(models[0]).record()
    assert (record["version"], record["reason"]) == (1, "Version 1 holds this model already.")
    assert len(versions(tmp_path / "serving")) == 1


def test_keeps_the_newest(push: Any, models: list[Model], tmp_path: Path) -> None:
    """Only the newest `keep_versions` stay, and the artifact of a removed one counts as damaged."""
    first, _ = push(models[0], keep_versions=1), push(models[1], keep_versions=1)
    assert [v.number for v in versions(tmp_path / "serving")] == [2]
    assert first.damage() == f"the pushed version {tmp_path / 'serving/1'} is gone"


def test_push_after_a_rollback(push: Any, models: list[Model], tmp_path: Path) -> None:
    """A model that is pushed after its rollback becomes the newest version again."""
    push(models[0])
    push(models[1])
    rollback(tmp_path / "serving")
    assert push(models[1]).properties["version"] == 4


def test_model_that_cannot_warm_up(push: Any, models: list[Model], tmp_path: Path) -> None:
    """A model that fails its warm-up requests is not pushed, even with both blessings."""
    model = without_signature(models[0], "serving_bytes", tmp_path / "lacking")
    with pytest.raises(UserError, match=r"Warm-up request .* fails\.\nReceived: There is no signature serving_bytes"):
        push(model)
    assert not (tmp_path / "serving").exists()
