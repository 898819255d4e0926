"""Near-duplicates: how many, where, what they look like, and whether they flatter the measured accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.exploration.data import Data
from analysis.exploration.drawing.look_alikes import galleries
from analysis.exploration.leak_effect import NEAREST, NEAREST_CLEANED
from analysis.exploration.leakage import CUT, NEAR, Leakage
from analysis.pages import figures as style
from analysis.pages.section import Block, Listing, Picture, Section

GREY_LEVELS = 255


def section(data: Data, leakage: Leakage) -> Section:
    """Tells what near-duplicates there are, and what they do to the measured accuracy."""
    return Section(
        name="near-duplicates",
        title="Near-duplicates and leakage",
        finding="\n\n".join((_counted(data, leakage), _alike(data, leakage), _conflicting(leakage), _effect(leakage))),
        decision=_decision(leakage),
        blocks=tuple(_blocks(data, leakage)),
    )


def _counted(data: Data, leakage: Leakage) -> str:
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
        f"distance to the nearest is {_median(leakage):.2f}). A training image has another as near about as often: for "
        f"every distance the two shares differ by at most {100 * gap:.1f} points. So the official cut looks like a "
        f"random one, neither cleaned of look-alikes nor worse than chance. {most['test_images']:,} of these test "
        f"images are of {most['garment']}, {most['test']:.0%} of that garment."
    )


def _median(leakage: Leakage) -> float:
    return float(np.interp(0.5, leakage.curve["test"], leakage.curve["rmse"]))


def _alike(data: Data, leakage: Leakage) -> str:
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


def _conflicting(leakage: Leakage) -> str:
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


def _effect(leakage: Leakage) -> str:
    rows = leakage.effects.set_index("model")
    best = rows.drop(index=[NEAREST, NEAREST_CLEANED], errors="ignore")
    best = rows.loc[[best["all"].idxmax()]] if len(best) else rows.loc[[NEAREST]]
    name, figures = str(best.index[0]), best.iloc[0]
    plain, cleaned, removal = rows.loc[NEAREST].to_dict(), rows.loc[NEAREST_CLEANED].to_dict(), leakage.removal
    return (
        f"**Do they flatter the accuracy?** Without the test images that have a look-alike, the accuracy of {name} is "
        f"{figures['far']:.4f} instead of {figures['all']:.4f} ({100 * figures['added']:.2f} points less "
        f"[{100 * figures['added_low']:.2f}, {100 * figures['added_high']:.2f}]). That is no proof of leakage: an "
        f"image with a look-alike may be an easy one{_placebo(leakage)}. The test of it is to take the look-alikes "
        f"away. 1-nearest neighbour, which lives on them, loses its {leakage.removed:,} training images within "
        f"{NEAR:g} of any test image, and its accuracy changes by {100 * removal.value:+.2f} "
        f"points [{100 * removal.low:+.2f}, {100 * removal.high:+.2f}]. On the images with a look-alike it is then "
        f"still right in {cleaned['near']:.4f} of the cases ({plain['near']:.4f} before), on the others in "
        f"{cleaned['far']:.4f}."
    )


def _placebo(leakage: Leakage) -> str:
    """Says how far apart the model is that can remember no single image; nothing where it was not asked."""
    held = leakage.effects[leakage.effects["model"] == "nearest centroid"]
    if held.empty:
        return ""
    gap = 100 * held[["fair_gap", "fair_gap_low", "fair_gap_high"]].iloc[0]
    return (
        f", and even nearest centroids, which remember no single image, do better on them, by {gap.iloc[0]:.1f} points "
        f"[{gap.iloc[1]:.1f}, {gap.iloc[2]:.1f}] at equal shares of garments"
    )


def _decision(leakage: Leakage) -> str:
    return (
        "So we keep the official test split whole and report accuracy on it, with the metrics of images with and "
        "without a look-alike beside it as slices of the evaluation. So we cut validation by whole clusters within "
        f"RMSE {CUT:g} (decision 0005): within "
        f"{NEAR:g} a single chain would join {leakage.counts['largest_cluster'].iloc[-1]:,} images. "
        f"Training images are not thinned out: that changed 1-nearest neighbour by {100 * leakage.removal.value:+.2f} "
        "points."
    )


def _blocks(data: Data, leakage: Leakage) -> Iterator[Block]:
    yield _counts(leakage)
    yield _curve(leakage)
    yield _by_garment(data, leakage)
    yield from galleries(data, leakage)
    if len(leakage.garment_conflicts):
        yield _mixed(leakage)
    yield _accuracy(data, leakage)
    yield _accuracy_table(leakage)


def _counts(leakage: Leakage) -> Listing:
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


def _mixed(leakage: Leakage) -> Listing:
    table = leakage.garment_conflicts
    shown = table.assign(same_group=np.where(table["same_group"], "same", "different")).rename(
        columns={"same_group": "group"}
    )
    return Listing("mixed-garments", shown, f"Garments that near-duplicates within RMSE {NEAR:g} mix.")


def _curve(leakage: Leakage) -> Picture:
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


def _by_garment(data: Data, leakage: Leakage) -> Picture:
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


def _accuracy(data: Data, leakage: Leakage) -> Picture:
    figure = style.figure("group accuracy, %", height=400)
    looks = (
        ("near", "with a look-alike", "triangle-up"),
        ("all", "all", "circle"),
        ("far", "without", "triangle-down"),
    )
    for name, told, symbol in looks:
        value, low, high = (100 * leakage.effects[f"{name}{end}"] for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=value.round(2).tolist(),
            y=leakage.effects["model"].tolist(),
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (high - value).round(2).tolist(),
                "arrayminus": (value - low).round(2).tolist(),
                "width": 0,
            },
            mode="markers",
            marker={"symbol": symbol, "size": 10, "color": style.TEST if name == "all" else style.NEUTRAL},
            name=told,
        )
    caption = (
        "Group accuracy on all test images, on those with a look-alike among the training images, and on the others, "
        "with 95% bootstrap intervals. Cleaned: the look-alikes are taken out of the training images."
    )
    return Picture("accuracy-without-look-alikes", figure, caption, documented=True)


def _accuracy_table(leakage: Leakage) -> Listing:
    names = {
        "all": "all",
        "near": "with a look-alike",
        "far": "without",
        "far_as_near": "without, garments weighted as with",
        "added": "all minus without",
    }
    table = leakage.effects
    columns = {
        told: [
            f"{v:.4f} [{low:.4f}, {high:.4f}]"
            for v, low, high in zip(*(table[f"{name}{e}"] for e in ("", "_low", "_high")), strict=True)
        ]
        for name, told in names.items()
    }
    shown = pd.DataFrame({"model": table["model"], **columns})
    return Listing(
        "accuracy-without-look-alikes-table", shown, "Group accuracy on the test split, with 95% bootstrap intervals."
    )
