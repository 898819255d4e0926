"""Effect of near-duplicates between the splits on the measured accuracy, at equal shares of garments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.near_duplicates import Pairs
from analysis.evaluation.bootstrap import Estimate, from_examples, paired_difference
from analysis.evaluation.metrics import accuracy
from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Neighbours, search
from analysis.pages import figure_style as style
from analysis.pages.section import Listing, Picture

Values = npt.NDArray[np.float64]

RESAMPLES = 1000
NEAREST, NEAREST_CLEANED = "1-nearest neighbour", "1-nearest neighbour, cleaned"
FIGURES = ("all", "near", "far", "far_as_near", "added", "gap", "fair_gap")


def measure_effects(
    data: Data,
    neighbours: Neighbours,
    removed: npt.NDArray[np.bool_],
    predictions: Mapping[str, Indices],
    near: float,
    seed: int,
) -> pd.DataFrame:
    """Compares the group accuracy on test images with a near training image and on those without.

    Garments with many near-duplicates may be easy ones. So `far_as_near` is the accuracy on images without one, each
    garment weighted as among the images with one (direct standardisation).

    Args:
        data: The images.
        neighbours: The nearest training images of all.
        removed: bool [N], the training images that are near-duplicates of a test image.
        predictions: For each model, the predicted groups of the test images, int64 [n_test].
        near: The RMSE within which a training image is a near-duplicate.
        seed: Of the resamples.

    Returns:
        A row for each model, 1-nearest neighbour with all training images and without near-duplicates first: `model`,
        and for each figure its value, `..._low` and `..._high`: the accuracies `all`, `near`, `far` and `far_as_near`;
        `added`: all minus far; `gap`: near minus far; `fair_gap`: near minus far_as_near.
    """
    test, index = data.test_rows, neighbours.index
    cleaned = nearest_without(data, neighbours, removed)
    # `predictions` may contain the nearest neighbour, too; it keeps the first row.
    evaluated = {NEAREST: data.groups[index[test, 0]], NEAREST_CLEANED: data.groups[cleaned], **predictions}
    right = np.column_stack([groups == data.groups[test] for groups in evaluated.values()])
    is_near = neighbours.rmse[test, 0] <= near
    cells = _cells(data.garments[test], is_near, right, len(data.taxonomy.garments))
    figures = from_examples(lambda weights: _figures(weights @ cells, right.shape[1]), len(test), RESAMPLES, seed)
    names = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")]
    table = np.array([[x.value, x.low, x.high] for x in figures]).reshape(len(FIGURES), len(evaluated), 3)
    found = pd.DataFrame(table.transpose(1, 0, 2).reshape(len(evaluated), -1), columns=names)
    found.insert(0, "model", list(evaluated))
    return found


def measure_removal(data: Data, neighbours: Neighbours, removed: npt.NDArray[np.bool_], seed: int) -> Estimate:
    """Estimates the change of the group accuracy of 1-nearest neighbour when training images, bool [N], are removed."""
    test, groups = data.test_rows, data.groups
    before = groups[neighbours.index[test, 0]]
    after = groups[nearest_without(data, neighbours, removed)]
    return paired_difference(accuracy, groups[test], after, before, len(data.taxonomy.groups), RESAMPLES, seed)


def near_test_images(data: Data, pairs: Pairs, near: float) -> npt.NDArray[np.bool_]:
    """Marks the training images that are within `near` of a test image, bool [N]."""
    within, marked = pairs.within(near), np.zeros(len(data), bool)
    across = data.test[within.first] != data.test[within.second]
    marked[within.first[across]] = marked[within.second[across]] = True
    return marked & ~data.test


def nearest_without(data: Data, neighbours: Neighbours, removed: npt.NDArray[np.bool_]) -> Indices:
    """Returns the nearest training image of every test image, removed ones excluded, int64 [n_test]."""
    test = data.test_rows
    index = neighbours.index[test]
    available = ~removed[index]
    nearest = index[np.arange(len(test)), available.argmax(axis=1)].astype(np.int64)
    if len(lost := np.flatnonzero(~available.any(axis=1))):
        known = np.flatnonzero(~data.test & ~removed)
        nearest[lost] = known[search(data.pixels[test[lost]], data.pixels[known], 1)[0][:, 0]]
    return nearest


def _cells(garments: Indices, near: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], count: int) -> Values:
    """Returns each image's contribution to the counts and to each model's hits, float64 [n, (1 + models) * 2 * count].

    There is a count for each garment, far and near.
    """
    cell = np.zeros((len(garments), 2 * count))
    cell[np.arange(len(garments)), garments + count * near] = 1
    hits = [cell * right[:, model, None] for model in range(right.shape[1])]
    return np.concatenate([cell, *hits], axis=1)


def _figures(sums: Values, models: int) -> Values:
    """Converts sums of counts, [R, (1 + models) * 2 * garments], to figures, [R, figures * models], as in FIGURES."""
    cells = sums.reshape(len(sums), 1 + models, 2, -1)
    images, hits = cells[:, :1], cells[:, 1:]
    everything = _ratio(hits.sum(axis=(2, 3)), images.sum(axis=(2, 3)))
    far, near = (_ratio(hits[:, :, side].sum(axis=2), images[:, :, side].sum(axis=2)) for side in (0, 1))
    # A garment without images on one side has no difference.
    shared = np.where((images[:, :, 0] > 0) & (images[:, :, 1] > 0), images[:, :, 1], 0)
    rates = [np.nan_to_num(_ratio(hits[:, :, side], images[:, :, side])) for side in (0, 1)]
    far_as_near, near_shared = (_ratio((rate * shared).sum(axis=2), shared.sum(axis=2)) for rate in rates)
    found = [everything, near, far, far_as_near, everything - far, near - far, near_shared - far_as_near]
    return np.concatenate(found, axis=1)


def _ratio(part: Values, whole: Values) -> Values:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def effect_text(effects: pd.DataFrame, removal: Estimate, removed: int, near: float) -> str:
    """Returns the paragraph on the effect, as Markdown.

    Args:
        effects: As `measure_effects` returns it.
        removal: As `measure_removal` returns it.
        removed: How many training images were removed for it.
        near: The RMSE within which a training image is a near-duplicate.
    """
    rows = effects.set_index("model")
    best = rows.drop(index=[NEAREST, NEAREST_CLEANED], errors="ignore")
    best = rows.loc[[best["all"].idxmax()]] if len(best) else rows.loc[[NEAREST]]
    name, figures = str(best.index[0]), best.iloc[0]
    plain, cleaned = rows.loc[NEAREST].to_dict(), rows.loc[NEAREST_CLEANED].to_dict()
    return (
        f"**Effect on accuracy.** Without the test images that have a near-duplicate, the accuracy of {name} is "
        f"{figures['far']:.4f} instead of {figures['all']:.4f} ({100 * figures['added']:.2f} points less "
        f"[{100 * figures['added_low']:.2f}, {100 * figures['added_high']:.2f}]). That does not prove leakage: an "
        f"image with a near-duplicate may be an easy one{_centroid_text(effects)}. A better test removes the "
        f"near-duplicates from the training images of 1-nearest neighbour, which depends on them most. Without the "
        f"{removed:,} training images within {near:g} of any test image, its accuracy changes by "
        f"{100 * removal.value:+.2f} points [{100 * removal.low:+.2f}, {100 * removal.high:+.2f}]. "
        "Its accuracy on the images with a near-duplicate is "
        f"then {cleaned['near']:.4f} ({plain['near']:.4f} before), on the others {cleaned['far']:.4f}."
    )


def _centroid_text(effects: pd.DataFrame) -> str:
    """Returns the effect on nearest centroids, which memorise no single image; empty if `effects` lacks them."""
    centroid = effects[effects["model"] == "nearest centroid"]
    if centroid.empty:
        return ""
    gap = 100 * centroid[["fair_gap", "fair_gap_low", "fair_gap_high"]].iloc[0]
    return (
        f"; even nearest centroids, which memorise no single image, are better on them by {gap.iloc[0]:.1f} points "
        f"[{gap.iloc[1]:.1f}, {gap.iloc[2]:.1f}] at equal shares of garments"
    )


def effect_figure(effects: pd.DataFrame) -> Picture:
    """Returns the accuracies of every model with and without near-duplicates."""
    figure = style.figure("group accuracy, %", height=400)
    series = (
        ("near", "with a near-duplicate", "triangle-up"),
        ("all", "all", "circle"),
        ("far", "without", "triangle-down"),
    )
    for name, title, symbol in series:
        value, low, high = (100 * effects[f"{name}{end}"] for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=value.round(2).tolist(),
            y=effects["model"].tolist(),
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (high - value).round(2).tolist(),
                "arrayminus": (value - low).round(2).tolist(),
                "width": 0,
            },
            mode="markers",
            marker={"symbol": symbol, "size": 10, "color": style.TEST if name == "all" else style.NEUTRAL},
            name=title,
        )
    caption = (
        "Group accuracy on all test images, on those with a near-duplicate among the training images, and on the "
        "others, with 95% bootstrap intervals. Cleaned: near-duplicates are removed from the training images."
    )
    return Picture("accuracy-without-near-duplicates", figure, caption)


def effect_table(effects: pd.DataFrame) -> Listing:
    """Returns the same accuracies as text."""
    names = {
        "all": "all",
        "near": "with a near-duplicate",
        "far": "without",
        "far_as_near": "without, garments weighted as with",
        "added": "all minus without",
    }
    columns = {
        title: [
            f"{v:.4f} [{low:.4f}, {high:.4f}]"
            for v, low, high in zip(*(effects[f"{name}{e}"] for e in ("", "_low", "_high")), strict=True)
        ]
        for name, title in names.items()
    }
    table = pd.DataFrame({"model": effects["model"], **columns})
    return Listing(
        "accuracy-without-near-duplicates-table",
        table,
        "Group accuracy on the test split, with 95% bootstrap intervals.",
    )
