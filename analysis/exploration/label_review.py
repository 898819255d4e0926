"""The review of labels by eye: which images are reviewed, how two passes agree, and the ceiling that follows.

`label_review.csv` has one row for each image and pass. The review covers every image of both splits that confident
learning suspects of a wrong group, and every official test image that a run of the final experiment misclassifies.
Controls are mixed among them: random images that neither singles out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.fashion_mnist import LabelledImages, content_ids
from analysis.evaluation.bootstrap import from_confusion
from analysis.evaluation.metrics import wilson_interval
from models.taxonomy import Taxonomy

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FILE = Path(__file__).with_name("label_review.csv")
MODELS = ("the default", "full")
"""Arms of the final experiment whose seeds are compared: images that all seeds of one of them misclassify."""
SUSPECTED, ALL_SEEDS, BOTH = "suspected label error", "misclassified by all seeds", "both"
SOME_RUNS, CONTROL = "misclassified by some runs", "control"
REASONS = (SUSPECTED, ALL_SEEDS, BOTH, SOME_RUNS, CONTROL)
CONTROLS = 24
"""Of either split."""
RIGHT, AMBIGUOUS, WRONG = "label right", "ambiguous", "label wrong"
VERDICTS = (RIGHT, AMBIGUOUS, WRONG)
IMAGE_COLUMNS = (
    "source_id",
    "split",
    "original_index",
    "labelled_garment",
    "labelled_group",
    "reason",
    "misclassified_runs",
)
PASS_COLUMNS = ("pass", "shows", "shown_group", "verdict", "certainty")
TEST_IMAGES = 10_000
RESAMPLES = 2000
SEED = 0


def official_images(splits: Mapping[str, LabelledImages], taxonomy: Taxonomy) -> pd.DataFrame:
    """Returns a row for each official image, in the order of the pipeline's examples.

    Args:
        splits: The official splits "train" and "test".
        taxonomy: The groups and their garments.

    Returns:
        Columns source_id, split, original_index (in the official file), labelled_garment, labelled_group.
    """
    parts = []
    for split, content in splits.items():
        ids = np.array(content_ids(content.images))
        order = np.lexsort((content.garments, ids))
        garments = content.garments[order]
        parts.append(
            pd.DataFrame(
                {
                    "source_id": [f"{split}/{name}" for name in ids[order]],
                    "split": split,
                    "original_index": order,
                    "labelled_garment": np.array(taxonomy.garments)[garments],
                    "labelled_group": np.array(taxonomy.groups)[np.array(taxonomy.group_of)[garments]],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def select_images(images: pd.DataFrame, errors: pd.DataFrame, suspected: Sequence[str]) -> pd.DataFrame:
    """Returns the images to review, as `official_images` describes them, with the reason of each.

    Args:
        images: As `official_images` returns them.
        errors: Misclassified test images of the final experiment: columns arm, seed and example, a test image's number
            in the order of `images`.
        suspected: Source ids of images that are suspected of a wrong group.
    """
    test = images.loc[images["split"] == "test", "source_id"].to_numpy()
    all_seeds = test[misclassified_by_all_seeds(errors)]
    some_runs = np.setdiff1d(test[errors["example"].unique()], all_seeds)
    rng = np.random.default_rng(SEED)
    correct = np.setdiff1d(test, test[errors["example"].unique()])
    reasons = dict.fromkeys(rng.choice(correct, CONTROLS, False), CONTROL)
    reasons |= dict.fromkeys(some_runs, SOME_RUNS)
    training = np.setdiff1d(images.loc[images["split"] == "train", "source_id"].to_numpy(), list(suspected))
    reasons |= dict.fromkeys(rng.choice(training, CONTROLS, False), CONTROL)
    reasons |= dict.fromkeys(all_seeds, ALL_SEEDS)
    for source_id in suspected:
        reasons[source_id] = BOTH if reasons.get(source_id) in (ALL_SEEDS, BOTH) else SUSPECTED
    runs = errors["example"].value_counts()
    misclassified = pd.Series(runs.to_numpy(), test[runs.index])
    chosen = images[images["source_id"].isin(list(reasons))]
    return chosen.assign(
        reason=chosen["source_id"].map(reasons),
        misclassified_runs=chosen["source_id"].map(misclassified).fillna(0).astype(np.int64),
    ).reset_index(drop=True)


def misclassified_by_all_seeds(errors: pd.DataFrame) -> Counts:
    """Returns the test images, int64 ascending, that all seeds of one of `MODELS` misclassify."""
    found: list[int] = []
    for model in MODELS:
        of_model = errors[errors["arm"] == model]
        seeds = of_model.groupby("example")["seed"].nunique()
        found += seeds.index[seeds == of_model["seed"].nunique()].tolist()
    return np.unique(np.array(found, np.int64))


def read_review(file: Path = FILE) -> pd.DataFrame:
    """Reads the review: a row for each image and pass, with the columns `IMAGE_COLUMNS` and `PASS_COLUMNS`."""
    return pd.read_csv(file, keep_default_na=False)


def pair_passes(review: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each image: `IMAGE_COLUMNS`, and verdict, shown_group and shows of either pass.

    The columns of the passes end with their number, such as verdict_1. Column `verdict` has the verdict of both passes,
    and is empty where they differ.
    """
    first, second = (
        review[review["pass"] == number][[*IMAGE_COLUMNS, "shows", "shown_group", "verdict"]] for number in (1, 2)
    )
    paired = first.merge(second, on=list(IMAGE_COLUMNS), suffixes=("_1", "_2"), validate="one_to_one")
    return paired.assign(verdict=paired["verdict_1"].where(paired["verdict_1"] == paired["verdict_2"], ""))


def summarize(review: pd.DataFrame) -> dict[str, Any]:
    """Returns the counts, the agreement of the passes and the accuracy ceiling, as JSON content.

    Args:
        review: As `read_review` returns it.
    """
    paired = pair_passes(review)
    singled_out = paired[paired["reason"] != CONTROL]
    return {
        "reviewed": len(paired),
        "label_wrong": int((paired["verdict"] == WRONG).sum()),
        "splits": {split: _counts(group) for split, group in paired.groupby("split", sort=False)},
        "reasons": {
            f"{reason}, {split}": _counts(group)
            for (reason, split), group in sorted(
                paired.groupby(["reason", "split"]), key=lambda item: REASONS.index(item[0][0])
            )
        },
        "passes": {
            f"pass {number}": {
                verdict: int((singled_out[f"verdict_{number}"] == verdict).sum()) for verdict in VERDICTS
            }
            for number in (1, 2)
        },
        "directions": _directions(paired),
        **measure_agreement(singled_out),
        "ceiling": estimate_ceiling(paired),
    }


def _counts(paired: pd.DataFrame) -> dict[str, int]:
    """Returns how many images have each verdict in both passes, and on how many the passes differ."""
    verdicts = {verdict: int((paired["verdict"] == verdict).sum()) for verdict in VERDICTS}
    return {"images": len(paired), **verdicts, "passes differ": int((paired["verdict"] == "").sum())}


def _directions(paired: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the labelled group, the group that both passes see, and the images in all and of the test split.

    Only wrong labels count, and the most frequent direction comes first.
    """
    wrong = paired[(paired["verdict"] == WRONG) & (paired["shown_group_1"] == paired["shown_group_2"])]
    every, test = (
        Counter(zip(part["labelled_group"], part["shown_group_1"], strict=True))
        for part in (wrong, wrong[wrong["split"] == "test"])
    )
    return [
        {"labelled": labelled, "shows": shown, "images": count, "test": test[labelled, shown]}
        for (labelled, shown), count in every.most_common()
    ]


def measure_agreement(paired: pd.DataFrame) -> dict[str, Any]:
    """Returns how far the passes agree on the verdict: the share of images, and Cohen's kappa, with 95% intervals.

    The share has Wilson's interval, kappa a percentile interval over resampled images.

    Args:
        paired: As `pair_passes` returns it.

    Returns:
        agreement and kappa, each with value and interval, and table int [3, 3]: pass 1 down, pass 2 across, in the
        order of `VERDICTS`.
    """
    first, second = (paired[f"verdict_{number}"].map(VERDICTS.index).to_numpy(np.int64) for number in (1, 2))
    table = np.bincount(first * len(VERDICTS) + second, minlength=len(VERDICTS) ** 2).reshape(len(VERDICTS), -1)
    same, count = int(np.trace(table)), int(table.sum())
    low, high = wilson_interval(same, count)
    return {
        "agreement": {"value": same / count, "interval": [float(low), float(high)]},
        "kappa": from_confusion({"kappa": _kappa}, table, RESAMPLES, SEED)["kappa"].to_json(),
        "verdicts": list(VERDICTS),
        "table": table.tolist(),
    }


def _kappa(tables: Counts) -> Values:
    """Returns Cohen's kappa (1960) of tables [..., k, k]: agreement beyond what the marginal shares give by chance."""
    shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    kappa: Values = (observed - expected) / np.where(expected < 1, 1 - expected, np.nan)
    return kappa


def estimate_ceiling(paired: pd.DataFrame) -> dict[str, Any]:
    """Returns the range of the accuracy that a model without errors would have on the official test split.

    Such a model follows the labelling policy, so it contradicts every wrong label. `high` counts the labels that both
    passes call wrong, `low` those that at least one pass calls wrong or ambiguous. Neither counts wrong labels outside
    the review, with which every network agrees; such labels would lower both.

    Args:
        paired: As `pair_passes` returns it.

    Returns:
        low and high; interval (the range for another test split of this size from the same source: Wilson's 95% bounds
        of either end); images (of the test split); wrong and unsettled (labels that high and low count); wrong_by_pass
        (labels that either pass calls wrong); covered (test images of the review, without controls); not_covered (the
        other test images).
    """
    test = paired[(paired["split"] == "test") & (paired["reason"] != CONTROL)]
    wrong = int((test["verdict"] == WRONG).sum())
    unsettled = int(((test["verdict_1"] != RIGHT) | (test["verdict_2"] != RIGHT)).sum())
    return {
        "low": 1 - unsettled / TEST_IMAGES,
        "high": 1 - wrong / TEST_IMAGES,
        "interval": [
            1 - float(wilson_interval(unsettled, TEST_IMAGES)[1]),
            1 - float(wilson_interval(wrong, TEST_IMAGES)[0]),
        ],
        "images": TEST_IMAGES,
        "wrong": wrong,
        "wrong_by_pass": [int((test[f"verdict_{number}"] == WRONG).sum()) for number in (1, 2)],
        "unsettled": unsettled,
        "covered": len(test),
        "not_covered": TEST_IMAGES - len(test),
    }
