"""Look-alikes side by side: across the splits, chained, in another shade, by a network's features, in conflict."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.exploration.data import Data, Indices
from analysis.exploration.leakage import CUT, NEAR, Leakage
from analysis.pages import figures as style
from analysis.pages.section import Gallery, Row

IN_A_ROW = 10
PAIRS = 4
"""In a row: eight images with notes fit on a page, and four on a telephone."""

ROWS = 6


def galleries(data: Data, leakage: Leakage) -> Iterator[Gallery]:
    """Yields the galleries, the nearest look-alikes first; empty ones are left out."""
    drawn = (_across(data, leakage), _clusters(data, leakage), _shades(data, leakage), _features(data, leakage))
    yield from (gallery for gallery in (*drawn, _conflicts(data, leakage)) if gallery.rows)


def _across(data: Data, leakage: Leakage) -> Gallery:
    """Shows pairs across the splits at ever larger distances."""
    pairs = leakage.across
    bounds = leakage.counts["rmse"].tolist()
    rows = []
    for low, high in zip([0.0, *bounds[:-1]], bounds, strict=True):
        part = pairs[(pairs["rmse"] > low) & (pairs["rmse"] <= high)]
        if len(part):
            part = part.iloc[:: max(1, len(part) // PAIRS)].head(PAIRS)
            rows.append(_pairs(data, part, f"RMSE {low:g} to {high:g}"))
    caption = (
        "Test images, each followed by its nearest training image, from the nearest pairs to those at the bound. What "
        "begins as the same picture ends as a similar article."
    )
    return Gallery("look-alikes-across", rows, caption, documented=True)


def _pairs(data: Data, pairs: pd.DataFrame, title: str) -> Row:
    images = pairs[["first", "second"]].to_numpy().ravel()
    notes = [data.garment_name(row) for row in images]
    return Row(title, data.images[images], notes)


def _clusters(data: Data, leakage: Leakage) -> Gallery:
    rows = [_cluster(data, members) for members in leakage.clusters[:ROWS]]
    caption = (
        f"The largest clusters of images chained by pairs within RMSE {CUT:g}, {IN_A_ROW} evenly chosen images of each."
    )
    return Gallery("largest-clusters", rows, caption)


def _cluster(data: Data, members: Indices) -> Row:
    garments = pd.Series([data.garment_name(row) for row in members]).value_counts()
    made = ", ".join(f"{count} {name}" for name, count in garments.items())
    in_test = int(data.test[members].sum())
    shown = members[np.linspace(0, len(members) - 1, min(IN_A_ROW, len(members))).astype(int)]
    colour = style.group_colours(data.taxonomy)[int(np.bincount(data.groups[members]).argmax())]
    return Row(f"{len(members)} images: {made}; {in_test} in test", data.images[shown], colour=colour)


def _shades(data: Data, leakage: Leakage) -> Gallery:
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


def _features(data: Data, leakage: Leakage) -> Gallery:
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


def _conflicts(data: Data, leakage: Leakage) -> Gallery:
    size = PAIRS
    parts = [leakage.conflicts.iloc[start : start + size] for start in range(0, min(len(leakage.conflicts), 20), size)]
    rows = [_pairs(data, part, f"RMSE {part['rmse'].iloc[0]:.3f} to {part['rmse'].iloc[-1]:.3f}") for part in parts]
    caption = f"Pairs within RMSE {NEAR:g} whose groups differ, nearest first: one is in doubt, or no picture can tell."
    return Gallery("conflicting-pairs", rows, caption, documented=True)
