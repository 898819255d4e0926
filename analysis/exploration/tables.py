"""The data, the predictions and the neighbours as tidy tables for a notebook: one row an image, or one row a pair.

Every table refers to an image by its row in `Data`, the index `image`, so tables are joined on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.metrics import macro_f1, wilson_interval
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data
from analysis.exploration.image_features import measure_features
from analysis.exploration.label_errors import find_suspected_errors, unseen_probabilities
from analysis.exploration.near_duplicates import NEAR
from analysis.exploration.neighbours import Neighbours
from pipeline.contract.errors import UserError

PROBABILITY = "probability: "
"""What the names of the probability columns of the Evaluator's `predictions.parquet` begin with."""


def image_table(data: Data, neighbours: Neighbours, out_of_fold: OutOfFold) -> pd.DataFrame:
    """Returns one row an image.

    Columns:
        split: "train" or "test", the official splits.
        source_id: The image's name, derived from its pixels.
        garment, group: The labelled classes.
        nearest_rmse: The root-mean-square pixel difference to the nearest training image, in [0, 1].
        near_duplicate: Whether that difference is at most 0.08.
        suspected_garment_error, suspected_group_error: Whether confident learning suspects the labelled class.
        suggested_garment, suggested_group: The most probable classes to networks that were not trained on the image.
        labelled_group_probability: The probability of the labelled group to these networks.
    """
    taxonomy, membership = data.taxonomy, np.array(data.taxonomy.membership())
    garments = unseen_probabilities(data, out_of_fold)
    groups = garments @ membership
    rows = np.arange(len(data))
    table = pd.DataFrame(
        {
            "split": pd.Categorical(np.where(data.test, "test", "train"), ["train", "test"]),
            "source_id": data.names,
            "garment": _names(data.garments, taxonomy.garments),
            "group": _names(data.groups, taxonomy.groups),
            "nearest_rmse": neighbours.rmse[:, 0],
            "near_duplicate": neighbours.rmse[:, 0] <= NEAR,
            "suspected_garment_error": False,
            "suspected_group_error": False,
            "suggested_garment": _names(garments.argmax(axis=1), taxonomy.garments),
            "suggested_group": _names(groups.argmax(axis=1), taxonomy.groups),
            "labelled_group_probability": groups[rows, data.groups],
        },
        index=pd.Index(rows, name="image"),
    )
    for split in (data.train_rows, data.test_rows):
        for name, labelled, probabilities in (("garment", data.garments, garments), ("group", data.groups, groups)):
            suspected = find_suspected_errors(labelled[split], probabilities[split], split).rows
            table.loc[suspected, f"suspected_{name}_error"] = True
    return table


def feature_table(data: Data) -> pd.DataFrame:
    """Returns one row an image and one column a measured feature, such as "brightness" or "foreground_coverage"."""
    features = measure_features(data.images).rename_axis(index="image")
    return features.rename(columns=lambda name: str(name).replace(" ", "_"))


def neighbour_table(data: Data, neighbours: Neighbours) -> pd.DataFrame:
    """Returns one row an image and rank: `image`, `rank` from 1, `neighbour`, `rmse`, and its `garment` and `group`.

    Neighbours are training images; an image is not its own neighbour.
    """
    count = neighbours.index.shape[1]
    neighbour = neighbours.index.ravel()
    return pd.DataFrame(
        {
            "image": np.repeat(np.arange(len(data)), count),
            "rank": np.tile(np.arange(1, count + 1), len(data)),
            "neighbour": neighbour,
            "rmse": neighbours.rmse.ravel(),
            "garment": _names(data.garments[neighbour], data.taxonomy.garments),
            "group": _names(data.groups[neighbour], data.taxonomy.groups),
        }
    )


def read_predictions(parquet: Path, images: pd.DataFrame) -> pd.DataFrame:
    """Reads the Evaluator's predictions for the test images.

    Args:
        parquet: The file `predictions.parquet`.
        images: As `image_table` returns it.

    Returns:
        One row a test image, with the index of `images`: the labelled `garment` and `group`, `predicted_garment`,
        `predicted_group`, `correct` (the group), `confidence`, `abstain`, and the probability of each group.

    Raises:
        UserError: The file is of other test images.
    """
    stored = pd.read_parquet(parquet).set_index("source_id")
    test = images.loc[images["split"] == "test", "source_id"]
    if set(test) != set(stored.index):
        raise UserError(
            "The exploration and the evaluation are of different test images.",
            expected=f"the {len(test):,} test images of the exploration",
            received=f"predictions for {len(stored):,} images, {len(set(test) & set(stored.index)):,} of them the same",
            next_step="fashion run, then fashion explore",
        )
    stored = stored.loc[test].set_index(test.index)
    probabilities = [column for column in map(str, stored.columns) if column.startswith(PROBABILITY)]
    table = pd.DataFrame(
        {
            column: stored[column].astype(images[column.removeprefix("predicted_")].dtype)
            for column in ("garment", "group", "predicted_garment", "predicted_group")
        }
    )
    table["correct"] = table["group"] == table["predicted_group"]
    return table.join(stored[["confidence", "abstain", *probabilities]])


def accuracy_table(correct: pd.Series[bool], by: pd.Series[str]) -> pd.DataFrame:
    """Returns `images`, `errors`, `accuracy` and its 95% Wilson interval (`low`, `high`) for each value of `by`."""
    counts = correct.groupby(by, observed=True).agg(["size", "sum"])
    low, high = wilson_interval(counts["sum"], counts["size"])
    return pd.DataFrame(
        {
            "images": counts["size"],
            "errors": counts["size"] - counts["sum"],
            "accuracy": counts["sum"] / counts["size"],
            "low": low,
            "high": high,
        }
    )


def score_table(labelled: pd.Series[str], predicted: dict[str, pd.Series[str]]) -> pd.DataFrame:
    """Returns a row for each model: `accuracy_table` of all images, and the macro F1.

    Args:
        labelled: The labelled class of each image.
        predicted: The predicted class of each image, by the name of the model.
    """
    classes = list(labelled.cat.categories)
    rows = []
    for name, classes_predicted in predicted.items():
        correct = labelled.astype(str) == classes_predicted.astype(str)
        counts = pd.crosstab(labelled, classes_predicted, dropna=False).reindex(classes, columns=classes, fill_value=0)
        row = accuracy_table(correct, pd.Series(name, correct.index, name="model"))
        rows.append(row.assign(macro_f1=float(macro_f1(counts.to_numpy()))))
    return pd.concat(rows)


def vote(neighbours: pd.DataFrame, k: int, target: str = "group") -> pd.Series[str]:
    """Returns the most frequent class among the k nearest neighbours of each image; the nearer ones decide a tie.

    Args:
        neighbours: As `neighbour_table` returns it, of any images.
        k: The number of neighbours.
        target: "group" or "garment".
    """
    nearest = neighbours[neighbours["rank"] <= k]
    weight = 1 + 1e-3 / nearest["rank"]
    votes = weight.groupby([nearest["image"], nearest[target]], observed=True).sum().unstack(fill_value=0)
    predicted: pd.Series[str] = votes.idxmax(axis=1).astype(str)
    return predicted


def browse(
    predictions: pd.DataFrame,
    true: str | None = None,
    predicted: str | None = None,
    garment: str | None = None,
    min_confidence: float = 0.0,
    max_confidence: float = 1.0,
    sort: str = "confidence",
    ascending: bool = False,
    n: int = 24,
) -> pd.DataFrame:
    """Returns the misclassified images that pass every filter, sorted.

    Args:
        predictions: As `read_predictions` returns it; further columns may have been joined.
        true: The labelled group. Defaults to all.
        predicted: The predicted group. Defaults to all.
        garment: The labelled garment. Defaults to all.
        min_confidence: The least confidence. Defaults to 0.
        max_confidence: The greatest confidence. Defaults to 1.
        sort: The column to sort by. Defaults to the confidence.
        ascending: Whether the least value comes first. Defaults to False.
        n: The most images to return. Defaults to 24.
    """
    keep = ~predictions["correct"] & predictions["confidence"].between(min_confidence, max_confidence)
    for column, value in (("group", true), ("predicted_group", predicted), ("garment", garment)):
        if value is not None:
            keep &= predictions[column] == value
    return predictions[keep].sort_values(sort, ascending=ascending, kind="stable").head(n)


def _names(classes: npt.NDArray[np.int64], names: tuple[str, ...]) -> pd.Categorical[str]:
    return pd.Categorical.from_codes(classes, pd.Index(names))
