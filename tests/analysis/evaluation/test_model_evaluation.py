"""The content of metrics.json: every figure is that of scikit-learn, or of a count by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from analysis.evaluation import model_evaluation
from analysis.evaluation.bootstrap import confusion
from analysis.evaluation.ladder import Rung
from analysis.evaluation.metrics import wilson_interval
from analysis.evaluation.model_evaluation import compute_metrics, hardest_group
from analysis.evaluation.predictions import Predictions
from analysis.evaluation.tfma import OVERALL, SliceMetrics
from models.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load()
MEMBERSHIP = np.array(TAXONOMY.membership())
COUNT = 500
GARMENTS = np.arange(COUNT) % 10
GROUPS = np.array(TAXONOMY.group_of)[GARMENTS]
NEAR = np.where(np.arange(COUNT) % 4 == 0, "yes", "no")
SIDE = np.where(np.arange(COUNT) < 100, "left", "right")


def predictions(seed: int, sharpness: float) -> Predictions:
    """Probabilities by random logits that favour the true garment; sets of the groups above 20%."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(COUNT, 10)) + sharpness * np.eye(10)[GARMENTS]
    garments = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    groups = garments @ MEMBERSHIP
    sets = groups > 0.2
    return Predictions(
        groups.astype(np.float32), garments.astype(np.float32), groups.max(axis=1).astype(np.float32),
        sets.sum(axis=1) != 1, sets,
    )  # fmt: skip


MODEL, BASELINE = predictions(0, 2.5), predictions(1, 2.0)
TESTED = model_evaluation.TestedModel(GARMENTS, MODEL, TAXONOMY, seed=0, resamples=400)
NEAREST = BASELINE.group
RUNGS = [Rung("majority", np.zeros(COUNT, np.int64), 0.014), Rung("1-nearest neighbour", NEAREST, 1.0)]


def of_slice(chosen: np.ndarray, log_loss: float) -> SliceMetrics:
    """TFMA's figures of some examples."""
    counts = confusion(GROUPS[chosen], MODEL.group[chosen], 5)
    return SliceMetrics(int(chosen.sum()), float(np.trace(counts) / counts.sum()), log_loss, counts)


SLICES = {
    OVERALL: of_slice(np.ones(COUNT, bool), 0.5),
    ("side", "left"): of_slice(SIDE == "left", 0.25),
    ("side", "right"): of_slice(SIDE == "right", 0.75),
}
CORRUPTIONS = {OVERALL: SLICES[OVERALL], ("corruption", "jpeg"): of_slice(SIDE == "left", 0.125)}
FEATURES = {"has_near_duplicate": NEAR, "side": SIDE}


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    """The metrics with all parts."""
    return compute_metrics(TESTED, FEATURES, SLICES, CORRUPTIONS, RUNGS, 2.344, BASELINE)


def share(hits: int, count: int) -> dict[str, Any]:
    """A share with Wilson's interval."""
    low, high = wilson_interval(hits, count)
    return {"value": pytest.approx(hits / count), "interval": [pytest.approx(float(low)), pytest.approx(float(high))]}


def test_overall_figures_are_scikit_learns(metrics: dict[str, Any]) -> None:
    """Accuracy, means over the groups, areas and losses; coverage and abstention are shares of the examples."""
    truth, predicted, probabilities = GROUPS, MODEL.group, MODEL.group_probabilities.astype(float)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(truth, predicted, average="macro")
    areas = [sklearn.roc_auc_score(truth == group, probabilities[:, group]) for group in range(5)]
    alone = NEAR == "no"
    expected = {
        "accuracy": sklearn.accuracy_score(truth, predicted),
        "balanced_accuracy": recall,
        "macro_recall": recall,
        "macro_precision": precision,
        "macro_f1": f1,
        "macro_auc": np.mean(areas),
        "log_loss": -np.log(probabilities[np.arange(COUNT), truth]).mean(),
        "coverage": MODEL.prediction_set[np.arange(COUNT), truth].mean(),
        "abstention": MODEL.abstain.mean(),
        "accuracy_over_nearest_neighbour": (predicted == truth).mean() - (truth == NEAREST).mean(),
        "accuracy_without_near_duplicates": (predicted == truth)[alone].mean(),
    }
    found = {name: block["value"] for name, block in metrics["overall"].items()}
    assert found.pop("calibration_error") >= 0
    assert found == pytest.approx(expected, rel=1e-5)
    for name, block in metrics["overall"].items():
        low, high = block["interval"]
        assert low <= block["value"] <= high and high - low > 0.005, name


def test_figures_of_a_group_are_of_this_group(metrics: dict[str, Any]) -> None:
    """Precision, recall, F1 and areas are against the rest, and the coverage is among its own examples."""
    assert list(metrics["groups"]) == list(TAXONOMY.groups) == metrics["group_names"]
    for index, block in enumerate(metrics["groups"].values()):
        true, predicted, scores = index == GROUPS, MODEL.group == index, MODEL.group_probabilities[:, index]
        f1 = sklearn.f1_score(true, predicted)
        expected = {
            "precision": sklearn.precision_score(true, predicted),
            "recall": sklearn.recall_score(true, predicted),
            "f1": f1,
            "auc": sklearn.roc_auc_score(true, scores),
            "average_precision": sklearn.average_precision_score(true, scores),
            "f1_over_nearest_neighbour": f1 - sklearn.f1_score(true, index == NEAREST),
        }
        assert {name: block[name]["value"] for name in expected} == pytest.approx(expected, rel=1e-5)
        assert block["coverage"] == share(int(MODEL.prediction_set[true, index].sum()), int(true.sum()))
        assert block["support"] == true.sum()


def test_figures_of_a_garment_are_of_this_garment(metrics: dict[str, Any]) -> None:
    """Its own accuracy and that of the group predicted for it differ."""
    found = metrics["garments"]
    assert found["accuracy"] == share(int((MODEL.garment == GARMENTS).sum()), COUNT)
    assert found["confusion_matrix"] == sklearn.confusion_matrix(GARMENTS, MODEL.garment).tolist()
    assert list(found["per_garment"]) == list(TAXONOMY.garments) == metrics["garment_names"]
    for index, block in enumerate(found["per_garment"].values()):
        own = index == GARMENTS
        assert block["accuracy"] == share(int((MODEL.garment == index)[own].sum()), 50)
        assert block["group_accuracy"] == share(int((MODEL.group == GROUPS)[own].sum()), 50)
        assert block["precision"]["value"] == pytest.approx(sklearn.precision_score(own, MODEL.garment == index))
        assert block["recall"]["value"] == pytest.approx(block["accuracy"]["value"])
        assert block["support"] == 50


def test_slices_and_corruptions_have_tfmas_figures(metrics: dict[str, Any]) -> None:
    """The whole is no slice; a slice's expected accuracy is that of its garments."""
    correct = MODEL.group == GROUPS
    by_garment = np.array([correct[garment == GARMENTS].mean() for garment in range(10)])
    for line, name, loss in zip(metrics["slices"], ("left", "right"), (0.25, 0.75), strict=True):
        chosen = name == SIDE
        assert line == {
            "feature": "side", "value": name, "count": chosen.sum(), "log_loss": {"value": loss},
            "accuracy": share(int(correct[chosen].sum()), int(chosen.sum())),
            "expected_accuracy": pytest.approx(by_garment[GARMENTS[chosen]].mean()),
        }  # fmt: skip
    assert metrics["corruptions"] == [
        {"name": "jpeg", "count": 100, "log_loss": {"value": 0.125},
         "accuracy": share(int(correct[SIDE == "left"].sum()), 100)},
    ]  # fmt: skip
    assert metrics["confusion_matrix"] == sklearn.confusion_matrix(GROUPS, MODEL.group).tolist()


def test_the_ladder_has_every_rung_and_last_the_model(metrics: dict[str, Any]) -> None:
    """All are measured on the group that is hardest for the model."""
    assert [rung["name"] for rung in metrics["ladder"]] == ["majority", "1-nearest neighbour", "model"]
    assert [rung["seconds"] for rung in metrics["ladder"]] == [0.01, 1.0, 2.34]
    f1 = sklearn.f1_score(GROUPS, MODEL.group, average=None)
    hardest = int(f1.argmin())
    assert hardest_group(TESTED) == hardest
    for rung, predicted in zip(metrics["ladder"], (RUNGS[0].predicted, NEAREST, MODEL.group), strict=True):
        assert rung["hardest_group"] == metrics["curves"]["group"] == TAXONOMY.groups[hardest]
        assert rung["accuracy"]["value"] == pytest.approx((predicted == GROUPS).mean())
        assert rung["macro_f1"]["value"] == pytest.approx(
            sklearn.f1_score(GROUPS, predicted, average="macro", zero_division=0)
        )
        own = sklearn.f1_score(hardest == GROUPS, predicted == hardest, zero_division=0)
        assert rung["hardest_group_f1"]["value"] == pytest.approx(own)


def test_a_change_is_the_candidate_minus_the_baseline(metrics: dict[str, Any]) -> None:
    """Overall, of each group, and of the images without near-duplicates; with the baseline's own figures beside it."""
    found, alone = metrics["baseline"], NEAR == "no"
    right, before = MODEL.group == GROUPS, BASELINE.group == GROUPS
    name = "accuracy_without_near_duplicates"
    assert found["overall"]["accuracy"]["value"] == pytest.approx(before.mean())
    assert found["overall"][name]["value"] == pytest.approx(before[alone].mean())
    assert found["change"]["accuracy"]["value"] == pytest.approx(right.mean() - before.mean())
    assert found["change"][name]["value"] == pytest.approx(right[alone].mean() - before[alone].mean())
    recalls = [sklearn.recall_score(GROUPS, predicted, average=None) for predicted in (MODEL.group, BASELINE.group)]
    precisions = [
        sklearn.precision_score(GROUPS, predicted, average=None) for predicted in (MODEL.group, BASELINE.group)
    ]
    for group, block in enumerate(found["groups"].values()):
        assert block["recall"]["value"] == pytest.approx(recalls[0][group] - recalls[1][group])
        assert block["precision"]["value"] == pytest.approx(precisions[0][group] - precisions[1][group])
    low, high = found["change"]["accuracy"]["interval"]
    assert low < found["change"]["accuracy"]["value"] < high and low > 0, "the candidate is clearly better"


def test_operating_points_count_answers_errors_and_avoided_errors(metrics: dict[str, Any]) -> None:
    """Of the rule of the model, and of each threshold of the confidence."""
    wrong, found = MODEL.group != GROUPS, metrics["selective"]

    def point(answered: np.ndarray) -> dict[str, Any]:
        errors = int((wrong & answered).sum())
        return {
            "answered": share(int(answered.sum()), COUNT), "error": share(errors, int(answered.sum())),
            "count": answered.sum(), "errors": errors, "abstained": (~answered).sum(),
            "avoided": (wrong & ~answered).sum(),
        }  # fmt: skip

    assert found["abstain"] == point(~MODEL.abstain) and 0 < found["abstain"]["avoided"] < wrong.sum()
    middle = next(line for line in found["thresholds"] if line["threshold"] == 0.7)
    assert middle == {"threshold": 0.7} | point(MODEL.confidence >= 0.7)
    order = np.argsort(-MODEL.confidence, kind="stable")
    risk = np.cumsum(wrong[order]) / np.arange(1, COUNT + 1)
    assert found["area"]["value"] == pytest.approx(risk.mean())


def test_reliability_is_of_the_predicted_group(metrics: dict[str, Any]) -> None:
    """Fifteen bins of the confidence at most, each with the share of correct predictions."""
    right = MODEL.group == GROUPS
    bins = np.minimum((MODEL.confidence * 15).astype(int), 14)
    assert [point["count"] for point in metrics["reliability"]] == np.bincount(bins)[np.unique(bins)].tolist()
    assert [point["accuracy"] for point in metrics["reliability"]] == pytest.approx(
        [right[bins == b].mean() for b in np.unique(bins)]
    )


def test_without_neighbour_baseline_and_feature_the_figures_are_missing() -> None:
    """There is no comparison with the neighbour, no baseline, and no accuracy without near-duplicates."""
    found = compute_metrics(TESTED, {}, {}, {}, RUNGS[:1], 0.0)
    assert "accuracy_over_nearest_neighbour" not in found["overall"]
    assert all("f1_over_nearest_neighbour" not in block for block in found["groups"].values())
    assert found["baseline"] is None and found["slices"] == found["corruptions"] == []
    assert found["overall"]["accuracy_without_near_duplicates"] == {"value": None, "interval": [None, None]}
    assert (found["examples"], found["resamples"], found["level"]) == (COUNT, 400, 0.95)


def test_the_level_is_that_of_every_interval(metrics: dict[str, Any]) -> None:
    """At 50% the intervals of shares, of resampled figures and of changes are about a third as wide."""
    narrow = compute_metrics(replace(TESTED, level=0.5), FEATURES, SLICES, CORRUPTIONS, RUNGS, 0.0, BASELINE)
    assert narrow["level"] == 0.5
    for path in (
        ("overall", "accuracy"), ("overall", "log_loss"), ("overall", "macro_auc"), ("groups", "Bags", "coverage"),
        ("garments", "accuracy"), ("slices", 0, "accuracy"), ("baseline", "change", "accuracy"),
        ("groups", "Footwear", "f1"), ("selective", "abstain", "error"), ("ladder", 1, "accuracy"),
    ):  # fmt: skip
        widths = []
        for block in (narrow, metrics):
            for key in path:
                block = block[key]
            widths.append(block["interval"][1] - block["interval"][0])
        assert widths[0] / widths[1] == pytest.approx(0.344, abs=0.08), path
