"""How alike look-alikes are: the same picture in another shade, which a plain pixel distance cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Floats, nearest

SHADE = 1.2
"""From this ratio of brightness on, two pictures are called different shades: 20% is plain to see side by side."""


@dataclass(frozen=True)
class Shades:
    """Every test image and the training image that is nearest once all images are made equally bright.

    Attributes:
        test: int64 [n_test], rows of the test images.
        train: int64 [n_test], rows of those training images.
        rmse: float32 [n_test], their pixel distance as they are.
        matched: float32 [n_test], their pixel distance at equal brightness.
        ratio: float32 [n_test], the brightness of the brighter by that of the darker, at least 1.
    """

    test: Indices
    train: Indices
    rmse: Floats
    matched: Floats
    ratio: Floats

    def variants(self, near: float) -> npt.NDArray[np.int64]:
        """Returns the places of pairs that are within `near` at equal brightness alone, the most alike first."""
        found = np.flatnonzero((self.matched <= near) & (self.rmse > near) & (self.ratio >= SHADE))
        return found[np.argsort(self.matched[found], kind="stable")]


def match_shades(data: Data) -> Shades:
    """Looks for the same picture in another shade: scales all images to the same norm, and searches."""
    pixels, test = data.pixels, data.test_rows
    norms = np.maximum(np.sqrt(np.einsum("ij,ij->i", pixels, pixels)), 1e-6)
    found = nearest(pixels * (norms.mean() / norms)[:, None], len(data.train_rows), k=1, first=len(data.train_rows))
    train = found.index[:, 0].astype(np.int64)
    ratio = norms[test] / norms[train]
    rmse = np.sqrt(((pixels[test] - pixels[train]) ** 2).mean(axis=1))
    return Shades(test, train, rmse, found.rmse[:, 0], np.maximum(ratio, 1 / ratio))
