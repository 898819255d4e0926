"""Where in the picture something lies: the shares of a map in regions that a garment's parts fall into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.slicing_features import INK_THRESHOLD
from analysis.evaluation.bootstrap import from_examples
from analysis.exploration.image_features import SIDE

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[Any]
Masks = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

RESAMPLES = 2000


def regions(images: Images) -> dict[str, Masks]:
    """Returns masks bool [N, height, width] by name, in three sets that each cover the picture once.

    Upper, middle and lower third; sides and centre; the silhouette's edge (one pixel to either side of the border), the
    interior of the garment and the ground.

    Args:
        images: uint8 [N, height, width].
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    ink = images >= INK_THRESHOLD
    around = np.ones((1, 3, 3), bool)
    inner = binary_erosion(ink, around, border_value=1)
    outer = ~binary_dilation(ink, around)
    height, width = images.shape[1:]
    row, column = np.arange(height)[:, None] * 3 // height, np.arange(width)[None]
    sides = (column < SIDE) | (column >= width - SIDE)
    flat = {
        "upper third": row == 0,
        "middle third": row == 1,
        "lower third": row == 2,
        "sides": sides,
        "centre": ~sides,
    }
    whole = {name: np.broadcast_to(mask, images.shape) for name, mask in flat.items()}
    return {**whole, "silhouette edge": ~inner & ~outer, "interior": inner, "ground": outer}


def shares(maps: Maps, masks: Mapping[str, Masks]) -> dict[str, Values]:
    """Returns the share of each map's absolute values that lies in each region, float64 [N]; NaN for an empty map."""
    weight = np.abs(maps).astype(np.float64)
    total = weight.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return {name: np.where(mask, weight, 0).sum(axis=(1, 2)) / total for name, mask in masks.items()}


def region_table(
    maps: Maps, images: Images, subsets: Mapping[str, Masks], reference: Maps | None = None, seed: int = 0
) -> pd.DataFrame:
    """Averages what lies in each region over subsets of the images.

    Args:
        maps: [N, height, width], signed or not.
        images: uint8 [N, height, width], for the silhouettes.
        subsets: bool [N] by name, such as "wrong"; an empty one has no rows.
        reference: [N, height, width], what the shares are compared with: of an exchange of parts, all that differs
            between image and donor. Defaults to the images: a map that knows nothing lies where the ink is.
        seed: Of the bootstrap.

    Returns:
        One row a subset and region: subset, images, region, share, low, high (95%, of absolute values), reference (the
        mean share of the reference that lies there), push, push_low, push_high (the mean
        signed sum, in the map's unit: of attributions, nats of the odds). Images with an empty map are left out.
    """
    masks = regions(images)
    share, expected = shares(maps, masks), shares(images if reference is None else reference, masks)
    rows = []
    for subset, chosen in subsets.items():
        held = np.flatnonzero(chosen & (maps != 0).any(axis=(1, 2)))
        if not len(held):
            continue
        push = np.stack([np.where(mask[held], maps[held], 0).sum(axis=(1, 2)) for mask in masks.values()], axis=1)
        shared = np.stack([share[name][held] for name in masks], axis=1)
        both = _means(np.concatenate([shared, push], axis=1), seed)
        for place, name in enumerate(masks):
            rows.append(
                (
                    subset,
                    len(held),
                    name,
                    *both[place],
                    float(np.nanmean(expected[name][held])),
                    *both[place + len(masks)],
                )
            )
    columns = ["subset", "images", "region", "share", "low", "high", "reference", "push", "push_low", "push_high"]
    return pd.DataFrame(rows, columns=columns)


def _means(values: Values, seed: int) -> list[tuple[float, float, float]]:
    """Returns the mean of each column and its 95% interval over resampled rows."""

    def mean(weights: Values) -> Values:
        return weights @ values / weights.sum(axis=1, keepdims=True)

    found = from_examples(mean, len(values), RESAMPLES, seed)
    return [(estimate.value, estimate.low, estimate.high) for estimate in found]
