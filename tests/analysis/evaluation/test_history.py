"""The figures of the last ten blessed models, and the difference from the best of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.evaluation import history
from analysis.evaluation.verdict import GROUP_CHANGES, OVERALL_CHANGES


def metrics(accuracy: float, recall: float, earlier: list[dict[str, Any]], test_examples: str = "a") -> dict[str, Any]:
    """Returns the parts of a `metrics.json` that the history reads."""
    return {
        "overall": {name: {"value": accuracy} for name in OVERALL_CHANGES},
        "groups": {"Bags": {name: {"value": recall} for name in GROUP_CHANGES}},
        "test_examples": test_examples,
        "earlier_models": earlier,
        "baseline": None,
    }


def generations(accuracies: list[float]) -> dict[str, Any]:
    """Returns the figures of the last of several models, each blessed after the one before."""
    evaluation: dict[str, Any] | None = None
    for accuracy in accuracies:
        evaluation = metrics(accuracy, 0.9, history.earlier_models(evaluation))
    assert evaluation is not None
    return evaluation


def test_losses_that_each_pass_are_seen_together():
    """Each model loses two thousandths against the one before, and the fifth loses eight against the best."""
    found = history.best_blessed(generations([0.985, 0.983, 0.981, 0.979, 0.977]))
    assert found is not None and found["models"] == 4
    assert found["change"]["accuracy"]["value"] == pytest.approx(-0.008)
    assert found["groups"]["Bags"]["recall"]["value"] == 0


def test_ten_models_are_remembered():
    """The eleventh model before is forgotten, the tenth is not."""
    found = history.best_blessed(generations([0.99, 0.98, *[0.9] * 10]))
    assert found is not None and found["models"] == 10
    assert found["change"]["accuracy"]["value"] == pytest.approx(0.9 - 0.98)


def test_the_best_of_each_figure_counts():
    """One model has the best accuracy, another the best recall."""
    earlier = history.earlier_models(metrics(0.98, 0.99, history.earlier_models(metrics(0.99, 0.9, []))))
    found = history.best_blessed(metrics(0.97, 0.95, earlier))
    assert found is not None
    assert found["change"]["macro_f1"]["value"] == pytest.approx(-0.02)
    assert found["groups"]["Bags"]["f1"]["value"] == pytest.approx(-0.04)


def test_figures_of_other_examples_do_not_count():
    """A model that was tested on other images is no measure, nor is an evaluation without the images' digest."""
    earlier = history.earlier_models(metrics(0.99, 0.9, [], test_examples="b"))
    assert history.best_blessed(metrics(0.5, 0.5, earlier)) is None
    assert history.earlier_models({"overall": {}, "groups": {}}) == history.earlier_models(None) == []


def test_the_baseline_counts_on_the_present_examples():
    """It predicts the test examples anew, so it is compared even where its recorded figures are of others."""
    candidate = metrics(0.97, 0.9, [])
    candidate["baseline"] = {
        "change": {name: {"value": -0.01} for name in OVERALL_CHANGES},
        "groups": {"Bags": {name: {"value": None} for name in GROUP_CHANGES}},
    }
    found = history.best_blessed(candidate)
    assert found is not None and found["models"] == 1
    assert found["change"]["accuracy"]["value"] == pytest.approx(-0.01)
    assert found["groups"]["Bags"]["recall"]["value"] is None


def test_the_baseline_counts_once():
    """The model blessed last is the baseline, and the last of the earlier models, too."""
    candidate = metrics(
        0.97, 0.9, generations([0.99, 0.98])["earlier_models"] + generations([0.98, 0.1])["earlier_models"]
    )
    candidate["baseline"] = {
        "change": {name: {"value": -0.01} for name in OVERALL_CHANGES},
        "groups": {"Bags": {name: {"value": 0.0} for name in GROUP_CHANGES}},
    }
    found = history.best_blessed(candidate)
    assert found is not None and found["models"] == 2
    assert found["change"]["accuracy"]["value"] == pytest.approx(0.97 - 0.99)


def test_the_digest_follows_images_and_classes():
    """Another image, order of images, garment or group gives another digest."""
    columns = {
        "source_id": np.array(["test/1", "test/2"]),
        "garment_name": np.array(["Dress", "Bag"]),
        "group_name": np.array(["One piece", "Bags"]),
    }
    digests = {history.digest_of_examples(columns)}
    for name, values in columns.items():
        digests.add(history.digest_of_examples(columns | {name: values[::-1]}))
    assert len(digests) == 4
    as_bytes = {name: values.astype(bytes).astype(object) for name, values in columns.items()}
    assert history.digest_of_examples(as_bytes) in digests
