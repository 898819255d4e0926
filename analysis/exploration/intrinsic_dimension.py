"""In how many directions images vary around a point: the intrinsic dimension, from distances to near neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation.bootstrap import Estimate

Distances = npt.NDArray[np.floating[Any]]


def two_nearest(distances: Distances, level: float = 0.95) -> Estimate:
    """Estimates the dimension from the ratio of the second to the first distance (TwoNN).

    The ratios follow a Pareto law whose exponent is the dimension, whatever the density (Facco et al. 2017,
    https://doi.org/10.1038/s41598-017-11873-y). The estimate is the one of maximum likelihood; its interval takes the
    ratios for independent (Denti et al. 2022, https://doi.org/10.1038/s41598-022-20991-1).

    Args:
        distances: [n, at least 2], of each image to its nearest others, nearest first; copies are left out.
        level: Of the interval. Defaults to 0.95.
    """
    from scipy.stats import gamma

    first, second = distances[:, 0].astype(np.float64), distances[:, 1].astype(np.float64)
    apart = first > 0
    logarithms = np.log(second[apart] / first[apart])
    total, count = float(logarithms.sum()), len(logarithms)
    if count < 2 or total <= 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = gamma.ppf([(1 - level) / 2, (1 + level) / 2], count) / total
    return Estimate((count - 1) / total, float(low), float(high))


def many_nearest(distances: Distances) -> float:
    """Estimates the dimension from the distances to k neighbours (Levina and Bickel 2004).

    The images' estimates are averaged by their inverses, as MacKay and Ghahramani 2005 correct it
    (http://www.inference.org.uk/mackay/dimension/).

    Args:
        distances: [n, k], of each image to its nearest others, nearest first; copies are left out.
    """
    apart = distances[distances[:, 0] > 0].astype(np.float64)
    if len(apart) == 0 or apart.shape[1] < 2:
        return float("nan")
    inverse = np.log(apart[:, -1:] / apart[:, :-1]).sum(axis=1) / (apart.shape[1] - 1)
    return float(1 / inverse.mean()) if inverse.mean() > 0 else float("nan")
