"""The whole exploration: measures every part, and returns the page's sections and the main findings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.near_duplicates import Pairs
from analysis.exploration import (
    classes,
    difficulty,
    distribution_shift,
    distributions,
    garment_overlap,
    label_quality,
    near_duplicates,
    near_duplicates_section,
    power_law_fits,
)
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.embedding import Embedding
from analysis.exploration.image_features import measure_features
from analysis.exploration.neighbours import Neighbours
from analysis.exploration.shared_errors import predict_groups
from analysis.pages.section import Listing, Section

Report = Callable[[int, int, str], None]
CONCLUSIVE_TRAINING, CONCLUSIVE_TEST = 1000, 500
"""From as many images on, the sections draw conclusions: a share of 500 test images has a 95% interval of at most 4.4
points in either direction."""


@dataclass(frozen=True)
class ExplorationInputs:
    """Results of the stages before, which take minutes.

    Attributes:
        data: The images.
        neighbours: The nearest training images of every image.
        pairs: All pairs of near-duplicates.
        out_of_fold: Out-of-fold predictions of small networks.
        curves: Errors by model and number of training images.
        embedding: Maps of test images.
        trained_groups: The groups that a trained model predicts for the test images, int64 [n_test]; None without one.
    """

    data: Data
    neighbours: Neighbours
    pairs: Pairs
    out_of_fold: OutOfFold
    curves: pd.DataFrame
    embedding: Embedding
    trained_groups: Indices | None


@dataclass(frozen=True)
class Explored:
    """The measurements of every part."""

    data: Data
    predictions: Mapping[str, Indices]
    classes: classes.ClassStatistics
    features: pd.DataFrame
    shift: distribution_shift.Shift
    geometry: garment_overlap.Geometry
    near_duplicates: near_duplicates.NearDuplicates
    label_quality: label_quality.LabelQuality
    difficulty: difficulty.Difficulty
    fits: pd.DataFrame


def explore(inputs: ExplorationInputs, seed: int, report: Report = lambda done, total, note: None) -> Explored:
    """Measures every part, in half a minute for 70,000 images.

    Args:
        inputs: The results of the stages before.
        seed: Of samples and resamples.
        report: Called before every part with the parts done and in all, and the name of the next.
    """
    data, neighbours, out_of_fold = inputs.data, inputs.neighbours, inputs.out_of_fold
    report(0, 8, "models")
    predictions = predict_groups(data, neighbours, out_of_fold, inputs.trained_groups)
    report(1, 8, "classes")
    class_statistics = classes.measure(data)
    report(2, 8, "distributions")
    features = measure_features(data.images)
    shift = distribution_shift.measure(data, features)
    report(3, 8, "geometry")
    measured_geometry = garment_overlap.measure(data, neighbours, out_of_fold.features, predictions, seed)
    report(4, 8, "near-duplicates")
    duplicates = near_duplicates.measure(data, neighbours, inputs.pairs, predictions, out_of_fold.features, seed)
    report(5, 8, "label quality")
    quality = label_quality.measure(data, out_of_fold, predictions)
    report(6, 8, "difficulty")
    difficult = difficulty.measure(data, neighbours, out_of_fold, predictions, quality.suspected_rows)
    report(7, 8, "learning curves")
    fits = power_law_fits.fit_curves(inputs.curves, seed=seed)
    report(8, 8, "")
    return Explored(
        data,
        predictions,
        class_statistics,
        features,
        shift,
        measured_geometry,
        duplicates,
        quality,
        difficult,
        fits,
    )


def build_sections(inputs: ExplorationInputs, explored: Explored) -> list[Section]:
    """Returns the sections in the order of the page; with too few examples, each says so and concludes nothing."""
    data = inputs.data
    sections = [
        classes.section(data, explored.classes),
        distributions.section(data, explored.features, explored.shift),
        garment_overlap.section(data, explored.geometry, inputs.embedding),
        near_duplicates_section.section(data, explored.near_duplicates),
        label_quality.section(data, explored.label_quality),
        difficulty.section(data, explored.difficulty),
        power_law_fits.section(data, inputs.curves, explored.fits),
    ]
    if few := few_examples_text(data):
        return [replace(section, finding=few, decision="So we conclude nothing from them.") for section in sections]
    return sections


def few_examples_text(data: Data) -> str:
    """Returns the sentences for data that are too small for conclusions; empty for others."""
    training, test = len(data.train_rows), len(data.test_rows)
    if training >= CONCLUSIVE_TRAINING and test >= CONCLUSIVE_TEST:
        return ""
    return (
        f"**Too few examples for conclusions.** There are {training:,} training and {test:,} test images, and at least "
        f"{CONCLUSIVE_TRAINING:,} and {CONCLUSIVE_TEST:,} are needed. Figures, tables and images describe these "
        "examples alone."
    )


def to_json(section: Section) -> dict[str, Any]:
    """Returns a section's prose, captions and tables as JSON content, without its figures and images."""
    return {
        "name": section.name,
        "title": section.title,
        "finding": section.finding,
        "decision": section.decision,
        "blocks": [
            {
                "name": block.name,
                "kind": type(block).__name__.lower(),
                "caption": block.caption,
            }
            | ({"table": json.loads(block.table.to_json(orient="split"))} if isinstance(block, Listing) else {})
            for block in section.blocks
        ],
    }


def main_findings(explored: Explored, curves: pd.DataFrame) -> list[str]:
    """Returns the five main findings, Markdown, one or two sentences each; with too few examples, that alone.

    Args:
        explored: The measurements.
        curves: The learning curves of the inputs.
    """
    if few := few_examples_text(explored.data):
        return [few]
    return [
        _balance_finding(explored),
        _pair_finding(explored),
        _duplicate_finding(explored),
        _label_finding(explored),
        _data_finding(explored, curves),
    ]


def _balance_finding(explored: Explored) -> str:
    naive, groups = explored.classes.naive, explored.data.taxonomy.groups
    always = naive[naive["classifier"].str.startswith("always")].iloc[0]
    small = groups[explored.classes.pair[0]]
    never = naive[naive["classifier"] == f"never {small}"].iloc[0]
    return (
        f"**Accuracy alone is misleading.** Always predicting {always['classifier'].removeprefix('always ')} has an "
        f"accuracy of {always['accuracy']:.0%}. A model that never predicts {small} still reaches "
        f"{never['accuracy']:.0%}, with a macro F1 of {never['macro F1']:.2f}."
    )


def _pair_finding(explored: Explored) -> str:
    pair = explored.difficulty.pair
    one, other = (explored.data.taxonomy.groups[group] for group in pair.groups)
    share = pair.shares.iloc[0]
    if not share["errors"]:
        return (
            f"**No confused pair.** The small networks make no error on the groups of "
            f"{len(explored.data.train_rows):,} training images, too few to show which groups they confuse."
        )
    return (
        f"**Most errors are between two groups.** {share['share']:.0%} ({share['low']:.0%} to {share['high']:.0%}) of "
        f"the small networks' {share['errors']:,} out-of-fold errors are between {other} and {one}."
    )


def _duplicate_finding(explored: Explored) -> str:
    counts = explored.near_duplicates.counts
    near = counts.iloc[-1]
    if not near["test_images"]:
        return (
            f"**No test image has a near-duplicate among the training images**, of {len(explored.data.test_rows):,} "
            f"within RMSE {near['rmse']:.2f}. So there is no effect to measure."
        )
    return (
        f"**Test images have near-duplicates among the training images.** {near['test_images']:,.0f} of "
        f"{len(explored.data.test_rows):,} have one within RMSE {near['rmse']:.2f}, and of these pairs "
        f"{near['group_conflicts']:,.0f} disagree on the group. {_effect_sentence(explored)}"
    )


def _effect_sentence(explored: Explored) -> str:
    models = explored.near_duplicates.effects.set_index("model")
    last = models.iloc[-1]
    change, least, most = (-100 * last[name] for name in ("added", "added_high", "added_low"))
    sentence = (
        f"On the other test images alone, the accuracy of the {models.index[-1]} changes by {change:+.2f} points "
        f"({least:+.2f} to {most:+.2f})."
    )
    return sentence.replace("-", "−")


def _label_finding(explored: Explored) -> str:
    quality, images = explored.label_quality, len(explored.data.train_rows)
    garments, groups = len(quality.train_garments.rows), len(quality.train_groups.rows)
    noise = quality.noise.iloc[0]
    return (
        f"**Grouping removes most suspected label errors.** {garments / images:.1%} of the training images are "
        f"suspected of a wrong garment, {groups / images:.2%} of a wrong group. If confident learning is right about "
        f"the test images too, the ceiling from label noise is an accuracy of {1 - noise['share']:.2%} "
        f"({1 - noise['high']:.2%} to {1 - noise['low']:.2%}) on the groups."
    )


def _data_finding(explored: Explored, curves: pd.DataFrame) -> str:
    fits = explored.fits
    if fits.empty:
        return power_law_fits.few_sizes_text(explored.data, curves)
    best = fits[fits["target"] == "group"].sort_values("error").iloc[0]
    estimates = np.array([best[name] for name in ("tenfold", "tenfold_without_floor", "tenfold_from_larger")])
    return (
        f"**More images of this kind help slowly.** The {best['model']} misclassifies {best['error']:.2%} of the "
        f"groups with {best['images']:,.0f} images. Its learning curve predicts {estimates.min():.2%} to "
        f"{estimates.max():.2%} with ten times as many."
    )
