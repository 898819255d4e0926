"""The section on near-duplicates and leakage: its text, tables, figures and galleries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.exploration.data import Data, Indices
from analysis.exploration.near_duplicate_effect import effect_figure, effect_table, effect_text
from analysis.exploration.near_duplicates import CUT, NEAR, NearDuplicates
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section

GREY_LEVELS = 255
IN_A_ROW = 10
PAIRS = 4
"""In a row: eight images with notes fit on a page, and four on a telephone."""
ROWS = 6


def section(data: Data, leakage: NearDuplicates) -> Section:
    """Tells what near-duplicates there are, and what they do to the measured accuracy."""
    return Section(
        name="near-duplicates",
        title="Near-duplicates and leakage",
        finding="\n\n".join(
            (
                _count_text(data, leakage),
                _similarity_text(data, leakage),
                _conflict_text(leakage),
                effect_text(leakage.effects, leakage.removal, leakage.removed, NEAR),
            )
        ),
        decision=_decision(leakage),
        blocks=tuple(_blocks(data, leakage)),
    )


def _count_text(data: Data, leakage: NearDuplicates) -> str:
    widest = leakage.counts.iloc[-1]
    curve = leakage.curve
    gap = float((curve["test"] - curve["train"]).abs().max())
    exact = (
        "There is no exact duplicate"
        if leakage.exact == 0
        else f"There are {leakage.exact:,} pairs of exact duplicates"
    )
    most = leakage.by_garment.iloc[leakage.by_garment["test_images"].argmax()]
    return (
        f"{exact} among the {len(data):,} images. **{widest['test_images']:,.0f} of {len(data.test_rows):,} test "
        f"images have a training image within RMSE {NEAR:g}** ({NEAR * GREY_LEVELS:.0f} grey levels; the median "
        f"distance to the nearest is {_median_distance(leakage):.2f}). A training image has another as near about as "
        f"often: for every distance the two shares differ by at most {100 * gap:.1f} points. So the official cut "
        f"looks like a random one, neither cleaned of look-alikes nor worse than chance. {most['test_images']:,} of "
        f"these test images are of {most['garment']}, {most['test']:.0%} of that garment."
    )


def _median_distance(leakage: NearDuplicates) -> float:
    return float(np.interp(0.5, leakage.curve["test"], leakage.curve["rmse"]))


def _similarity_text(data: Data, leakage: NearDuplicates) -> str:
    sizes = [len(rows) for rows in leakage.clusters]
    agreement, variants = leakage.agreement, leakage.shades.variants(NEAR)
    largest = leakage.counts["largest_cluster"].astype(int)
    first = f"{sizes[0]:,} images, " if sizes else "no images, "
    return (
        f"**How alike are they?** The pictures below show pairs from the nearest to those at {NEAR:g}: what begins as "
        "the same picture, or one article photographed twice, ends as another article of the same plain cut. Chains "
        f"show the change: within {CUT:g} the largest cluster has {first}within {NEAR:g} it has {largest.iloc[-1]:,}. "
        f"Pixels miss the same picture in another shade: {len(variants):,} more test images have a training image "
        f"within {NEAR:g} once both are equally bright. A network sees other look-alikes than pixels do. For "
        f"{agreement.same_image:.0%} of the test images with a near-duplicate its features name the same training "
        f"image, and only {agreement.shared:.0%} of the test images that lie nearest by features are those that lie "
        f"nearest by pixels. Its nearest training image has the right group in {agreement.group:.1%} of all cases, "
        f"that by pixels in {agreement.pixel_group:.1%}."
    )


def _conflict_text(leakage: NearDuplicates) -> str:
    widest = leakage.counts.iloc[-1]
    mixed = leakage.garment_conflicts
    told = (
        f"Most often mixed are {mixed['garments'].iloc[0]} ({mixed['pairs'].iloc[0]:,} pairs). " if len(mixed) else ""
    )
    within = mixed.loc[mixed["same_group"], "pairs"].sum() / max(mixed["pairs"].sum(), 1)
    return (
        f"**Conflicts.** Of the {widest['pairs']:,.0f} pairs within {NEAR:g}, {mixed['pairs'].sum():,} hold two "
        f"garments, and {len(leakage.conflicts):,} two groups. {told}The grouping resolves {within:.0%} of the "
        f"conflicting pairs. {widest['group_conflicts']:,.0f} test images have a nearest training image within "
        f"{NEAR:g} that is of another group."
    )


def _decision(leakage: NearDuplicates) -> str:
    return (
        "So we keep the official test split whole and report accuracy on it, with the metrics of images with and "
        "without a look-alike beside it as slices of the evaluation. So we cut validation by whole clusters within "
        f"RMSE {CUT:g} (decision 0005): within {NEAR:g} a single chain would join "
        f"{leakage.counts['largest_cluster'].iloc[-1]:,} images. Training images are not thinned out: that changed "
        f"1-nearest neighbour by {100 * leakage.removal.value:+.2f} points."
    )


def _blocks(data: Data, leakage: NearDuplicates) -> Iterator[Block]:
    yield _count_table(leakage)
    yield _distance_figure(leakage)
    yield _garment_figure(data, leakage)
    yield from _galleries(data, leakage)
    if len(leakage.garment_conflicts):
        yield _garment_conflict_table(leakage)
    yield effect_figure(leakage.effects)
    yield effect_table(leakage.effects)


def _count_table(leakage: NearDuplicates) -> Listing:
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
        "Near-duplicates for ever wider bounds. Conflicts are those of a test image and its nearest training image."
    )
    return Listing("near-duplicate-counts", leakage.counts.rename(columns=names), caption, documented=True)


def _garment_conflict_table(leakage: NearDuplicates) -> Listing:
    table = leakage.garment_conflicts
    shown = table.assign(same_group=np.where(table["same_group"], "same", "different")).rename(
        columns={"same_group": "group"}
    )
    return Listing("mixed-garments", shown, f"Garments that near-duplicates within RMSE {NEAR:g} mix.")


def _distance_figure(leakage: NearDuplicates) -> Picture:
    figure = style.figure("RMSE to the nearest", "images so near, %")
    for name, colour, dash in (("test", style.TEST, "solid"), ("train", style.TRAIN, "dash")):
        figure.add_scatter(
            x=leakage.curve["rmse"].round(4).tolist(),
            y=(100 * leakage.curve[name]).round(2).tolist(),
            mode="lines",
            line={"color": colour, "dash": dash},
            name=f"{name} images",
        )
    figure.add_vline(x=NEAR, line={"color": style.NEUTRAL, "dash": "dot", "width": 1})
    caption = (
        "How near the nearest other training image is. If the cut were made by chance the curves would agree, and "
        f"they differ by {100 * (leakage.curve['test'] - leakage.curve['train']).abs().max():.1f} points at most. "
        f"Dotted: {NEAR:g}."
    )
    return Picture("nearest-distance", figure, caption, documented=True)


def _garment_figure(data: Data, leakage: NearDuplicates) -> Picture:
    table = leakage.by_garment.sort_values("test")
    colours = style.garment_colours(data.taxonomy)
    figure = style.figure("with a look-alike, %", height=400)
    figure.add_bar(
        x=(100 * table["test"]).round(2).tolist(),
        y=table["garment"].tolist(),
        orientation="h",
        marker={"color": [colours[place] for place in table["place"]]},
        text=[f"{share:.1%}" for share in table["test"]],
        textposition="auto",
        showlegend=False,
    )
    most = table["garment"].iloc[-1]
    caption = f"Test images that have a training image within RMSE {NEAR:g}; {most} has the largest share."
    return Picture("look-alikes-by-garment", figure, caption)


def _galleries(data: Data, leakage: NearDuplicates) -> Iterator[Gallery]:
    """Yields the _galleries, the nearest look-alikes first; empty ones are left out."""
    drawn = (
        _across_gallery(data, leakage),
        _cluster_gallery(data, leakage),
        _brightness_gallery(data, leakage),
        _feature_gallery(data, leakage),
    )
    yield from (gallery for gallery in (*drawn, _conflict_gallery(data, leakage)) if gallery.rows)


def _across_gallery(data: Data, leakage: NearDuplicates) -> Gallery:
    """Shows pairs across the splits at ever larger distances."""
    pairs = leakage.across
    bounds = leakage.counts["rmse"].tolist()
    rows = []
    for low, high in zip([0.0, *bounds[:-1]], bounds, strict=True):
        part = pairs[(pairs["rmse"] > low) & (pairs["rmse"] <= high)]
        if len(part):
            part = part.iloc[:: max(1, len(part) // PAIRS)].head(PAIRS)
            rows.append(_pair_row(data, part, f"RMSE {low:g} to {high:g}"))
    caption = (
        "Test images, each followed by its nearest training image, from the nearest pairs to those at the bound. What "
        "begins as the same picture ends as a similar article."
    )
    return Gallery("look-alikes-across", rows, caption, documented=True)


def _pair_row(data: Data, pairs: pd.DataFrame, title: str) -> Row:
    images = pairs[["first", "second"]].to_numpy().ravel()
    notes = [data.garment_name(row) for row in images]
    return Row(title, data.images[images], notes)


def _cluster_gallery(data: Data, leakage: NearDuplicates) -> Gallery:
    rows = [_cluster_row(data, members) for members in leakage.clusters[:ROWS]]
    caption = (
        f"The largest clusters of images chained by pairs within RMSE {CUT:g}, {IN_A_ROW} evenly chosen images of each."
    )
    return Gallery("largest-clusters", rows, caption)


def _cluster_row(data: Data, members: Indices) -> Row:
    garments = pd.Series([data.garment_name(row) for row in members]).value_counts()
    made = ", ".join(f"{count} {name}" for name, count in garments.items())
    in_test = int(data.test[members].sum())
    shown = members[np.linspace(0, len(members) - 1, min(IN_A_ROW, len(members))).astype(int)]
    colour = style.group_colours(data.taxonomy)[int(np.bincount(data.groups[members]).argmax())]
    return Row(f"{len(members)} images: {made}; {in_test} in test", data.images[shown], colour=colour)


def _brightness_gallery(data: Data, leakage: NearDuplicates) -> Gallery:
    shades = leakage.shades
    found = shades.variants(NEAR)
    rows = []
    for start in range(0, min(len(found), ROWS * PAIRS), PAIRS):
        part = found[start : start + PAIRS]
        images = np.column_stack([shades.test[part], shades.train[part]]).ravel()
        notes = [note for place in part for note in ("test", f"{shades.rmse[place]:.2f}, ×{shades.ratio[place]:.1f}")]
        rows.append(Row(f"{start + 1} to {start + len(part)}", data.images[images], notes))
    caption = (
        "The same picture in another shade: test images, each followed by a training image that is within RMSE "
        f"{NEAR:g} once both are equally bright. Under it: the distance as they are, and how many times brighter one "
        "is."
    )
    return Gallery("shade-variants", rows[:3], caption)


def _feature_gallery(data: Data, leakage: NearDuplicates) -> Gallery:
    """Shows test images whose nearest training image by features is very near, and by pixels far."""
    test, agreement = data.test_rows, leakage.agreement
    pixels = data.pixels
    rmse = np.sqrt(((pixels[test] - pixels[agreement.index]) ** 2).mean(axis=1))
    far = np.flatnonzero(rmse > 2 * NEAR)
    far = far[np.argsort(agreement.distance[far], kind="stable")][: 3 * PAIRS]
    rows = []
    for start in range(0, len(far), PAIRS):
        part = far[start : start + PAIRS]
        images = np.column_stack([test[part], agreement.index[part]]).ravel()
        notes = [note for place in part for note in (data.garment_name(test[place]), f"{rmse[place]:.2f}")]
        rows.append(Row(f"{start + 1} to {start + len(part)}", data.images[images], notes))
    caption = (
        "What a network takes for the same and pixels do not: test images, each followed by the training image that "
        f"is nearest by features, where the pixel distance (under it) is above {2 * NEAR:g}."
    )
    return Gallery("look-alikes-by-features", rows, caption)


def _conflict_gallery(data: Data, leakage: NearDuplicates) -> Gallery:
    size = PAIRS
    parts = [leakage.conflicts.iloc[start : start + size] for start in range(0, min(len(leakage.conflicts), 20), size)]
    rows = [_pair_row(data, part, f"RMSE {part['rmse'].iloc[0]:.3f} to {part['rmse'].iloc[-1]:.3f}") for part in parts]
    caption = f"Pairs within RMSE {NEAR:g} whose groups differ, nearest first: one is in doubt, or no picture can tell."
    return Gallery("conflicting-pairs", rows, caption, documented=True)
