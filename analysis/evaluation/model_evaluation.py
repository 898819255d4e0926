"""The content of `metrics.json`: every metric of a model on the test examples, each with its interval.

    overall           {metric: estimate}: accuracy, balanced_accuracy, macro_precision, macro_recall, macro_f1,
                      macro_auc, log_loss, calibration_error, coverage, abstention, accuracy_over_nearest_neighbour,
                      accuracy_without_near_duplicates: of the test examples without a near-duplicate in training
    groups            {group: {precision, recall, f1, auc, average_precision, coverage, f1_over_nearest_neighbour:
                      estimate, support: int}}
    garments          {accuracy: estimate, confusion_matrix: [[int]] in the order of `garment_names`, per_garment:
                      {garment: {accuracy, group_accuracy, precision, recall, f1: estimate, support: int}}}
    slices            [{feature, value, count, accuracy: estimate, log_loss: {value}}], by TFMA, with expected_accuracy:
                      that of the slice's garments if each were as accurate as in all slices
    corruptions       [{name, count, accuracy: estimate, log_loss: {value}}], by TFMA: test examples drawn at
                      random, clean ("none") and by every corruption of `corruptions` at `EVALUATED_SEVERITY`
    confusion_matrix  [[int]], truth down and prediction across, in the order of `group_names`
    reliability       [{confidence, accuracy, count}], the points of the reliability diagram
    curves            {group, roc: {false_positive_rate, recall, threshold}, precision_recall: {recall, precision,
                      threshold}}, lists of points, of the group with the lowest F1
    selective         {abstain: point, thresholds: [{threshold} | point], curve: {answered, error, threshold}, area},
                      a point being {answered, error: estimate, count, errors, abstained, avoided}: the share of
                      examples that get an answer, the error among these, and the counts of both
    most_confident_errors  [{source_id, garment, group, predicted_group, confidence}], in falling order
    ladder            [{name, accuracy, macro_f1, hardest_group_f1: estimate, hardest_group, seconds}], the model last
    baseline          null, or {overall: {metric: {value}}, change: {metric: estimate},
                      groups: {group: {metric: estimate of the change}}}
    comparison        a sentence: which model the baseline is, or why there is none
    test_examples     the SHA-256 of the test examples' sources and classes
    earlier_models, best_blessed  of `history`: the last ten blessed models, and the difference from the best of them
    examples, resamples, level, group_names, garment_names, versions

An estimate is `{"value": v, "interval": [low, high]}`; what is not defined on these examples is null. A change is
candidate minus baseline, paired. The calibration error is corrected for its bias, which its interval would not contain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation import bootstrap, selective
from analysis.evaluation import metrics as group_metrics
from analysis.evaluation.curves import average_precisions, precision_recall_curve, roc_curve
from analysis.evaluation.ladder import Rung
from analysis.evaluation.predictions import Predictions
from analysis.evaluation.tfma import OVERALL, Slice, SliceMetrics
from models.taxonomy import Taxonomy

Classes = npt.NDArray[np.int64]
Block = dict[str, Any]

NEAREST_NEIGHBOUR = "1-nearest neighbour"
MODEL = "model"
WITHOUT_NEAR_DUPLICATES = "accuracy_without_near_duplicates"
ALL = slice(None)


@dataclass(frozen=True)
class TestedModel:
    """The predictions of a model with the true classes, and how its intervals are computed.

    Attributes:
        garments: int64 [N], the garment of each test example.
        predictions: The model's.
        taxonomy: Which garments make which group.
        seed: Of the resamples.
        resamples: How many.
        level: Of the intervals.
    """

    garments: Classes
    predictions: Predictions
    taxonomy: Taxonomy
    seed: int = 0
    resamples: int = 2000
    level: float = 0.95

    @property
    def groups(self) -> Classes:
        """The group of each test example, int64 [N]."""
        return np.array(self.taxonomy.group_of, np.int64)[self.garments]

    @property
    def confusion(self) -> Classes:
        """The confusion matrix of the groups, truth down."""
        return bootstrap.confusion(self.groups, self.predictions.group, len(self.taxonomy.groups))

    def of_confusion(self, metrics: Mapping[str, group_metrics.Metric], counts: Classes) -> Block:
        """Estimates figures of a confusion matrix, as JSON."""
        found = bootstrap.from_confusion(metrics, counts, self.resamples, self.seed, self.level)
        return {name: value.to_json() for name, value in found.items()}


def compute_metrics(
    tested: TestedModel,
    features: Mapping[str, npt.NDArray[Any]],
    slices: Mapping[Slice, SliceMetrics],
    corruptions: Mapping[Slice, SliceMetrics],
    rungs: Sequence[Rung],
    model_seconds: float,
    baseline: Predictions | None = None,
) -> Block:
    """Returns the content of `metrics.json` but for the errors, the versions and the earlier models.

    Args:
        tested: The test examples and the model's predictions.
        features: Columns [N] of the test examples, those that the slices are of among them.
        slices: TFMA's figures.
        corruptions: TFMA's figures of corrupted examples, sliced by the corruption's name; empty for none.
        rungs: The ladder; without 1-nearest neighbour there is no figure `..._over_nearest_neighbour`.
        model_seconds: How long the model's predictions took, for its own rung.
        baseline: The predictions of the last blessed model for the same examples. Defaults to none.
    """
    areas = _areas(tested)
    alone = _without_near_duplicates(features, len(tested.garments))
    nearest = next((rung.predicted for rung in rungs if rung.name == NEAREST_NEIGHBOUR), None)
    return {
        "overall": _overall(tested, areas, nearest) | _accuracy_of(tested, alone),
        "groups": _groups(tested, areas, nearest),
        "garments": _garments(tested),
        "slices": [
            {"feature": feature, "value": value}
            | _of_slice(tested, metrics)
            | {"expected_accuracy": _expected_accuracy(tested, features[feature].astype(str) == value)}
            for (feature, value), metrics in slices.items()
            if (feature, value) != OVERALL
        ],
        "corruptions": [
            {"name": name} | _of_slice(tested, metrics)
            for (feature, name), metrics in corruptions.items()
            if (feature, name) != OVERALL
        ],
        "confusion_matrix": tested.confusion.tolist(),
        "reliability": _reliability(tested),
        "curves": _curves(tested),
        "selective": _selective(tested),
        "ladder": _ladder(tested, [*rungs, Rung(MODEL, tested.predictions.group, model_seconds)]),
        "baseline": None if baseline is None else _baseline(tested, baseline, alone),
        "examples": len(tested.garments),
        "resamples": tested.resamples,
        "level": tested.level,
        "group_names": list(tested.taxonomy.groups),
        "garment_names": list(tested.taxonomy.garments),
    }


def _overall(tested: TestedModel, areas: Sequence[bootstrap.Estimate], nearest: Classes | None) -> Block:
    predictions, groups = tested.predictions, tested.groups
    covered = predictions.prediction_set[np.arange(len(groups)), groups]
    values = np.stack(
        [group_metrics.log_losses(groups, predictions.group_probabilities), covered, predictions.abstain], 1
    )
    calibration = group_metrics.calibration_error(predictions.group == groups, predictions.confidence)

    def figures(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.column_stack([weights @ values / len(values), calibration(weights)])

    names = ("log_loss", "coverage", "abstention", "calibration_error")
    found = bootstrap.from_examples(
        figures, len(groups), tested.resamples, tested.seed, tested.level, {names.index("calibration_error")}
    )
    estimates = dict(zip(names, found, strict=True)) | {"macro_auc": areas[-1]}
    block = tested.of_confusion(group_metrics.OVERALL, tested.confusion) | {
        n: e.to_json() for n, e in estimates.items()
    }
    if nearest is not None:
        block["accuracy_over_nearest_neighbour"] = _change(tested, group_metrics.accuracy, nearest)
    return block


def _areas(tested: TestedModel) -> list[bootstrap.Estimate]:
    """Estimates the area under the ROC curve of each group, the average precision of each, and last the mean area."""
    probabilities = tested.predictions.group_probabilities
    areas = group_metrics.areas_under_curve(tested.groups, probabilities)
    precisions = average_precisions(tested.groups, probabilities)

    def with_mean(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = areas(weights)
        return np.column_stack([values, precisions(weights), group_metrics.mean_of_defined(values)])

    # Each resample sorts nothing but gathers 10,000 weights a group: 1,000 of them are enough for this interval.
    return bootstrap.from_examples(
        with_mean, len(tested.garments), min(tested.resamples, 1000), tested.seed, tested.level
    )


def _groups(tested: TestedModel, areas: Sequence[bootstrap.Estimate], nearest: Classes | None) -> Block:
    block = {}
    for index, name in enumerate(tested.taxonomy.groups):
        chosen = tested.groups == index
        covered = int(tested.predictions.prediction_set[chosen, index].sum())
        block[name] = tested.of_confusion(_of_class(index), tested.confusion)
        block[name] |= {"auc": areas[index].to_json()}
        block[name] |= {"average_precision": areas[len(tested.taxonomy.groups) + index].to_json()}
        block[name] |= {"coverage": _share(tested, covered, int(chosen.sum()))}
        if nearest is not None:
            f1 = group_metrics.of_class(group_metrics.f1, index)
            block[name]["f1_over_nearest_neighbour"] = _change(tested, f1, nearest)
        block[name]["support"] = int(chosen.sum())
    return block


def _garments(tested: TestedModel) -> Block:
    """The confusion matrix, the figures of each garment, and the accuracy of the group predicted for it."""
    classes = len(tested.taxonomy.garments)
    counts = bootstrap.confusion(tested.garments, tested.predictions.garment, classes)
    per_garment = {}
    for garment, name in enumerate(tested.taxonomy.garments):
        chosen = tested.garments == garment
        right = (tested.predictions.group == tested.groups)[chosen]
        per_garment[name] = {
            "accuracy": _share(tested, int(counts[garment, garment]), int(chosen.sum())),
            "group_accuracy": _share(tested, int(right.sum()), int(chosen.sum())),
            **tested.of_confusion(_of_class(garment), counts),
            "support": int(chosen.sum()),
        }
    overall = _share(tested, int(np.trace(counts)), int(counts.sum()))
    return {"accuracy": overall, "confusion_matrix": counts.tolist(), "per_garment": per_garment}


def _of_class(index: int) -> dict[str, group_metrics.Metric]:
    """Returns precision, recall and F1 of one class of a confusion matrix."""
    return {name: group_metrics.of_class(metric, index) for name, metric in group_metrics.PER_CLASS.items()}


def _of_slice(tested: TestedModel, metrics: SliceMetrics) -> Block:
    accuracy = _share(tested, int(np.trace(metrics.confusion)), metrics.count)
    return {"count": metrics.count, "accuracy": accuracy, "log_loss": {"value": metrics.log_loss}}


def _expected_accuracy(tested: TestedModel, chosen: npt.NDArray[np.bool_]) -> float:
    """Returns the accuracy that examples would have if those of each garment were as accurate as all of that garment.

    A slice that is less accurate than this is hard for another reason than its garments.
    """
    correct = (tested.predictions.group == tested.groups).astype(np.float64)
    by_garment = np.bincount(tested.garments, correct) / np.maximum(np.bincount(tested.garments), 1)
    return float(by_garment[tested.garments[chosen]].mean())


def _share(tested: TestedModel, hits: int, count: int) -> Block:
    """A share with Wilson's interval (1927); every resample of a slice without errors would have none either."""
    if not count:
        return bootstrap.Estimate(float("nan"), float("nan"), float("nan")).to_json()
    low, high = group_metrics.wilson_interval(hits, count, tested.level)
    return bootstrap.Estimate(hits / count, float(low), float(high)).to_json()


def _without_near_duplicates(features: Mapping[str, npt.NDArray[Any]], count: int) -> npt.NDArray[np.bool_]:
    """Returns which examples are known to have no near-duplicate in training, bool [count]."""
    known = features.get("has_near_duplicate")
    return np.zeros(count, bool) if known is None else known.astype(str) == "no"


def _accuracy_of(tested: TestedModel, chosen: npt.NDArray[np.bool_]) -> Block:
    counts = bootstrap.confusion(tested.groups[chosen], tested.predictions.group[chosen], len(tested.taxonomy.groups))
    return tested.of_confusion({WITHOUT_NEAR_DUPLICATES: group_metrics.accuracy}, counts)


def _change(
    tested: TestedModel, metric: group_metrics.Metric, other: Classes, chosen: npt.NDArray[np.bool_] | slice = ALL
) -> Block:
    groups, answers, others = tested.groups[chosen], tested.predictions.group[chosen], other[chosen]
    settings = (len(tested.taxonomy.groups), tested.resamples, tested.seed, tested.level)
    return bootstrap.paired_difference(metric, groups, answers, others, *settings).to_json()


def _change_of_abstention(tested: TestedModel, baseline: Predictions) -> Block:
    """Returns the change as that of the wrong answers to "does the model answer?", for which the truth is yes."""
    answers, others = (predictions.abstain.astype(np.int64) for predictions in (tested.predictions, baseline))
    return bootstrap.paired_difference(
        lambda counts: 1 - group_metrics.accuracy(counts),
        np.zeros_like(answers), answers, others, 2, tested.resamples, tested.seed, tested.level,
    ).to_json()  # fmt: skip


def _reliability(tested: TestedModel) -> list[Block]:
    right = tested.predictions.group == tested.groups
    return [dict(point) for point in group_metrics.reliability(right, tested.predictions.confidence)]


def _curves(tested: TestedModel) -> Block:
    group = hardest_group(tested)
    positive, scores = tested.groups == group, tested.predictions.group_probabilities[:, group]
    return {
        "group": tested.taxonomy.groups[group],
        "roc": roc_curve(positive, scores),
        "precision_recall": precision_recall_curve(positive, scores),
    }


def _selective(tested: TestedModel) -> Block:
    confidence, correct = tested.predictions.confidence, tested.predictions.group == tested.groups
    rule = selective.operating_point(~tested.predictions.abstain, correct)
    return {
        "abstain": _of_point(tested, rule),
        "thresholds": [
            {"threshold": threshold} | _of_point(tested, point)
            for threshold, point in selective.operating_points(confidence, correct)
        ],
        "curve": selective.thinned_risk_coverage(confidence, correct),
        "area": {"value": selective.risk_coverage(confidence, correct).area},
    }


def _of_point(tested: TestedModel, point: selective.OperatingPoint) -> Block:
    return {
        "answered": _share(tested, point.answered, point.answered + point.abstained),
        "error": _share(tested, point.errors, point.answered),
        "count": point.answered,
        "errors": point.errors,
        "abstained": point.abstained,
        "avoided": point.avoided,
    }


def _ladder(tested: TestedModel, rungs: Sequence[Rung]) -> list[Block]:
    hardest = hardest_group(tested)
    metrics = {
        "accuracy": group_metrics.accuracy,
        "macro_f1": group_metrics.macro_f1,
        "hardest_group_f1": group_metrics.of_class(group_metrics.f1, hardest),
    }
    classes = len(tested.taxonomy.groups)
    return [
        tested.of_confusion(metrics, bootstrap.confusion(tested.groups, rung.predicted, classes))
        | {"name": rung.name, "hardest_group": tested.taxonomy.groups[hardest], "seconds": round(rung.seconds, 2)}
        for rung in rungs
    ]


def hardest_group(tested: TestedModel) -> int:
    """Returns the index of the group on which the model's F1 is lowest."""
    return int(np.nanargmin(group_metrics.f1(tested.confusion)))


def _baseline(tested: TestedModel, baseline: Predictions, alone: npt.NDArray[np.bool_]) -> Block:
    counts = bootstrap.confusion(tested.groups, baseline.group, len(tested.taxonomy.groups))
    overall: Block = {name: {"value": float(metric(counts))} for name, metric in group_metrics.OVERALL.items()}
    change = {name: _change(tested, metric, baseline.group) for name, metric in group_metrics.OVERALL.items()}
    right = (baseline.group == tested.groups)[alone]
    overall[WITHOUT_NEAR_DUPLICATES] = {"value": float(right.mean()) if len(right) else None}
    change[WITHOUT_NEAR_DUPLICATES] = _change(tested, group_metrics.accuracy, baseline.group, alone)
    overall["abstention"] = {"value": float(baseline.abstain.mean())}
    change["abstention"] = _change_of_abstention(tested, baseline)
    groups = {
        group: {name: _change(tested, metric, baseline.group) for name, metric in _of_class(index).items()}
        for index, group in enumerate(tested.taxonomy.groups)
    }
    return {"overall": overall, "change": change, "groups": groups}
