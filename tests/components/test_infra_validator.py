"""Tests of components.infra_validator: real exports in real fresh processes."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from components.examples import read_arrays
from components.infra_validator import infra_validator
from pipeline.artifacts import Examples, InfraBlessing, Model
from tests.serving.exports import export_small, spoil_serving_bytes, without_signature
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
    """Where the verdict goes."""
    (tmp_path / "blessing").mkdir()
    return InfraBlessing(tmp_path / "blessing")


def judge(model: Model, examples: Examples, blessing: InfraBlessing, **parameters: Any) -> dict[str, Any]:
    """Runs the component; returns the verdict."""
    infra_validator.run(model=model, examples=examples, blessing=blessing, requests=IMAGES, **parameters)
    verdict: dict[str, Any] = blessing.read_json("verdict.json")
    assert verdict["blessed"] == (not verdict["reason"]) == blessing.properties["blessed"]
    return verdict


def spoiled(model: Model, path: Path) -> Model:
    """A copy of the artifact that may be damaged."""
    shutil.copytree(model.path, path)
    return Model(path)


def test_sound_export(model: Model, examples: Examples, blessing: InfraBlessing) -> None:
    """A sound export is blessed: every rule with its value and bound, the marker, and the milliseconds of a request."""
    verdict = judge(model, examples, blessing)
    slices = ["", "serving_default", "serving_bytes", "serving_examples", "serving_default"]
    assert [rule["slice"] for rule in verdict["rules"]] == slices
    assert all(rule["passed"] and rule["value"] <= rule["bound"] for rule in verdict["rules"])
    assert blessing.blessed and (blessing.path / "INFRA_BLESSED").exists() and not verdict["failures"]
    assert blessing.properties["requests"] == IMAGES
    assert 0 < blessing.properties["milliseconds"] < 1000  # type: ignore[operator]


def test_signature_that_differs(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """A signature that scores otherwise than the others is refused, every request named with its difference."""
    verdict = judge(spoil_serving_bytes(model, tmp_path / "model"), examples, blessing)
    source_ids = read_arrays(examples.split("validation"), ["source_id"])["source_id"][:IMAGES].tolist()
    named = [(failure["signature"], failure["source_id"]) for failure in verdict["failures"]]
    assert named == [("serving_bytes", source_id) for source_id in source_ids]
    assert [failure["difference"] for failure in verdict["failures"]] == pytest.approx([0.01] * IMAGES, rel=1e-3)
    assert (blessing.path / "INFRA_NOT_BLESSED").exists()
    assert verdict["reason"] == (
        f"serving_bytes: 4 of 4 requests, {source_ids[0]} the first: group_probabilities is off by 0.01."
    )


def test_missing_signature(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """An export without one of the signatures is refused, and the reason says which there are."""
    verdict = judge(without_signature(model, "serving_examples", tmp_path / "model"), examples, blessing)
    assert "There is no signature serving_examples." in verdict["reason"]
    assert "Received: serving_bytes, serving_default" in verdict["reason"]


def test_other_network(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """An export that is not of the network beside it is refused: what was evaluated in training is not what serves."""
    other = spoiled(model, tmp_path / "model")
    shutil.copy(export_small(tmp_path / "other", seed=1).path / "model.keras", other.path)
    assert "The export and model.keras do not agree" in judge(other, examples, blessing)["reason"]


def test_damaged_network(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """A network file that Keras cannot read is a refusal with a reason, not a failure of the stage."""
    other = spoiled(model, tmp_path / "model")
    (other.path / "model.keras").write_bytes(b"no archive")
    assert "model.keras cannot be asked" in judge(other, examples, blessing)["reason"]


def test_corrupt_export(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """A truncated file is a refusal that says that the export cannot be loaded."""
    other = spoiled(model, tmp_path / "model")
    weights = other.saved_model / "variables/variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert judge(other, examples, blessing)["reason"].startswith("The export cannot be loaded: ")


def test_hanging_load(model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path) -> None:
    """A load that never ends is a refusal once the time is over."""
    other = spoiled(model, tmp_path / "model")
    (other.saved_model / "saved_model.pb").unlink()
    os.mkfifo(other.saved_model / "saved_model.pb")
    begun = time.monotonic()
    verdict = judge(other, examples, blessing, timeout_seconds=5.0)
    assert verdict["reason"] == "The export did not load and answer within 5 seconds."
    assert time.monotonic() - begun < 30


def test_crash(
    model: Model, examples: Examples, blessing: InfraBlessing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies is a refusal that names the signal and the last words."""
    last_words = "import os, sys; print('out of registers', file=sys.stderr, flush=True); os.abort()"
    (tmp_path / "sitecustomize.py").write_text(last_words)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert judge(model, examples, blessing)["reason"] == (
        "The process that loaded the export ended with signal SIGABRT: out of registers"
    )
