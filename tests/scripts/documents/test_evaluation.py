"""The run that the documents describe is one of today's default profile on the published data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.fashion_mnist import CANONICAL_SHA256
from analysis.evaluation.metrics import wilson_interval
from pipeline.runner.workspace import Workspace
from scripts.documents import evaluation
from scripts.documents.evaluation_figures import FEWEST_IN_BIN
from scripts.documents.pictures import Card, CardGallery, content_digest, digest_in
from scripts.documents.rendering import render_documents
from scripts.documents.values import metrics_digest, run_digest
from tests.conftest import TinyRun

STALE = "run: make documents"


@pytest.fixture(scope="module")
def run() -> Any:
    """The committed record of the run."""
    return json.loads(evaluation.RUN.read_text(encoding="utf-8"))


def test_metrics_are_those_of_the_run(run: Any) -> None:
    """Nobody edited `metrics.json`, and it was not replaced without the record of its run."""
    assert metrics_digest(evaluation.METRICS) == run["metrics_digest"], STALE


@pytest.mark.parametrize(("stage", "parameters"), evaluation.default_parameters().items())
def test_parameters_are_todays_defaults(run: Any, stage: str, parameters: Any) -> None:
    """A parameter of the default profile that changes makes the documents describe another model."""
    assert run["parameters"].get(stage) == parameters, STALE


def test_data_are_the_published_ones(run: Any) -> None:
    """The digests of the splits are the known checksums."""
    assert run["data"] == CANONICAL_SHA256, STALE


def test_every_rendered_document_names_the_run() -> None:
    """The digest of another run would make each differ from the committed one."""
    assert all(f"Run {run_digest()}." in text.partition("\n")[0] for text in render_documents().values())


def test_a_card_shows_all_its_lines() -> None:
    """The first is bold, the others stand below it in their order; nothing in them is markup."""
    page = CardGallery((Card(np.zeros((28, 28), np.uint8), ("Dress", "labelled <b>", "0.99")),)).html()
    assert re.findall("<b>.*?(?=</figure>)", page) == ["<b>Dress</b><br>labelled &lt;b&gt;<br>0.99"]


def test_pictures_show_the_metrics() -> None:
    """Each picture holds the digest of what is drawn today; no other picture is there, and each is small."""
    drawn = {file: content_digest(figure) for file, figure in evaluation.pictures().items()}
    assert {file: digest_in(file) for file in drawn} == drawn, STALE
    others = {evaluation.DIRECTORY / evaluation.GALLERY}
    assert set(evaluation.DIRECTORY.glob("*.png")) == set(drawn) | others
    assert all(file.stat().st_size < 150_000 for file in {*drawn, *others})


def test_captions_of_the_page_hold() -> None:
    """What the template says in words is true of the metrics; another run may need other words."""
    metrics = json.loads(evaluation.METRICS.read_text(encoding="utf-8"))
    assert {name for name, group in metrics["groups"].items() if group["f1"]["value"] < 0.98} == {"One piece"}
    one_piece, rule = metrics["groups"]["One piece"], metrics["selective"]["abstain"]
    assert one_piece["recall"]["value"] < one_piece["precision"]["value"]
    for point in metrics["reliability"]:
        low, high = wilson_interval(round(point["accuracy"] * point["count"]), point["count"])
        assert point["count"] < FEWEST_IN_BIN or low <= point["confidence"] <= high
    ninety = next(point for point in metrics["selective"]["thresholds"] if point["threshold"] == 0.9)
    assert ninety["avoided"] > rule["avoided"]


def test_metrics_stay_small() -> None:
    """They are read by people too, and each run adds a copy to the history."""
    assert evaluation.METRICS.stat().st_size < 200_000


def test_record_describes_the_run_of_a_workspace(tiny_run: TinyRun, tmp_path: Path) -> None:
    """Metrics are copied byte for byte; parameters, seconds and history are those of the executions."""
    evaluation.record(Workspace(tiny_run.workspace), "A tiny run.", tmp_path)
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert metrics_digest(tmp_path / "metrics.json") == found["metrics_digest"]
    assert set(found["seconds"]) == set(found["parameters"]) == set(evaluation.default_parameters())
    assert len(found["model"]["history"]) == found["parameters"]["trainer"]["epochs"]
    assert found["note"] == "A tiny run." and (tmp_path / evaluation.GALLERY).exists()
    assert found["seconds"]["trainer"] > 0 and found["data"] != CANONICAL_SHA256
