"""Draws the features' distributions by garment, group and split, and what the tests for a shift say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.exploration import separation
from analysis.exploration.classes import hardest_pair
from analysis.exploration.drawing import feature_figures
from analysis.exploration.planted_shift import DISCREPANCY_ROWS, DRAWS, TESTS, least_seen
from analysis.pages.section import Block, Listing, Picture, Section

if TYPE_CHECKING:
    from analysis.exploration.data import Data
    from analysis.exploration.separation import Separation
    from analysis.exploration.shift import Shift

SHOWN = 4


def section(data: Data, features: pd.DataFrame, shift: Shift) -> Section:
    """Returns the section "Distributions and shift"."""
    separated = separation.measure(data, features, hardest_pair(data))
    return Section(
        "distributions",
        "Distributions and shift",
        "\n\n".join([_size_text(data, features), _pair_text(data, separated), _shift_text(shift), _power_text(shift)]),
        "So we slice the evaluation by five of these figures (brightness, ink coverage, symmetry, aspect and taper) "
        "and report where the model is weak, and shift training images by one pixel at most, since garments reach the "
        "border. The test split only judges, with bootstrap intervals; validation is cut from the training split. And "
        "the ExampleValidator compares garments and brightness of every split with the training split before anything "
        "is trained: photographs from elsewhere need not have what these two splits have in common.",
        [*_by_class(data, features), *_separations(data, features, separated), *_shifts(data, features, shift)],
    )


def _size_text(data: Data, features: pd.DataFrame) -> str:
    longest = features[["height", "width"]].max(axis=1)
    spans = float((longest >= min(data.images.shape[1:]) - 1).mean())
    explained = separation.explained(features, data.garments)
    telling = str(explained.idxmax())
    medians = features[telling].groupby(data.garments).median().rename(dict(enumerate(data.taxonomy.garments)))
    return (
        f"**How large, how bright.** In {spans:.1%} of the images the garment spans the picture in one direction, but "
        f"for a pixel; {float((features['height'] > features['width']).mean()):.0%} are taller than wide. The more "
        f"images are scaled so, the less a garment's size can tell. Of these features {telling} differs most between "
        f"garments, which explain {explained.max():.0%} of its variance (median {medians.max():.2f} for "
        f"{medians.idxmax()}, {medians.min():.2f} for {medians.idxmin()}); "
        f"{explained.idxmin()} differs least ({explained.min():.0%})."
    )


def _pair_text(data: Data, separated: Separation) -> str:
    small, large = (data.taxonomy.groups[group] for group in separated.pair)
    best, worst = separated.of_pair.iloc[0], separated.of_pair.iloc[-1]
    return (
        f"**{small} against {large}**, the pair that a linear model confuses most. The best single feature is "
        f"{best['feature']}: it orders a random {small} and a random {large} right {_folded(best):.1%} of the time "
        f"(the area under the ROC curve; 95% interval {_interval(best)}), the {small} having the "
        f"{'larger' if best['area'] > 0.5 else 'smaller'} value. The worst, {worst['feature']}, does so "
        f"{_folded(worst):.1%} of the time. A quadratic discriminant on all {len(separated.of_pair)} features "
        f"reaches {separated.together:.1%}."
    )


def _shift_text(shift: Shift) -> str:
    first, tests = shift.by_feature.iloc[0], len(shift.by_feature)
    verdict = f"{len(shift.found)} see a shift ({', '.join(shift.found)})" if shift.found else "none sees a shift"
    return (
        f"**Training against test images.** Of three tests {verdict}. Of {tests} comparisons of one feature, over all "
        f"images and within each garment, the strongest is {first['feature']} of {first['garments']}, with p "
        f"{_p(first['p'])}, or {_p(first['adjusted'])} after Holm's correction. A classifier that guesses the split "
        f"from features and principal components has an area under the ROC curve of {shift.classifier.statistic:.4f} "
        f"(p {_p(shift.classifier.p)}; chance alone stays below {shift.classifier.threshold:.4f}, 95 times in 100). "
        f"The kernel mean discrepancy has p {_p(shift.discrepancy.p)}."
    )


def _power_text(shift: Shift) -> str:
    least = least_seen(shift.power)
    best = least.min(axis=1)
    seen = [f"{plant} from {share:.0%} of the images on" for plant, share in best.items() if not np.isnan(share)]
    missed = [str(plant) for plant, share in best.items() if np.isnan(share)]
    # A shift that is never seen is worse than one seen when all images have it.
    weakest = least.fillna(2.0).mean().idxmax()
    return (
        f"What they would have seen: {'; '.join(seen) or 'none of those planted'}"
        f"{'; not even in all images: ' + ', '.join(missed) if missed else ''}. (The shifts are planted among training "
        f"images set aside, in {DRAWS} draws, each of which had to be seen.) The {weakest} is the weakest of the "
        "three. Smaller shifts, and shifts of what no feature or component measures, are not ruled out."
    )


def _by_class(data: Data, features: pd.DataFrame) -> list[Block]:
    return [
        Picture(
            "feature-by-garment",
            feature_figures.boxes(data, features),
            "Each feature by garment, all images: the box holds the middle half, the whiskers hold 90%. The colour is "
            "the group's.",
            documented=True,
        ),
    ]


def _separations(data: Data, features: pd.DataFrame, separated: Separation) -> list[Block]:
    small, large = (data.taxonomy.groups[group] for group in separated.pair)
    return [
        Picture(
            "one-feature",
            feature_figures.areas(separated),
            f"How often one feature orders a random {small} and a random {large} right, with 95% intervals; a coin "
            "does so in 50%.",
            documented=True,
        ),
        Picture(
            "feature-by-group",
            feature_figures.densities(data, features, list(separated.of_pair["feature"][:SHOWN])),
            "The features that tell this pair best, by group (training images): where the curves overlap, the feature "
            "cannot decide. (Height and width are whole pixels, so that the aspect comes in steps.)",
        ),
        Picture(
            "areas-by-group",
            feature_figures.area_table(separated),
            "Each group against all others: how often the feature orders two images right. A group with a dark cell is "
            "easy to tell by one figure.",
        ),
    ]


def _shifts(data: Data, features: pd.DataFrame, shift: Shift) -> list[Block]:
    return [
        Picture(
            "split-differences",
            feature_figures.split_differences(shift),
            "Mean of the test images less that of the training images, with 95% intervals that are not corrected for "
            "their number.",
            documented=True,
        ),
        Picture(
            "feature-by-split",
            feature_figures.split_histograms(data, features),
            "Each feature in both splits: the line of the test images lies on the training images' area.",
        ),
        Listing(
            "shift-tests", _test_table(shift), "Three tests of one question: do the splits differ?", documented=True
        ),
        Listing("shift-power", _power_table(shift), _power_caption(), documented=True),
    ]


def _test_table(shift: Shift) -> pd.DataFrame:
    first = shift.by_feature.iloc[0]
    return pd.DataFrame(
        {
            "test": list(TESTS),
            "statistic": [
                "distance of distribution functions, largest",
                "area under the ROC curve",
                "squared discrepancy",
            ],
            "value": [
                float(shift.by_feature["distance"].max()),
                shift.classifier.statistic,
                shift.discrepancy.statistic,
            ],
            "p": [float(first["adjusted"]), shift.classifier.p, shift.discrepancy.p],
        }
    )


def _power_table(shift: Shift) -> pd.DataFrame:
    table = least_seen(shift.power).map(lambda share: "never" if np.isnan(share) else f"{share:.0%}")
    return table.reset_index().rename_axis(columns=None)


def _power_caption() -> str:
    return (
        "The smallest share of changed images that each test saw in every draw. The discrepancy compares "
        f"{DISCREPANCY_ROWS:,} images of each split, the others all."
    )


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _folded(row: pd.Series[float]) -> float:
    return float(max(row["area"], 1 - row["area"]))


def _interval(row: pd.Series[float]) -> str:
    low, high = sorted((row["low"], row["high"])) if row["area"] > 0.5 else (1 - row["high"], 1 - row["low"])
    return f"{low:.1%} to {high:.1%}"
