"""Tests of components.infra_validator: real exports in a real server."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis.data.examples import read_arrays
from components.infra_validator import _Probe, _send_all_requests, as_trained, fast_enough, infra_validator
from pipeline.contract.artifacts import Examples, InfraBlessing, Model
from pipeline.contract.errors import UserError
from serving.requests.server_probe import Latency
from tests.serving.client.test_client import refused
from tests.serving.exports import export_small, spoil_serving_bytes, without_signature
from tests.serving.web import web
from tests.synthetic import write_examples

IMAGES = 4


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Synthetic garments."""
    return write_examples(tmp_path_factory.mktemp("examples"), train=20, validation=10, test=10, grouped=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A sound export."""
    return export_small(tmp_path_factory.mktemp("model"))


@pytest.fixture
def blessing(tmp_path: Path) -> InfraBlessing:
    """An empty artifact for the verdict."""
    (tmp_path / "blessing").mkdir()
    return InfraBlessing(tmp_path / "blessing")


def validate(model: Model, examples: Examples, blessing: InfraBlessing, **parameters: Any) -> dict[str, Any]:
    """Runs the component with the embedded server; returns the verdict."""
    # The bounds are for a machine that is busy with other things.
    bounds = {"latency_bound_ms": 60_000.0, "timeout_seconds": 900.0}
    parameters = {
        "requests": IMAGES, "engine": "embedded", "warmup_requests": 8, "warmup_batch": 32, **bounds, **parameters
    }  # fmt: skip
    infra_validator.run(model=model, examples=examples, blessing=blessing, **parameters)
    verdict: dict[str, Any] = blessing.verdict()
    assert verdict["blessed"] == (not verdict["reason"]) == blessing.properties["blessed"]
    return verdict


def notes(verdict: dict[str, Any]) -> dict[tuple[str, str], str]:
    """The notes of the broken rules, by rule and slice."""
    return {(rule["rule"], rule["slice"]): rule["note"] for rule in verdict["rules"] if not rule["passed"]}


def copy_of(model: Model, path: Path) -> Model:
    """A copy of the artifact that a test may damage."""
    shutil.copytree(model.path, path)
    return Model(path)


def hanging_copy(model: Model, path: Path) -> Model:
    """A copy whose `serving_bytes` never returns, so that its warm-up hangs."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model.saved_model))
    right = loaded.signatures["serving_bytes"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def endless(image_bytes: Any) -> Any:
        (count,) = tf.while_loop(lambda i: i >= 0, lambda i: (i + 1,), (tf.size(image_bytes, tf.int64),))
        answers = right(image_bytes=image_bytes)
        return answers | {"confidence": answers["confidence"] + tf.cast(count, tf.float32)}

    copy = Model(path)
    tf.saved_model.save(loaded, str(copy.saved_model), signatures={**loaded.signatures, "serving_bytes": endless})
    return copy


def test_sound_export(model: Model, examples: Examples, blessing: InfraBlessing) -> None:
    """A sound export is blessed: every rule with its value and bound, the marker, the engine and the milliseconds."""
    verdict = validate(model, examples, blessing)
    signatures = ["serving_default", "serving_bytes", "serving_examples"]
    assert [(rule["rule"], rule["slice"]) for rule in verdict["rules"]] == [
        ("a server loads it", ""),
        *[("same scores over REST", signature) for signature in signatures],
        *[("same scores over gRPC", signature) for signature in signatures],
        ("same scores as the trained network", "serving_default"),
        ("fast enough over REST", "serving_default"),
        ("fast enough over gRPC", "serving_default"),
    ]
    assert all(rule["passed"] and rule["value"] <= rule["bound"] for rule in verdict["rules"]), verdict["reason"]
    assert verdict["blessed"] and (blessing.path / "INFRA_BLESSED").exists() and not verdict["failures"]
    assert (blessing.properties["engine"], blessing.properties["requests"]) == ("embedded", IMAGES)
    assert "TensorFlow" in str(blessing.properties["engine_version"])
    for name, rule in zip(("rest", "grpc"), verdict["rules"][-2:], strict=True):
        median, p99 = (float(str(blessing.properties[f"{name}_{figure}_ms"])) for figure in ("median", "p99"))
        assert 0 < median <= p99 == round(rule["value"], 2)
    bounds = {rule["rule"].split(" over ")[0]: rule["bound"] for rule in verdict["rules"]}
    assert bounds == {
        "a server loads it": 900.0,
        "same scores": 1e-5,
        "same scores as the trained network": 1e-5,
        "fast enough": 60_000.0,
    }
    assert (blessing.path / "server.log").stat().st_size > 0


def test_export_with_a_text_signature(examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """The text signature is warmed up and compared like the others; an empty description leaves the image's scores."""
    verdict = validate(export_small(tmp_path / "model", texts=True), examples, blessing)
    assert verdict["blessed"], verdict["reason"]
    rules = [rule["rule"] for rule in verdict["rules"] if rule["slice"] == "serving_text"]
    assert rules == ["same scores over REST", "same scores over gRPC"]


def test_export_with_wrong_scores(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """Wrong scores of a signature, another network than the trained one, and high latency each break their own rule.

    The verdict lists the failed requests one by one, over both transports, with their differences.
    """
    other = spoil_serving_bytes(model, tmp_path / "model")
    shutil.copy(model.path / "calibration.json", other.path)
    shutil.copy(export_small(tmp_path / "other", seed=1).path / "model.keras", other.path)
    verdict = validate(other, examples, blessing, latency_bound_ms=0.001)

    source_ids = read_arrays(examples.split("validation"), ["source_id"])["source_id"][:IMAGES].tolist()
    named = [(f["transport"], f["signature"], f["source_id"]) for f in verdict["failures"]]
    requests = [*source_ids, source_ids[0]]  # one by one, then the batch
    assert named == [(transport, "serving_bytes", name) for transport in ("REST", "gRPC") for name in requests]
    assert [failure["difference"] for failure in verdict["failures"]] == pytest.approx([0.01] * 10, rel=1e-3)
    assert (blessing.path / "INFRA_NOT_BLESSED").exists()

    broken = notes(verdict)
    wrong = f"5 of 5 requests, first {source_ids[0]}: group_probabilities is off by 0.01."
    assert broken.pop(("same scores over REST", "serving_bytes")) == wrong
    assert broken.pop(("same scores over gRPC", "serving_bytes")) == wrong
    trained = broken.pop(("same scores as the trained network", "serving_default"))
    assert trained.startswith("The export and model.keras disagree, the largest difference is 0.")
    assert re.fullmatch(
        r"The 99th percentile over REST is .* ms, the bound 0.001 ms.",
        broken.pop(("fast enough over REST", "serving_default")),
    )
    assert list(broken) == [("fast enough over gRPC", "serving_default")]


@pytest.mark.parametrize(
    ("latency", "passed", "note"),
    [
        (Latency(1.0, 5.0), True, ""),
        (Latency(1.0, 5.1), False, "The 99th percentile over REST is 5.1 ms, the bound 5 ms."),
        (Latency(fault="No answer."), False, "No answer."),
    ],
)
def test_the_bound_of_the_latency_is_inclusive(latency: Latency, passed: bool, note: str) -> None:
    """The 99th percentile counts, not the median; a measurement that failed breaks the rule, without a value."""
    rule = fast_enough("REST", latency, 5.0)
    assert (rule["passed"], rule["note"], rule["metric"]) == (passed, note, "99th percentile, ms")
    assert rule["value"] == (None if latency.fault else latency.p99)


def test_warmup_that_fails(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """An export that fails its warm-up requests is not blessed, and the reason quotes the server."""
    verdict = validate(without_signature(model, "serving_examples", tmp_path / "model"), examples, blessing)
    assert list(notes(verdict)) == [("a server loads it", "")]
    assert re.match("The server ended with exit status 1: .*serving_examples", verdict["reason"])


def test_corrupt_export(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """An export with an unreadable graph is not blessed, and the reason says so."""
    other = copy_of(model, tmp_path / "model")
    graph = other.saved_model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    verdict = validate(other, examples, blessing)
    assert re.match("The server ended with exit status 1: .*did not become available", verdict["reason"])


def test_hanging_load(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """An export that never finishes loading is not blessed after the time-out, and the server is stopped."""
    other = hanging_copy(model, tmp_path / "model")
    verdict = validate(other, examples, blessing, timeout_seconds=8.0)
    assert verdict["reason"].startswith("The server is not ready after 8 seconds.")
    assert "Expected: an available version at http://127.0.0.1:" in verdict["reason"]


def test_no_export(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """A model without a SavedModel is not blessed, and no server starts."""
    other = copy_of(model, tmp_path / "model")
    (other.saved_model / "saved_model.pb").unlink()
    assert validate(other, examples, blessing)["reason"].startswith("There is no SavedModel to push.")


def test_damaged_network(model: Model, examples: Examples, tmp_path: Path) -> None:
    """A network file that Keras cannot read breaks a rule and does not fail the stage."""
    other = copy_of(model, tmp_path / "model")
    (other.path / "model.keras").write_bytes(b"no archive")
    images = read_arrays(examples.split("validation"), ["image"])["image"]
    (rule,) = as_trained(other, images, [], tolerance=1e-5)
    assert rule["note"].startswith("model.keras cannot be evaluated: ") and not rule["passed"]


def test_missing_engine(
    model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configured engine that cannot run here is a user error, not a verdict on the model."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match="(?s)The engine docker cannot run on this machine.\nExpected: .*\nReceived: no docker client"
    ):
        infra_validator.run(
            model=model, examples=examples, blessing=blessing, engine="docker", warmup_requests=8, warmup_batch=32
        )


def test_a_request_that_fails_once_is_not_retried() -> None:
    """A failure here would fail a client there, so every request is sent once, over both transports."""
    probe = _Probe()
    images = np.zeros((2, 28, 28), np.uint8)
    with web(lambda _: refused(503, **{"Retry-After": "0"})) as server:
        served: Any = SimpleNamespace(rest_url=server.url, grpc_address=server.url.removeprefix("http://"))
        _send_all_requests(served, ["serving_default"], images, time.monotonic() + 600, probe)
        rest = [request for request in server.requests if request.method == "POST"]
    # One for each image, one for both, and the first of the latency measurement.
    assert len(rest) == 4
    assert all(reply.fault for replies in probe.replies.values() for reply in replies)
    assert all(latency.fault for latency in probe.latencies.values())
