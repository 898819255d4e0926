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
from analysis.pages import figures as style

Probabilities = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 1000
SEED = 0


def accuracy_without(data: Data, suspects: Indices, answers: Mapping[str, Indices]) -> pd.DataFrame:
    """Returns each model's accuracy on the groups of the test images, and without the suspects among them.

    It is circular: what networks find odd is left out, and what is odd to one model is hard for another. Two other
    figures say how much so: leaving as many out by chance (hypergeometric), and as many of the model's own errors.
    """
    truth, kept = data.groups[data.test_rows], ~np.isin(data.test_rows, suspects)
    left_out, remain = int((~kept).sum()), max(int(kept.sum()), 1)
    rows = []
    for model, groups in answers.items():
        right = groups == truth
        accuracy = right.mean()
        spread = np.sqrt(accuracy * (1 - accuracy) / remain * left_out / max(len(right) - 1, 1))
        at_most = right.sum() / max(remain, right.sum())
        rows.append((model, accuracy, right[kept].mean(), accuracy, spread, at_most, int((~right[~kept]).sum())))
    columns = ["model", "official", "without", "random", "random_sd", "at_most", "suspects_wrong"]
    return pd.DataFrame(rows, columns=columns)


def noise_estimates(data: Data, probabilities: Probabilities, groups: Indices) -> pd.DataFrame:
    """Estimates in three ways the share of images whose given group is wrong, with 95% intervals."""
    joint, unsure, twins = _joint_noise(groups, probabilities), _expected_error(probabilities), _duplicate_noise(data)
    rows = [
        (
            "confident joint",
            joint,
            "whatever the networks are sure of is right: their own sure errors count as wrong garments",
        ),
        (
            "near-duplicates that disagree",
            twins,
            "two pictures nearly the same show one article, each is given wrongly independently of the other, and "
            "images that have near-duplicates, which are plain ones, are given wrongly as often as others",
        ),
        (
            "what the networks leave open",
            unsure,
            "the networks are as good as a model can be: what they do not know nobody can",
        ),
    ]
    return pd.DataFrame(
        [(name, e.value, e.low, e.high, assumes) for name, e, assumes in rows],
        columns=["estimate", "share", "low", "high", "assumes"],
    )


def _joint_noise(groups: Indices, probabilities: Probabilities) -> Estimate:
    """Returns the mass of the estimated joint distribution of given and true groups that is off the diagonal."""
    from cleanlab.count import compute_confident_joint

    counts = np.asarray(compute_confident_joint(groups, probabilities, calibrate=False), np.int64)
    shares = np.bincount(groups, minlength=len(counts)) / len(groups)

    def off_diagonal(joint: Counts) -> Probabilities:
        of_class = joint / np.maximum(joint.sum(axis=-1, keepdims=True), 1)
        return 1 - (np.diagonal(of_class, axis1=-2, axis2=-1) * shares).sum(axis=-1)

    return from_confusion({"noise": off_diagonal}, counts, RESAMPLES, SEED)["noise"]


def _expected_error(probabilities: Probabilities) -> Estimate:
    """Returns the mean probability that the most probable group is wrong: the Bayes error, were they the true ones."""
    unsure = 1 - probabilities.max(axis=1)
    error = 1.96 * unsure.std() / np.sqrt(len(unsure))
    return Estimate(float(unsure.mean()), float(unsure.mean() - error), float(unsure.mean() + error))


def _duplicate_noise(data: Data) -> Estimate:
    """Returns half the share of near-duplicate clusters whose first two images are of different groups.

    Two garments given wrongly with probability e each, independently, disagree with probability of about 2e. One pair a
    cluster keeps the pairs independent, as Wilson's interval wants them.
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
    """Returns the paragraph on the ceiling that label noise sets, as Markdown."""
    known = noise[noise["share"].notna()]
    told = "; ".join(f"{r.estimate} {r.share:.2%} [{r.low:.2%}, {r.high:.2%}]" for r in known.itertuples())
    best = excluded.iloc[int(excluded["official"].argmax())]
    refuted = known[1 - known["low"].astype(float) < best["official"]]["estimate"]
    above = (
        f" {best['model']}, measured at {best['official']:.2%}, is above what {' and '.join(refuted)} would allow: "
        "that assumption is refuted."
        if len(refuted)
        else ""
    )
    return (
        f"**The ceiling.** How many groups are given wrongly in truth can only be estimated: {told}. Each rests on an "
        "assumption that fails in a known direction (the table says which), and the intervals hold chance alone, not "
        f"that. A model without a fault would be measured at between {1 - known['share'].max():.1%} and "
        f"{1 - known['share'].min():.1%} on the groups.{above}"
    )


def without_text(excluded: pd.DataFrame, suspects: int) -> str:
    """Returns the paragraph on the accuracy without `suspects` suspected test images, as Markdown."""
    table = excluded.sort_values("official", ascending=False)
    told = "; ".join(f"{r.model} {r.official:.2%} becomes {r.without:.2%}" for r in table.itertuples())
    judges = ", ".join(f"{r.model} on {r.suspects_wrong} of {suspects}" for r in table.itertuples())
    best = table.iloc[0]
    return (
        f"**Without the suspects.** Leaving {suspects:,} suspects out of the test set lifts the models: {told}. "
        f"Leaving as many out by chance changes nothing ({best['model']} {best['random']:.2%} ± "
        f"{best['random_sd']:.2%}), and no choice of as many could lift {best['model']} above {best['at_most']:.2%}. "
        "It is circular: the suspects are images that networks get wrong. Less circular is what models say that took "
        f"no part in the search. Wrong on the suspects are {judges}. The official accuracy is the only one that we "
        "report as such."
    )


def _removed_error(row: pd.Series) -> float:
    """Returns the share of a model's error rate that goes with the suspects."""
    return float(1 - (1 - row["without"]) / max(1 - row["official"], 1e-9))


def ceiling_figure(noise: pd.DataFrame, excluded: pd.DataFrame) -> go.Figure:
    """Returns the estimated ceilings beside the accuracies of the models."""
    made = style.figure("group accuracy (%)", height=120 + 36 * (len(noise) + len(excluded)))
    noise = noise[noise["share"].notna()]
    made.add_scatter(
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
    made.add_scatter(
        x=(100 * models["official"]).round(3).tolist(),
        y=models["model"].tolist(),
        mode="markers",
        name="model, official test split",
        marker={"color": style.NEUTRAL, "size": 10},
        hovertemplate="%{y}: %{x:.2f}%",
    )
    made.update_yaxes(autorange="reversed")
    return made


def noise_table(noise: pd.DataFrame) -> pd.DataFrame:
    """Returns the estimates of the label noise as text."""
    table = noise.copy()
    figures = 100 * table[["share", "low", "high"]].to_numpy(np.float64)
    table["groups given wrongly (%)"] = [f"{share:.2f} [{low:.2f}, {high:.2f}]" for share, low, high in figures]
    return table[["estimate", "groups given wrongly (%)", "assumes"]]


def without_table(excluded: pd.DataFrame) -> pd.DataFrame:
    """Returns the accuracies with and without suspected test images as text."""
    table = excluded.sort_values("official", ascending=False)
    columns = {
        "official": "official",
        "without": "without suspects",
        "random": "without as many at random",
        "at_most": "without as many of its errors",
    }
    shown = pd.DataFrame(
        {"model": table["model"]} | {new: table[old].map("{:.2%}".format) for old, new in columns.items()}
    )
    shown["suspects it gets wrong"] = table["suspects_wrong"]
    shown["errors that go (%)"] = [round(100 * _removed_error(row)) for _, row in table.iterrows()]
    return shown
