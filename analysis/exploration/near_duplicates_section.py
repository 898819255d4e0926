"""The section on near-duplicates and leakage: its text, tables, figures and galleries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.exploration.data import Data, Indices
from analysis.exploration.near_duplicate_effect import effect_figure, effect_table, effect_text
from analysis.exploration.near_duplicates import CUT, NEAR, SHARE_MARGIN, NearDuplicates
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section

GREY_LEVELS = 255
IN_A_ROW = 10
PAIRS = 4
"""Pairs in a row: eight images with notes fit on a page, and four on a telephone."""
ROWS = 6


def section(data: Data, duplicates: NearDuplicates) -> Section:
    """Returns the section "Near-duplicates and leakage"."""
    return Section(
        name="near-duplicates",
        title="Near-duplicates and leakage",
        finding="\n\n".join(
            (
                _count_text(data, duplicates),
                _similarity_text(data, duplicates),
                _conflict_text(duplicates),
                effect_text(duplicates.effects, duplicates.removal, duplicates.removed, NEAR)
                if _is_near(duplicates)
                else "**Effect on accuracy.** No test image has a near-duplicate, so there is no effect to measure.",
            )
        ),
        decision=_decision(duplicates),
        blocks=tuple(_blocks(data, duplicates)),
    )


def _is_near(duplicates: NearDuplicates) -> bool:
    """Returns whether any test image has a near-duplicate among the training images."""
    return bool(duplicates.counts["test_images"].iloc[-1])


def _count_text(data: Data, duplicates: NearDuplicates) -> str:
    widest = duplicates.counts.iloc[-1]
    exact = (
        "There is no exact duplicate"
        if duplicates.exact == 0
        else f"There are {duplicates.exact:,} pairs of exact duplicates"
    )
    most = duplicates.by_garment.iloc[duplicates.by_garment["test_images"].argmax()]
    of_garment = (
        f" {most['test_images']:,} of these test images are of {most['garment']}, {most['test']:.0%} of that garment."
    )
    return (
        f"{exact} among the {len(data):,} images. **{widest['test_images']:,.0f} of {len(data.test_rows):,} test "
        f"images have a training image within RMSE {NEAR:g}** ({NEAR * GREY_LEVELS:.0f} grey levels; the median "
        f"distance to the nearest is {_median_distance(duplicates):.2f}). {_share_text(duplicates)}"
        f"{of_garment if _is_near(duplicates) else ''}"
    )


def _share_text(duplicates: NearDuplicates) -> str:
    """Returns the comparison of the splits' shares of images with a near-duplicate."""
    difference = duplicates.share_difference
    known = max(abs(difference.low), abs(difference.high)) < SHARE_MARGIN
    verdict = "So the two splits are equivalent in this respect" if known else "Equivalence is not shown"
    return (
        "The share among the test images differs from that among the training images by "
        f"{100 * difference.value:+.2f} points [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]. {verdict} "
        f"(margin {100 * SHARE_MARGIN:g} point)."
    )


def _median_distance(duplicates: NearDuplicates) -> float:
    return float(np.interp(0.5, duplicates.curve["test"], duplicates.curve["rmse"]))


def _similarity_text(data: Data, duplicates: NearDuplicates) -> str:
    sizes = [len(rows) for rows in duplicates.clusters]
    agreement, variants = duplicates.agreement, duplicates.brightness.variants(NEAR)
    largest = duplicates.counts["largest_cluster"].astype(int)
    by_features = (
        f"The nearest training image by features has the same group in {agreement.group:.1%} of all cases, by "
        f"pixels in {agreement.pixel_group:.1%}."
    )
    if not len(duplicates.across):
        return f"**Similarity.** No test image is within RMSE {NEAR:g} of a training image. {by_features}"
    first = f"{sizes[0]:,} images, " if sizes else "no images, "
    return (
        "**Similarity.** The nearest pairs show the same picture, or one article photographed twice. The pairs at "
        f"{NEAR:g} show different articles of the same plain cut. Clusters show this change, too: "
        f"within {CUT:g} the largest cluster has {first}within {NEAR:g} it has {largest.iloc[-1]:,}. "
        f"Pixels miss the same picture in another shade: {len(variants):,} more test images have a training image "
        f"within {NEAR:g} once both are equally bright. A network finds other near-duplicates than pixels do. For "
        f"{agreement.same_image:.0%} of the test images with a near-duplicate its features find the same training "
        f"image, and only {agreement.shared:.0%} of the test images that are nearest by features are nearest by "
        f"pixels. {by_features}"
    )


def _conflict_text(duplicates: NearDuplicates) -> str:
    widest = duplicates.counts.iloc[-1]
    conflicts = duplicates.garment_conflicts
    most = (
        f"Most often these are {conflicts['garments'].iloc[0]} ({conflicts['pairs'].iloc[0]:,} pairs). "
        if len(conflicts)
        else ""
    )
    within = conflicts.loc[conflicts["same_group"], "pairs"].sum() / max(conflicts["pairs"].sum(), 1)
    return (
        f"**Conflicts.** Of the {widest['pairs']:,.0f} pairs within {NEAR:g}, {conflicts['pairs'].sum():,} have two "
        f"garments, and {len(duplicates.conflicts):,} two groups. {most}The grouping resolves {within:.0%} of the "
        f"conflicting pairs. {widest['group_conflicts']:,.0f} test images have a nearest training image within "
        f"{NEAR:g} that is of another group."
    )


def _decision(duplicates: NearDuplicates) -> str:
    if not _is_near(duplicates):
        return (
            "So we keep the official test split whole. No near-duplicate connects it with the training images, so "
            "there is none to remove."
        )
    return (
        "So we keep the official test split whole. The evaluation also reports the metrics of images with and "
        "without a near-duplicate, as slices. We cut validation by whole clusters within RMSE "
        f"{CUT:g} (decision 0005); within {NEAR:g} one chain would join "
        f"{duplicates.counts['largest_cluster'].iloc[-1]:,} images. We do not remove near-duplicates from the training "
        f"images: that changes the accuracy of 1-nearest neighbour by {100 * duplicates.removal.value:+.2f} points."
    )


def _blocks(data: Data, duplicates: NearDuplicates) -> Iterator[Block]:
    yield _count_table(duplicates)
    yield _distance_figure(duplicates)
    yield _garment_figure(data, duplicates)
    yield from _galleries(data, duplicates)
    if len(duplicates.garment_conflicts):
        yield _garment_conflict_table(duplicates)
    if _is_near(duplicates):
        yield effect_figure(duplicates.effects)
        yield effect_table(duplicates.effects)


def _count_table(duplicates: NearDuplicates) -> Listing:
    names = {
        "rmse": "within RMSE",
        "pairs": "pairs",
        "across": "across the splits",
        "test_images": "test images with a near training image",
        "garment_conflicts": "of another garment",
        "group_conflicts": "of another group",
        "largest_cluster": "largest cluster",
    }
    caption = (
        "Near-duplicates within increasing bounds. Conflicts are those of a test image and its nearest training image."
    )
    return Listing("near-duplicate-counts", duplicates.counts.rename(columns=names), caption)


def _garment_conflict_table(duplicates: NearDuplicates) -> Listing:
    conflicts = duplicates.garment_conflicts
    table = conflicts.assign(same_group=np.where(conflicts["same_group"], "same", "different")).rename(
        columns={"same_group": "group"}
    )
    return Listing("mixed-garments", table, f"Pairs of different garments among near-duplicates within RMSE {NEAR:g}.")


def _distance_figure(duplicates: NearDuplicates) -> Picture:
    figure = style.figure("RMSE to the nearest", "images within this RMSE, %")
    for name, colour, dash in (("test", style.TEST, "solid"), ("train", style.TRAIN, "dash")):
        figure.add_scatter(
            x=duplicates.curve["rmse"].round(4).tolist(),
            y=(100 * duplicates.curve[name]).round(2).tolist(),
            mode="lines",
            line={"color": colour, "dash": dash},
            name=f"{name} images",
        )
    figure.add_vline(x=NEAR, line={"color": style.NEUTRAL, "dash": "dot", "width": 1})
    caption = (
        "Distance to the nearest other training image. For a random cut the curves agree; they differ by "
        f"{100 * (duplicates.curve['test'] - duplicates.curve['train']).abs().max():.1f} points at most. Dotted: "
        f"{NEAR:g}."
    )
    return Picture("nearest-distance", figure, caption)


def _garment_figure(data: Data, duplicates: NearDuplicates) -> Picture:
    table = duplicates.by_garment.sort_values("test")
    colours = style.garment_colours(data.taxonomy)
    figure = style.figure("with a near-duplicate, %", height=400)
    figure.add_bar(
        x=(100 * table["test"]).round(2).tolist(),
        y=table["garment"].tolist(),
        orientation="h",
        marker={"color": [colours[garment] for garment in table["number"]]},
        text=[f"{share:.1%}" for share in table["test"]],
        textposition="auto",
        showlegend=False,
    )
    most = table["garment"].iloc[-1]
    caption = f"Test images that have a training image within RMSE {NEAR:g}; {most} has the largest share."
    return Picture("near-duplicates-by-garment", figure, caption)


def _galleries(data: Data, duplicates: NearDuplicates) -> Iterator[Gallery]:
    """Yields the galleries that have rows, the nearest near-duplicates first."""
    galleries = (
        _across_gallery(data, duplicates),
        _cluster_gallery(data, duplicates),
        _brightness_gallery(data, duplicates),
        _feature_gallery(data, duplicates),
        _conflict_gallery(data, duplicates),
    )
    yield from (gallery for gallery in galleries if gallery.rows)


def _across_gallery(data: Data, duplicates: NearDuplicates) -> Gallery:
    """Returns pairs across the splits at ever larger distances."""
    pairs = duplicates.across
    bounds = duplicates.counts["rmse"].tolist()
    rows = []
    for low, high in zip([0.0, *bounds[:-1]], bounds, strict=True):
        part = pairs[(pairs["rmse"] > low) & (pairs["rmse"] <= high)]
        if len(part):
            part = part.iloc[:: max(1, len(part) // PAIRS)].head(PAIRS)
            rows.append(_pair_row(data, part, f"RMSE {low:g} to {high:g}"))
    caption = (
        "Test images, each followed by its nearest training image. The nearest pairs show the same picture, the pairs "
        "at the bound show similar articles."
    )
    return Gallery("near-duplicates-across-splits", rows, caption)


def _pair_row(data: Data, pairs: pd.DataFrame, title: str) -> Row:
    images = pairs[["first", "second"]].to_numpy().ravel()
    notes = [data.garment_name(row) for row in images]
    return Row(title, data.images[images], notes)


def _cluster_gallery(data: Data, duplicates: NearDuplicates) -> Gallery:
    rows = [_cluster_row(data, members) for members in duplicates.clusters[:ROWS]]
    caption = (
        f"The largest clusters of images chained by pairs within RMSE {CUT:g}, {IN_A_ROW} evenly chosen images of each."
    )
    return Gallery("largest-clusters", rows, caption)


def _cluster_row(data: Data, members: Indices) -> Row:
    garments = pd.Series([data.garment_name(row) for row in members]).value_counts()
    contents = ", ".join(f"{count} {name}" for name, count in garments.items())
    in_test = int(data.test[members].sum())
    examples = members[np.linspace(0, len(members) - 1, min(IN_A_ROW, len(members))).astype(int)]
    colour = style.group_colours(data.taxonomy)[int(np.bincount(data.groups[members]).argmax())]
    return Row(f"{len(members)} images: {contents}; {in_test} in test", data.images[examples], colour=colour)


def _brightness_gallery(data: Data, duplicates: NearDuplicates) -> Gallery:
    pairs = duplicates.brightness
    found = pairs.variants(NEAR)
    rows = []
    for start in range(0, min(len(found), ROWS * PAIRS), PAIRS):
        part = found[start : start + PAIRS]
        images = np.column_stack([pairs.test[part], pairs.train[part]]).ravel()
        notes = [note for pair in part for note in ("test", f"{pairs.rmse[pair]:.2f}, ×{pairs.ratio[pair]:.1f}")]
        rows.append(Row(f"{start + 1} to {start + len(part)}", data.images[images], notes))
    caption = (
        "The same picture in another shade: test images, each followed by a training image that is within RMSE "
        f"{NEAR:g} once both are equally bright. Under it: the plain distance, and the ratio of "
        "brightness."
    )
    return Gallery("shade-variants", rows[:3], caption)


def _feature_gallery(data: Data, duplicates: NearDuplicates) -> Gallery:
    """Returns test images whose nearest training image by features is very near, and by pixels far."""
    test, agreement = data.test_rows, duplicates.agreement
    pixels = data.pixels
    rmse = np.sqrt(((pixels[test] - pixels[agreement.index]) ** 2).mean(axis=1))
    far = np.flatnonzero(rmse > 2 * NEAR)
    far = far[np.argsort(agreement.distance[far], kind="stable")][: 3 * PAIRS]
    rows = []
    for start in range(0, len(far), PAIRS):
        part = far[start : start + PAIRS]
        images = np.column_stack([test[part], agreement.index[part]]).ravel()
        notes = [note for row in part for note in (data.garment_name(test[row]), f"{rmse[row]:.2f}")]
        rows.append(Row(f"{start + 1} to {start + len(part)}", data.images[images], notes))
    caption = (
        "Near-duplicates by features alone: test images, each followed by the training image that is nearest by "
        f"features, where the pixel distance (under it) is above {2 * NEAR:g}."
    )
    return Gallery("near-duplicates-by-features", rows, caption)


def _conflict_gallery(data: Data, duplicates: NearDuplicates) -> Gallery:
    conflicts = duplicates.conflicts.iloc[: 5 * PAIRS]
    parts = [conflicts.iloc[start : start + PAIRS] for start in range(0, len(conflicts), PAIRS)]
    rows = [_pair_row(data, part, f"RMSE {part['rmse'].iloc[0]:.3f} to {part['rmse'].iloc[-1]:.3f}") for part in parts]
    caption = (
        f"Pairs within RMSE {NEAR:g} with different groups, nearest first: one label is wrong, or pixels cannot decide."
    )
    return Gallery("conflicting-pairs", rows, caption)
