"""Intervals of shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def wilson(hits: npt.ArrayLike, count: npt.ArrayLike) -> tuple[Values, Values]:
    """Returns the 95% interval of shares (Wilson, 1927), which holds near 0 and 1 too."""
    n, z = np.maximum(np.asarray(count, np.float64), 1), 1.96
    share = np.asarray(hits, np.float64) / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half
