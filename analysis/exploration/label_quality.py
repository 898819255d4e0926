"""Which garments are probably given wrongly, how many of them change the group, and how good any model can look.

Confident learning: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021
(https://jair.org/index.php/jair/article/view/12125), by its authors' library cleanlab, over probabilities that networks
give to images that they were not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.bootstrap import Estimate, from_confusion
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.planted_swaps import Planted, plant
from analysis.exploration.shares import wilson
from analysis.exploration.suspects import Suspects, find_suspects
from models.probabilities import fit_temperature, softmax

Probabilities = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 1000
SEED = 0


@dataclass(frozen=True)
class LabelQuality:
    """What confident learning says of both splits.

    Attributes:
        temperature: By which the networks' logits were divided to make their probabilities honest.
        train_garments: Suspects of the training split, as one of the garments.
        train_groups: The same, as one of the groups.
        test_garments: Suspects of the test split, by the mean of the networks' probabilities.
        test_groups: The same, as one of the groups.
        by_garment: One row a garment, of the training split: garment, group, images, suspects, across (suspects whose
            suggested garment is of another group), group_suspects, suggested (the garment named most often).
        flow: int64 [garments, garments], training suspects, the given garment down, the suggested across.
        noise: One row an estimate of the share of test images whose given group is wrong: estimate, share, low, high,
            assumes. One minus it is the accuracy that a faultless model would be measured at.
        excluded: One row a model: model, official, without (accuracy on the test images that are no group suspects),
            random (the mean when as many are left out by chance), random_sd, at_most (when as many of the model's own
            errors are left out), suspects_wrong (how many suspects the model gets wrong).
        planted: How many of garments swapped on purpose are found.
        out_of_fold: float64 [2], the share of garments and of groups that the networks get right out of fold.
        tested: How many test images there are.
    """

    temperature: float
    train_garments: Suspects
    train_groups: Suspects
    test_garments: Suspects
    test_groups: Suspects
    by_garment: pd.DataFrame
    flow: Counts
    noise: pd.DataFrame
    excluded: pd.DataFrame
    planted: tuple[Planted, ...]
    out_of_fold: Probabilities
    tested: int

    @property
    def group_suspects(self) -> Indices:
        """The rows of Data suspected of a wrong group, of both splits, int64 ascending."""
        return np.sort(np.concatenate([self.train_groups.rows, self.test_groups.rows]))


def measure(data: Data, out_of_fold: OutOfFold, answers: Mapping[str, Indices]) -> LabelQuality:
    """Looks for wrong garments and groups in both splits.

    Args:
        data: The images.
        out_of_fold: The networks' answers.
        answers: For each model, the groups int64 [n_test] that it gives the test images.
    """
    membership = np.array(data.taxonomy.membership())
    given, test_given = data.garments[data.train_rows], data.garments[data.test_rows]
    temperature = fit_temperature(out_of_fold.logits[-1], given)
    train = softmax(out_of_fold.logits[-1] / temperature)
    test = np.mean([softmax(logits / temperature) for logits in out_of_fold.test_logits], axis=0)
    groups, test_groups = data.groups[data.train_rows], data.groups[data.test_rows]
    garment_suspects = find_suspects(given, train, data.train_rows)
    group_suspects = find_suspects(groups, train @ membership, data.train_rows)
    in_test = find_suspects(test_groups, test @ membership, data.test_rows)
    flow = np.zeros((len(membership), len(membership)), np.int64)
    np.add.at(flow, (data.garments[garment_suspects.rows], garment_suspects.suggested), 1)
    right = (train.argmax(axis=1) == given).mean(), ((train @ membership).argmax(axis=1) == groups).mean()
    return LabelQuality(
        temperature=temperature,
        train_garments=garment_suspects,
        train_groups=group_suspects,
        test_garments=find_suspects(test_given, test, data.test_rows),
        test_groups=in_test,
        by_garment=_by_garment(data, garment_suspects, group_suspects, flow),
        flow=flow,
        noise=noise_estimates(data, train @ membership, groups),
        excluded=excluding(data, in_test.rows, answers),
        planted=plant(data, out_of_fold),
        out_of_fold=np.array(right),
        tested=len(data.test_rows),
    )


def excluding(data: Data, suspects: Indices, answers: Mapping[str, Indices]) -> pd.DataFrame:
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
    joint, unsure, twins = _joint_noise(groups, probabilities), _expected_error(probabilities), _twin_noise(data)
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


def _twin_noise(data: Data) -> Estimate:
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
    low, high = wilson(disagree, len(pairs))
    return Estimate(disagree / len(pairs) / 2, max(float(low), 0.0) / 2, float(high) / 2)


def _by_garment(data: Data, garments: Suspects, groups: Suspects, flow: Counts) -> pd.DataFrame:
    taxonomy, group_of = data.taxonomy, np.array(data.taxonomy.group_of)
    across = np.where(group_of[:, None] != group_of[None], flow, 0).sum(axis=1)
    count = len(group_of)
    return pd.DataFrame(
        {
            "garment": taxonomy.garments,
            "group": [taxonomy.groups[group] for group in group_of],
            "images": np.bincount(data.garments[data.train_rows], minlength=count),
            "suspects": np.bincount(data.garments[garments.rows], minlength=count),
            "across": across,
            "group_suspects": np.bincount(data.garments[groups.rows], minlength=count),
            "suggested": [taxonomy.garments[row.argmax()] if row.any() else "" for row in flow],
        }
    )
