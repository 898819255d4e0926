"""What the mistakes between two groups hang on: where pixels push, the nearest examples, and the smallest edits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.experiments.declaration import Experiment
from analysis.experiments.drawing.tables import matrix
from analysis.experiments.results import Results
from analysis.pages.section import Block, Gallery, Listing, Row

HEADINGS = {
    "features/true_neighbours": "true group among the 10 nearest by features, %",
    "features/no_true_neighbour": "none of them of the true group, %",
    "pixels/true_neighbours": "true group among the 10 nearest by pixels, %",
    "smallest_edit": "smallest edit, pixels",
}


def blocks(experiment: Experiment, results: Results) -> list[Block]:
    """Draws what the measure "why" found, as far as it is there."""
    figures = results.figures
    return [*_pushes(experiment, figures), *_neighbours(experiment, figures), *_gallery(experiment, results)]


def _pushes(experiment: Experiment, figures: pd.DataFrame) -> list[Block]:
    pushes = figures[figures["metric"] == "push"]
    if pushes.empty:
        return []
    parts = pushes["subset"].str.rpartition("/")
    table = pushes.assign(kind=parts[0], region=parts[2]).pivot_table("value", "region", "kind", sort=False)
    caption = (
        "Integrated gradients of the log-odds of One piece against Upper part, summed over regions of the image, mean "
        "over images and seeds: blue pushes to One piece, vermilion to Upper part."
    )
    return [matrix(f"{experiment.name}-pushes", table, caption, "log-odds")]


def _neighbours(experiment: Experiment, figures: pd.DataFrame) -> list[Block]:
    metrics = figures[figures["metric"].isin(["true_neighbours", "no_true_neighbour", "smallest_edit"])]
    if metrics.empty:
        return []
    parts = metrics["subset"].str.partition("/")
    column = (parts[2] + "/" + metrics["metric"]).str.removeprefix("/")
    table = metrics.assign(images=parts[0], column=column).pivot_table("value", "images", "column", sort=False)
    factors = {name: 1 if name == "smallest_edit" else 100 for name in table.columns}
    shown = (table * pd.Series(factors))[[name for name in HEADINGS if name in table.columns]].rename(columns=HEADINGS)
    text = shown.map(lambda value: "–" if value != value else f"{value:.1f}").rename_axis(columns=None).reset_index()
    caption = (
        "Over images and seeds. An edit puts a rectangle of a training image of the other group into an image; its "
        "size is that of as many pixels turned from black to white."
    )
    return [Listing(f"{experiment.name}-neighbours", text, caption, documented=True)]


def _gallery(experiment: Experiment, results: Results) -> list[Block]:
    if not results.array_file.exists():
        return []
    with np.load(results.array_file) as content:
        arrays = {name: content[name] for name in content.files}
    if not {"images", "pushes", "subset"} <= set(arrays):
        return []
    kinds = list(dict.fromkeys(results.figures["subset"][results.figures["metric"] == "push"].str.rpartition("/")[0]))
    rows = [row for place, kind in enumerate(kinds) for row in _rows(arrays, place, kind)]
    caption = (
        "Images of the first seed. Behind each: what pushes to One piece (white) and to Upper part (black), blurred "
        "over three pixels; and the image with the smallest edit that changes the answer, a part of an image of the "
        "other group, outlined."
    )
    return [Gallery(f"{experiment.name}-images", rows, caption, documented=True)] if rows else []


def _rows(arrays: dict[str, npt.NDArray[np.generic]], place: int, kind: str) -> list[Row]:
    chosen = np.flatnonzero(arrays["subset"] == place)
    if not len(chosen):
        return []
    images = arrays["images"][chosen].astype(np.uint8)
    looks = {"image": images, "pushes": _smooth(arrays["pushes"][chosen])}
    if "edited" in arrays:
        looks["edited"] = outlined(images, arrays["edited"][chosen].astype(np.uint8))
    beside = np.stack(list(looks.values()), axis=1).reshape(-1, *images.shape[1:])
    return [Row(kind, beside, list(looks) * len(chosen))]


def outlined(images: npt.NDArray[np.uint8], edited: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns edited images with a frame, black and white in turn, around the rectangle that differs."""
    framed = edited.copy()
    for image, before in zip(framed, images, strict=True):
        rows, columns = np.nonzero(image != before)
        if not len(rows):
            continue
        frame = np.zeros(image.shape, bool)
        frame[max(rows.min() - 1, 0) : rows.max() + 2, max(columns.min() - 1, 0) : columns.max() + 2] = True
        frame[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
        image[frame] = np.where(np.indices(image.shape).sum(axis=0) % 2, 255, 0)[frame]
    return framed


def _smooth(pushes: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Returns pushes [N, height, width] as grey levels around 127: single pixels are noise, places tell."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(pushes.astype(np.float64), sigma=(0, 1.5, 1.5))
    largest = np.abs(blurred).max(axis=(1, 2), keepdims=True)
    return np.rint(127 + 127 * blurred / np.maximum(largest, 1e-9)).astype(np.uint8)
