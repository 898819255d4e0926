"""Estimates of the label noise of the groups, the ceiling that it sets, and accuracy without suspected errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from analysis.evaluation.bootstrap import Estimate, from_confusion
from analysis.evaluation.metrics import wilson_interval
from analysis.exploration.data import Data, Indices
from analysis.pages import figure_style as style

Probabilities = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 1000
SEED = 0


def accuracy_without(data: Data, suspected: Indices, predictions: Mapping[str, Indices]) -> pd.DataFrame:
    """Returns each model's accuracy on the groups of the test images, with and without suspected label errors.

    It is circular: networks name the images to exclude, and images that are hard for one model are hard for another.
    Two other figures show the size of this effect: excluding as many images at random (hypergeometric), and as many of
    the model's own errors.

    Args:
        data: The images.
        suspected: int64, rows of Data suspected of a wrong group.
        predictions: For each model, the predicted groups of the test images, int64 [n_test].

    Returns:
        A row for each model: model, official, without (accuracy without suspected images), random (mean without as many
        random images), random_sd, at_most (without as many of the model's own errors), suspected_misclassified.
    """
    truth, included = data.groups[data.test_rows], ~np.isin(data.test_rows, suspected)
    excluded, remain = int((~included).sum()), max(int(included.sum()), 1)
    rows = []
    for model, groups in predictions.items():
        right = groups == truth
        accuracy = right.mean()
        spread = np.sqrt(accuracy * (1 - accuracy) / remain * excluded / max(len(right) - 1, 1))
        at_most = right.sum() / max(remain, right.sum())
        rows.append(
            (model, accuracy, right[included].mean(), accuracy, spread, at_most, int((~right[~included]).sum()))
        )
    columns = ["model", "official", "without", "random", "random_sd", "at_most", "suspected_misclassified"]
    return pd.DataFrame(rows, columns=columns)


def noise_estimates(data: Data, probabilities: Probabilities, groups: Indices) -> pd.DataFrame:
    """Estimates the share of images with a wrong group by three methods, with 95% intervals.

    Args:
        data: The images.
        probabilities: [n_train, groups], of networks that were not trained on the image.
        groups: int64 [n_train], the labelled groups.

    Returns:
        A row for each method: estimate, share, low, high, assumes.
    """
    joint, unsure, duplicates = (
        _joint_noise(groups, probabilities),
        _expected_error(probabilities),
        _duplicate_noise(data),
    )
    rows = [
        (
            "confident joint",
            joint,
            "the networks are right where they are certain: their own certain errors count as label errors",
        ),
        (
            "near-duplicates that disagree",
            duplicates,
            "near-duplicates show one article, their labels are wrong independently of each other, and images with "
            "near-duplicates, which are plain ones, are labelled wrongly as often as others",
        ),
        (
            "uncertainty of the networks",
            unsure,
            "the networks are as good as a model can be: no model can resolve their uncertainty",
        ),
    ]
    return pd.DataFrame(
        [(name, e.value, e.low, e.high, assumes) for name, e, assumes in rows],
        columns=["estimate", "share", "low", "high", "assumes"],
    )


def _joint_noise(groups: Indices, probabilities: Probabilities) -> Estimate:
    """Returns the off-diagonal mass of the estimated joint distribution of labelled and true groups."""
    from cleanlab.count import compute_confident_joint

    counts = np.asarray(compute_confident_joint(groups, probabilities, calibrate=False), np.int64)
    shares = np.bincount(groups, minlength=len(counts)) / len(groups)

    def off_diagonal(joint: Counts) -> Probabilities:
        of_class = joint / np.maximum(joint.sum(axis=-1, keepdims=True), 1)
        return 1 - (np.diagonal(of_class, axis1=-2, axis2=-1) * shares).sum(axis=-1)

    return from_confusion({"noise": off_diagonal}, counts, RESAMPLES, SEED)["noise"]


def _expected_error(probabilities: Probabilities) -> Estimate:
    """Returns the mean probability that the most probable group is wrong: the Bayes error if they were true."""
    unsure = 1 - probabilities.max(axis=1)
    error = 1.96 * unsure.std() / np.sqrt(len(unsure))
    return Estimate(float(unsure.mean()), float(unsure.mean() - error), float(unsure.mean() + error))


def _duplicate_noise(data: Data) -> Estimate:
    """Returns half the share of near-duplicate clusters whose first two images have different groups.

    Two labels that are wrong independently, with probability e each, disagree with a probability of about 2e. One pair
    for each cluster keeps the pairs independent, as Wilson's interval requires.
    """
    rows = data.train_rows[data.clusters[data.train_rows] >= 0]
    rows = rows[np.argsort(data.clusters[rows], kind="stable")]
    pairs = np.flatnonzero(np.diff(data.clusters[rows], prepend=-1))
    pairs = pairs[pairs + 1 < len(rows)]
    pairs = pairs[data.clusters[rows[pairs]] == data.clusters[rows[pairs + 1]]]
    if not len(pairs):
        return Estimate(float("nan"), float("nan"), float("nan"))
    disagree = int((data.groups[rows[pairs]] != data.groups[rows[pairs + 1]]).sum())
    low, high = wilson_interval(disagree, len(pairs))
    return Estimate(disagree / len(pairs) / 2, max(float(low), 0.0) / 2, float(high) / 2)


def ceiling_text(noise: pd.DataFrame, excluded: pd.DataFrame) -> str:
    """Returns the paragraph on the ceiling from label noise, as Markdown.

    Args:
        noise: As `noise_estimates` returns it.
        excluded: As `accuracy_without` returns it.
    """
    known = noise[noise["share"].notna()]
    estimates = "; ".join(f"{r.estimate} {r.share:.2%} [{r.low:.2%}, {r.high:.2%}]" for r in known.itertuples())
    best = excluded.iloc[int(excluded["official"].argmax())]
    refuted = known[1 - known["low"].astype(float) < best["official"]]["estimate"]
    above = (
        f" {best['model']}, with an accuracy of {best['official']:.2%}, exceeds the ceiling "
        f"estimated from {' and '.join(refuted)}: that assumption is refuted."
        if len(refuted)
        else ""
    )
    return (
        f"**Ceiling from label noise.** The share of wrong groups can only be estimated: {estimates}. Each estimate "
        "rests on an assumption that fails in a known direction (the table names it). The intervals cover chance "
        f"alone. The ceiling of the accuracy on the groups is between {1 - known['share'].max():.1%} and "
        f"{1 - known['share'].min():.1%}.{above}"
    )


def without_text(excluded: pd.DataFrame, suspected: int) -> str:
    """Returns the paragraph on the accuracy without suspected label errors, as Markdown.

    Args:
        excluded: As `accuracy_without` returns it.
        suspected: The number of suspected test images.
    """
    table = excluded.sort_values("official", ascending=False)
    changes = "; ".join(f"{r.model} from {r.official:.2%} to {r.without:.2%}" for r in table.itertuples())
    misclassified = ", ".join(f"{r.model} {r.suspected_misclassified} of {suspected}" for r in table.itertuples())
    best = table.iloc[0]
    return (
        f"**Accuracy without suspected label errors.** Excluding {suspected:,} suspected test images raises the "
        f"accuracy: {changes}. Excluding as many at random changes nothing ({best['model']} {best['random']:.2%} ± "
        f"{best['random_sd']:.2%}), and no choice of as many can raise {best['model']} above {best['at_most']:.2%}. "
        "The comparison is circular, because networks name the suspected images and misclassify them. Predictions of "
        "models outside the search are less circular. The models misclassify these suspected images: "
        f"{misclassified}. The official accuracy is the only one that we report."
    )


def _removed_error(row: pd.Series) -> float:
    """Returns the share of a model's error rate that the suspected images account for."""
    return float(1 - (1 - row["without"]) / max(1 - row["official"], 1e-9))


def ceiling_figure(noise: pd.DataFrame, excluded: pd.DataFrame) -> go.Figure:
    """Returns the figure of the estimated ceilings and the accuracies of the models."""
    figure = style.figure("group accuracy (%)", height=120 + 36 * (len(noise) + len(excluded)))
    noise = noise[noise["share"].notna()]
    figure.add_scatter(
        x=(100 * (1 - noise["share"])).round(3).tolist(),
        y=noise["estimate"].tolist(),
        error_x={
            "array": (100 * (noise["share"] - noise["low"])).round(3).tolist(),
            "arrayminus": (100 * (noise["high"] - noise["share"])).round(3).tolist(),
        },
        mode="markers",
        name="ceiling, estimated",
        marker={"color": style.TEST, "size": 10, "symbol": "diamond"},
        hovertemplate="%{y}: %{x:.2f}%",
    )
    models = excluded.sort_values("official", ascending=False)
    models = models[models["official"] > 1 - 4 * (1 - models["official"].max())]
    figure.add_scatter(
        x=(100 * models["official"]).round(3).tolist(),
        y=models["model"].tolist(),
        mode="markers",
        name="model, official test split",
        marker={"color": style.NEUTRAL, "size": 10},
        hovertemplate="%{y}: %{x:.2f}%",
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def noise_table(noise: pd.DataFrame) -> pd.DataFrame:
    """Returns the estimates of the label noise as text."""
    table = noise.copy()
    figures = 100 * table[["share", "low", "high"]].to_numpy(np.float64)
    table["wrong groups (%)"] = [
        "no near-duplicates" if np.isnan(share) else f"{share:.2f} [{low:.2f}, {high:.2f}]"
        for share, low, high in figures
    ]
    return table[["estimate", "wrong groups (%)", "assumes"]]


def without_table(excluded: pd.DataFrame) -> pd.DataFrame:
    """Returns the accuracies with and without suspected test images as text."""
    table = excluded.sort_values("official", ascending=False)
    columns = {
        "official": "official",
        "without": "without suspected errors",
        "random": "without as many at random",
        "at_most": "without as many of its errors",
    }
    as_text = pd.DataFrame(
        {"model": table["model"]} | {new: table[old].map("{:.2%}".format) for old, new in columns.items()}
    )
    as_text["suspected errors misclassified"] = table["suspected_misclassified"]
    as_text["share of its errors (%)"] = [round(100 * _removed_error(row)) for _, row in table.iterrows()]
    return as_text
